"""Whole generations for the tests, on random checkpoints of `ldm_jax.convert.random_checkpoint`. No torch."""

import dataclasses

import numpy as np

from tests.golden import random_array


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One generation; `size` and `loa_tokens` say from which checkpoint."""

    size: str = "tiny"
    prompt: str = "a dog barks in heavy rain"
    negative: str = "soft music"
    transcript: str | None = None
    seconds: float = 1.0
    steps: int = 5
    guidance: float = 3.5
    sampler: str = "ddim"
    eta: float = 0.0
    candidates: int = 1
    loa_tokens: int | None = None

    def latents(self, count: int | None = None) -> np.ndarray:
        """Initial noise, channels last; a prompt's candidates differ."""
        frames = -(-round(self.seconds * 100) // 4)
        shape = (self.candidates if count is None else count, frames, 16, 8)
        return random_array("latents", shape).astype(np.float32)


CASES = {
    "sound": Case(),
    "empty_negative": Case(negative="", steps=3),
    "longer_negative": Case(
        negative="techno music with a strong beat, a woman speaks, birds chirping", steps=3
    ),
    "unguided": Case(guidance=1.0, seconds=0.6),
    "odd_length": Case(seconds=0.53, steps=3),  # latent frames that do not halve evenly
    "dpmsolver": Case(sampler="dpmsolver++", steps=6),
    "lms": Case(sampler="lms", steps=4),
    "candidates": Case(prompt="techno music", candidates=3, seconds=0.4, steps=3),
    "speech": Case(size="tiny-speech", transcript="Hello there, Dr. Smith.", loa_tokens=24),
}
