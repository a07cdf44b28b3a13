"""What a distilled denoiser has to be asked, and how: it is kept with its weights."""

import dataclasses
import itertools
import math
from collections.abc import Mapping
from typing import Any

METHODS = ("guided", "progressive", "consistency")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Distilled:
    """How a student was made, as far as sampling from it depends on that.

    Attributes:
        method: "guided" (any sampler and number of steps, one call in place of guidance's two), "progressive" (DDIM on
            its own grid) or "consistency" (x0 in one call, or in a few with noise in between).
        steps: that it was made for; 0 is any.
        timesteps: its grid, the noisiest first. Progressive: where it is asked, `steps` of them. Consistency: all that
            it was trained at, between which few-step sampling chooses. () where any will do.
        guidance: (least, most) guidance scale that it was trained to take as an input, or () where it takes none.
        guidance_scale: w in u + w (c - u) that is taken where none is asked for; without an input, the one that it
            imitates.
        pure_noise: whether its noisiest level had no signal at all in training.
        halfway: whether a progressive student was trained halfway between its levels too, where Meng et al.'s
            stochastic sampler (arXiv:2210.03142) asks it.
        edm_sigmas: sigma / alpha at the timesteps of a consistency student, or () where it is the schedule's, linear
            between whole timesteps.

    Raises:
        ValueError: an unknown method, or values that contradict each other.
    """

    method: str
    steps: int = 0
    timesteps: tuple[float, ...] = ()
    guidance: tuple[float, ...] = ()
    guidance_scale: float = 1.0
    pure_noise: bool = False
    halfway: bool = False
    edm_sigmas: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"distilled by {self.method!r}; known are {', '.join(METHODS)}")
        grid = self.method != "guided"
        if grid != bool(self.timesteps) or grid != (self.steps > 0):
            raise ValueError(
                f"a {self.method} student has {'a grid and steps' if grid else 'neither a grid nor steps'}, but got "
                f"{self.steps} steps and {len(self.timesteps)} timesteps"
            )
        if self.method == "progressive" and len(self.timesteps) != self.steps:
            raise ValueError(f"{self.steps} steps on a grid of {len(self.timesteps)}")
        if self.method == "consistency" and self.steps > self.most_steps:
            raise ValueError(
                f"{len(self.timesteps)} levels do not make {self.steps} steps of a consistency student: it never goes "
                "back to the cleanest"
            )
        if self.edm_sigmas and len(self.edm_sigmas) != len(self.timesteps):
            raise ValueError(
                f"{len(self.edm_sigmas)} edm_sigmas at {len(self.timesteps)} timesteps"
            )
        for levels in (self.timesteps, self.edm_sigmas):
            falling = all(a > b for a, b in itertools.pairwise(levels))
            if not falling or not all(map(math.isfinite, levels)):
                raise ValueError("the levels of a student's grid fall from the noisiest on")
        if self.guidance and not (
            len(self.guidance) == 2
            and self.guidance[0] <= self.guidance_scale <= self.guidance[1] < math.inf
        ):
            raise ValueError(
                f"guidance is (least, most), with {self.guidance_scale:g} between them, not {self.guidance}"
            )

    @property
    def most_steps(self) -> int:
        """The most calls that a consistency student's grid has levels for: all but the cleanest."""
        return len(self.timesteps) - 1

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {name: _plain(value) for name, value in dataclasses.asdict(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Distilled":
        """What `to_json` gave.

        Raises:
            ValueError: a field that there is not, or as above.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ValueError(
                f"a distilled model has no {unknown[0]}; was this saved by a newer ldm_jax?"
            )
        made: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        return cls(**made)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
