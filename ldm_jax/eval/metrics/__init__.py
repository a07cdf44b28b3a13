"""Metrics: what is kept of clips as a `State`, and functions of it."""
