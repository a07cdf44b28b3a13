"""A free corpus of sound, music and speech with text, built from Debian packages: `python -m ldm_jax.data.corpus`."""
