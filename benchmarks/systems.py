"""CHECKPOINT[:SAMPLER[:STEPS]]: how benchmarks name what draws clips; what is left out are a checkpoint's own."""

import dataclasses
from typing import Any

from ldm_jax import students
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
        """Of the UNet, a clip: guidance from outside takes two a step."""
        branches = 1 + students.has_two_branches(self.distilled, self.generation)
        return branches * self.generation.steps


def system(name: str, **given: Any) -> System:
    """The system of that name.

    Args:
        name: as above.
        given: fields of `Generation` that the name does not say; None stands for the checkpoint's own.

    Raises:
        ValueError: what the checkpoint does not take, or none at all.
    """
    checkpoint, sampler, steps = (*name.split(":"), "", "")[:3]
    own = read_own(checkpoint)
    asked = {"seconds": own.seconds, "sampler": sampler or None}
    asked["steps"] = int(steps) if steps else None
    return System(checkpoint, own.distilled, students.settings(own.distilled, **asked, **given))
