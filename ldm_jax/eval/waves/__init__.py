"""From files to the waves that networks hear, by the rules of each tool."""

from ldm_jax.eval.waves.loading import Loaded, Loading, load
from ldm_jax.eval.waves.loadings import LOADINGS

__all__ = ["LOADINGS", "Loaded", "Loading", "load"]
