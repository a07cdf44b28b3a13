"""Text to sound: prompts -> LOA and text states -> latents -> mel spectrogram -> wave."""

from ldm_jax.pipeline.audioldm2 import AudioLDM2, Clips

__all__ = ["AudioLDM2", "Clips"]
