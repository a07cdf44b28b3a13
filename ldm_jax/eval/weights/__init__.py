"""Published weights of backbones: where they are from, where they lie, and getting them."""

from ldm_jax.eval.weights.finding import WeightsError, find, find_tokenizer, is_published
from ldm_jax.eval.weights.published import DEFAULTS, PUBLISHED, Published

__all__ = [
    "DEFAULTS",
    "PUBLISHED",
    "Published",
    "WeightsError",
    "find",
    "find_tokenizer",
    "is_published",
]
