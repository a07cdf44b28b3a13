"""CHECKPOINT[:SAMPLER[/SPACING][:STEPS[:CANDIDATES]]]: how benchmarks name what draws clips.

What is left out are the checkpoint's own.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from ldm_jax import AudioLDM2, Clips, students
from ldm_jax.config import Generation
from ldm_jax.convert.load import read_own
from ldm_jax.diffusion.distilled import Distilled


@dataclasses.dataclass(frozen=True)
class System:
    """What such a name says.

    Attributes:
        checkpoint: its first part.
        distilled: how it has to be sampled, if it is a student.
        generation: how clips are drawn.
    """

    checkpoint: str
    distilled: Distilled | None
    generation: Generation

    @property
    def calls(self) -> int:
        """Of the UNet, a clip: guidance from outside takes two a step, and every candidate takes its own."""
        branches = 1 + students.has_two_branches(self.distilled, self.generation)
        return branches * self.generation.steps * self.generation.candidates

    def draw(
        self, model: AudioLDM2, prompts: Sequence[str], *, seeds: Sequence[int], **options: Any
    ) -> Clips:
        """A clip a prompt, as the name says; `options` are of `AudioLDM2.generate`."""
        asked = dataclasses.asdict(self.generation) | {"seed": seeds}
        return model.generate(prompts, **asked, **options)


def system(name: str, **given: Any) -> System:
    """The system of that name.

    Args:
        name: as above.
        given: fields of `Generation` that the name does not say; None stands for the checkpoint's own.

    Raises:
        ValueError: what the checkpoint does not take, or none at all.
    """
    checkpoint, sampler, steps, candidates = (*name.split(":"), "", "", "")[:4]
    own = read_own(checkpoint)
    sampler, _, spacing = sampler.partition("/")
    asked = {"seconds": own.seconds, "sampler": sampler or None, "spacing": spacing or None}
    asked |= {"steps": int(steps or 0) or None, "candidates": int(candidates or 0) or None}
    return System(checkpoint, own.distilled, students.settings(own.distilled, **asked, **given))
