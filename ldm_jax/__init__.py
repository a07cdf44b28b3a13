"""AudioLDM 2 in JAX: text to sound effects, music and speech."""

__version__ = "0.1.0"
