"""Checkpoints that come with the package: what is taken where none is named."""

import pathlib

DEFAULT = "small"
# What `--quality` says, best and slowest first: the model itself, and its students of few steps.
QUALITIES = {"best": DEFAULT, "fast": f"{DEFAULT}-fast", "instant": f"{DEFAULT}-instant"}
# What `sample.py` takes: within the card's intervals as good as the model itself in 25 steps, in half its calls.
QUICK = QUALITIES["fast"]


def shipped(name: str) -> pathlib.Path | None:
    """The folder of the checkpoint of that name, or None where the package has no such one."""
    folder = pathlib.Path(__file__).parent / name
    return folder if (folder / "model.json").is_file() else None
