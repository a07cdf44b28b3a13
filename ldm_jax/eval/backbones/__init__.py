"""Backbones: the frozen networks that turn clips and texts into the features of metrics."""
