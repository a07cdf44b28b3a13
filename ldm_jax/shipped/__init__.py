"""Checkpoints that come with the package: what `sample.py` takes where none is named."""

import pathlib

DEFAULT = "small"
# What `--quality` says, best and slowest first: the model itself, and its students of few steps.
QUALITIES = {"best": DEFAULT, "fast": f"{DEFAULT}-fast", "instant": f"{DEFAULT}-instant"}


def shipped(name: str) -> pathlib.Path | None:
    """The folder of the checkpoint of that name, or None where the package has no such one."""
    folder = pathlib.Path(__file__).parent / name
    return folder if (folder / "model.json").is_file() else None
