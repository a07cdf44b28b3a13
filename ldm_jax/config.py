"""Typed settings: what a preset fixes, what a generation is asked for."""

import dataclasses
import math
from typing import Literal

MAX_SECONDS = 600.0
MAX_GUIDANCE = 100.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preset:
    """Which of the published system's two implementations is followed where they differ on the same weights.

    Attributes:
        name: what users call it.
        head_dim: width of the UNet's attention heads; None takes the number of heads from the checkpoint's config
            (8 at every level in the published diffusers folders).
        unconditional_loa: the LOA tokens of the unguided branch: "zeros", as the weights were trained, or
            "generated" by GPT-2 from the empty (or negative) prompt.
        eta: of DDIM, where none is asked for.
        spacing: DDIM's timesteps: "official", or None for what the checkpoint's scheduler config says.
        ranking_padding: how CLAP hears candidates below 10 s; see `ldm_jax.audio.clap_features`.
    """

    name: str
    head_dim: int | None
    unconditional_loa: Literal["zeros", "generated"]
    eta: float
    spacing: str | None
    ranking_padding: Literal["none", "repeatpad"]


PRESETS = {
    "official": Preset(
        name="official",
        head_dim=32,
        unconditional_loa="zeros",
        eta=1.0,
        spacing="official",
        ranking_padding="none",
    ),
    "diffusers": Preset(
        name="diffusers",
        head_dim=None,
        unconditional_loa="generated",
        eta=0.0,
        spacing=None,
        ranking_padding="repeatpad",
    ),
}


def preset(name: str) -> Preset:
    """The preset called `name`; ValueError where there is none."""
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Generation:
    """How clips are to be drawn; see `AudioLDM2.generate`. Checked when it is made.

    Defaults are those of checkpoints that are not distilled; `students.settings` knows the others'.

    Raises:
        ValueError: a value out of range, in one sentence.
    """

    seconds: float = 10.24
    steps: int = 200
    guidance_scale: float = 3.5
    sampler: str = "ddim"
    eta: float | None = None
    spacing: str | None = None
    karras: bool = False
    seed: int = 0
    candidates: int = 1

    def __post_init__(self) -> None:
        _within("seconds", self.seconds, 0, MAX_SECONDS, open_below=True)
        _within("steps", self.steps, 1, 1000)
        _within("guidance_scale", self.guidance_scale, 0, MAX_GUIDANCE)
        _within("candidates", self.candidates, 1, 64)
        _within("seed", self.seed, 0, 2**32 - 1)
        if self.eta is not None:
            _within("eta", self.eta, 0, 1)


def _within(name: str, value: float, low: float, high: float, *, open_below: bool = False) -> None:
    inside = (
        math.isfinite(value) and (low < value if open_below else low <= value) and value <= high
    )
    if not inside:
        bounds = (
            f"above {low:g} and at most {high:g}" if open_below else f"from {low:g} to {high:g}"
        )
        raise ValueError(f"{name} must be {bounds}, not {value}")
