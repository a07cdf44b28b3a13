"""AudioLDM 2 in JAX: text to sound effects, music and speech."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ldm_jax.pipeline import AudioLDM2, Clips

__version__ = "0.1.0"
__all__ = ["AudioLDM2", "Clips", "__version__"]


def __getattr__(name: str) -> Any:
    """`AudioLDM2` and `Clips`, imported when asked for: jax and the networks take a second."""
    if name in ("AudioLDM2", "Clips"):
        from ldm_jax import pipeline

        return getattr(pipeline, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
