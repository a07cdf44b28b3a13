"""How the weighting of the loss decides what a student becomes: one teacher, data order, seed and budget for all."""
