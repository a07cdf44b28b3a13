"""Which clips are judged, what they are held against, and what is said of them."""

from ldm_jax.eval.clips.clip import Clip, ClipSet, content_hash
from ldm_jax.eval.clips.pairing import Pairing, pair
from ldm_jax.eval.clips.side import read_side

__all__ = ["Clip", "ClipSet", "Pairing", "content_hash", "pair", "read_side"]
