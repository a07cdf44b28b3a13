"""What a checkpoint is asked for: its own steps, sampler and guidance where none are given, and which others it takes.

The own ones of a checkpoint that is not distilled are the defaults of `Generation`.
"""

from collections.abc import Sequence
from typing import Any

from ldm_jax.config import Generation
from ldm_jax.diffusion.distilled import Distilled

STOCHASTIC = "progressive-stochastic"
# Samplers that belong to a method; the first is what its students take where none is given.
SAMPLERS = {"progressive": ("progressive", STOCHASTIC), "consistency": ("consistency",)}


def settings(distilled: Distilled | None, **given: Any) -> Generation:
    """What is asked of a checkpoint.

    Args:
        distilled: how it has to be sampled; None for one that is not distilled.
        given: fields of `Generation`. None stands for the checkpoint's own.

    Raises:
        ValueError: a value out of range, or one that this checkpoint was not made for, in one sentence that says which
            it was made for.
    """
    named = {name: value for name, value in given.items() if value is not None}
    if distilled is None:
        asked = Generation(**named)
        _refuse_strange_sampler(asked.sampler, "not distilled")
        return asked
    asked = Generation(**(_own(distilled, named.get("sampler")) | named))
    if distilled.method not in SAMPLERS:
        _refuse_strange_sampler(asked.sampler, f"distilled by method {distilled.method!r}")
    else:
        _check_grid(distilled, asked)
    _check_scale(distilled, asked.guidance_scale)
    return asked


def has_two_branches(distilled: Distilled | None, asked: Generation) -> bool:
    """Whether guidance takes an unconditional call beside the conditional one.

    A student that knows guidance, as an input or as one scale that it imitates, takes one call. One that imitates its
    teacher without guidance is guided like any other model ("external guidance" of arXiv:2309.10740).
    """
    return _is_guided_from_outside(distilled) and asked.guidance_scale > 1


def check_negatives(
    distilled: Distilled | None, asked: Generation, negatives: Sequence[str]
) -> None:
    """Raises ValueError where a distilled checkpoint would ignore a negative prompt."""
    if distilled is not None and any(negatives) and not has_two_branches(distilled, asked):
        raise ValueError(
            "a negative prompt is read by the unconditional branch, which this distilled checkpoint lacks; leave it out"
        )


def remarks(distilled: Distilled | None, asked: Generation) -> tuple[str, ...]:
    """Sentences on what is possible, but not what a checkpoint was made for."""
    if distilled is None:
        return ()
    said = []
    if distilled.method == "consistency" and asked.steps != distilled.steps:
        said.append(
            f"this checkpoint was distilled to {_steps(distilled.steps)}; it is sampled in {asked.steps}, with noise "
            "added in between at levels that it was trained at"
        )
    if asked.sampler == STOCHASTIC and not distilled.halfway:
        said.append(
            f"this checkpoint was not trained halfway between its {distilled.steps} levels, where {STOCHASTIC} asks it"
        )
    return tuple(said)


def _own(distilled: Distilled, sampler: str | None) -> dict[str, Any]:
    """Fields of `Generation`, where `sampler` is asked for or none."""
    own: dict[str, Any] = {"guidance_scale": distilled.guidance_scale}
    if distilled.method in SAMPLERS:
        own["sampler"] = SAMPLERS[distilled.method][0]
        own["steps"] = _made_for(distilled, sampler)
    return own


def _made_for(distilled: Distilled, sampler: str | None) -> int:
    """Calls of a student with a grid; the stochastic sampler goes two levels down and one up."""
    return distilled.steps * (2 if sampler == STOCHASTIC else 1)


def _refuse_strange_sampler(sampler: str, what: str) -> None:
    for method, names in SAMPLERS.items():
        if sampler in names:
            raise ValueError(
                f"sampler {sampler!r} is for checkpoints distilled by method {method!r}, and this one is {what}; "
                "leave it out"
            )


def _check_grid(distilled: Distilled, asked: Generation) -> None:
    """Sampler, steps and options of a student that is asked on its own levels."""
    method, names = distilled.method, SAMPLERS[distilled.method]
    if asked.sampler not in names:
        raise ValueError(
            f"this checkpoint was distilled by method {method!r} and takes sampler {' or '.join(map(repr, names))}, "
            f"not {asked.sampler!r}; leave it out"
        )
    chosen = {"eta": asked.eta is not None, "spacing": bool(asked.spacing), "karras": asked.karras}
    if useless := [option for option, given in chosen.items() if given]:
        raise ValueError(
            f"sampler {asked.sampler!r} has no {useless[0]}: its noise levels are those that the checkpoint was "
            "trained at; leave it out"
        )
    made_for = _made_for(distilled, asked.sampler)
    if method == "progressive" and asked.steps != made_for:
        raise ValueError(
            f"this checkpoint was distilled to {_steps(distilled.steps)}, so sampler {asked.sampler!r} takes "
            f"{made_for} steps, not {asked.steps}; leave them out, or distil it to as many as you want"
        )
    if method == "consistency" and asked.steps > distilled.most_steps:
        raise ValueError(
            f"this checkpoint was trained at {len(distilled.timesteps)} noise levels, which allow 1 to "
            f"{distilled.most_steps} steps, not {asked.steps}; leave them out for the {distilled.steps} that it was "
            "distilled to"
        )


def _check_scale(distilled: Distilled, scale: float) -> None:
    if distilled.guidance:
        least, most = distilled.guidance
        if not least <= scale <= most:
            raise ValueError(
                f"this checkpoint was distilled for a guidance_scale from {least:g} to {most:g}, not {scale:g}"
            )
    elif not _is_guided_from_outside(distilled) and scale != distilled.guidance_scale:
        raise ValueError(
            f"this checkpoint imitates guidance_scale {distilled.guidance_scale:g} and takes no other, so "
            f"not {scale:g}; leave it out"
        )


def _is_guided_from_outside(distilled: Distilled | None) -> bool:
    return distilled is None or (not distilled.guidance and distilled.guidance_scale == 1)


def _steps(number: int) -> str:
    return f"{number} step{'s' * (number != 1)}"
