"""Preparing a source: its clips, read and judged once, as the rows of a TFDS dataset."""

from ldm_jax.data.prepare.run import Result, prepare
from ldm_jax.data.prepare.settings import Settings

__all__ = ["Result", "Settings", "prepare"]
