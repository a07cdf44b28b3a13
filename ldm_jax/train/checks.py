"""Whether a stage's settings and its networks fit each other, said in one sentence."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import flax.linen as nn

from ldm_jax.convert.checkpoint import SCHEDULER
from ldm_jax.diffusion import tables
from ldm_jax.pipeline import plans
from ldm_jax.train.conditions import loa_tokens

Networks = Mapping[str, nn.Module]

# Our words for what a scheduler's config says, and its own.
PREDICTIONS = {ours: theirs for theirs, ours in plans.PREDICTIONS.items()}
BETA_SCHEDULES = {ours: theirs for theirs, ours in plans.SCHEDULES.items()}
WORDS = {
    "beta_start": "beta_start",
    "beta_end": "beta_end",
    "train_steps": "num_train_timesteps",
}


def choice(field: str, value: str, known: Collection[str]) -> None:
    """Raises ValueError unless `value` is one of `known`."""
    if value not in known:
        raise ValueError(f"{field} is {value!r}; it can be {', '.join(map(repr, known))}")


def probabilities(**values: float) -> None:
    """Raises ValueError for one that is not in 0 .. 1."""
    for field, value in values.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{field} is a probability, so it cannot be {value}")


def pooling(time_pools: Sequence[int], grid: tuple[int, int]) -> None:
    """Raises ValueError unless each factor tiles the grid and the finest's tokens stand for whole ones of each."""
    if not time_pools:
        raise ValueError("time_pools is empty; the published factors are 1, 2, 4 and 8")
    for pool in time_pools:
        if pool < 1 or grid[0] % pool or grid[1] % min(pool, grid[1]):
            raise ValueError(
                f"pooling by {pool} does not tile AudioMAE's {grid[0]} x {grid[1]} patches"
            )
    sizes = [loa_tokens(pool, grid) for pool in time_pools]
    if uneven := [size for size in sizes if max(sizes) % size]:
        raise ValueError(
            f"time_pools {tuple(time_pools)} leave {sizes} tokens, and {uneven[0]} does not divide {max(sizes)}"
        )


def translator(networks: Networks, *, tokens: int) -> None:
    """Raises ValueError where translator, GPT-2 and AudioMAE differ in width or GPT-2 is too short for `tokens`."""
    gpt2: Any = networks["gpt2"]
    join: Any = networks["translator"]
    widths = {"gpt2": gpt2.n_embd, "translator": join.d_model}
    if "audiomae" in networks:
        audiomae: Any = networks["audiomae"]
        widths["audiomae"] = audiomae.embed_dim
    if len(set(widths.values())) > 1:
        told = ", ".join(f"{name} {width}" for name, width in widths.items())
        raise ValueError(f"LOA is as wide as each network that makes or reads it, but: {told}")
    if len(join.stream_dims) != 2:
        raise ValueError(
            f"the translator joins {len(join.stream_dims)} streams; here it gets 2, CLAP's vector and text"
        )
    if tokens >= gpt2.n_positions:
        raise ValueError(
            f"{tokens} LOA tokens and a condition are more than GPT-2's {gpt2.n_positions} positions"
        )


def contexts(networks: Networks, names: Sequence[str]) -> None:
    """Raises ValueError unless the UNet has one cross-attention slot a context, as wide as this."""
    unet: Any = networks["unet"]
    wanted = [width for width in unet.cross_attention_dims if width is not None]
    if len(wanted) != len(names):
        raise ValueError(
            f"the UNet has {len(wanted)} slots for contexts (cross_attention_dims {unet.cross_attention_dims}), but "
            f"contexts are {tuple(names)}"
        )
    made_by = {"loa": ("audiomae", "embed_dim"), "text": ("t5", "d_model")}
    for width, name in zip(wanted, names, strict=True):
        network, field = made_by[name]
        given = getattr(networks.get(network), field, width)
        if given != width:
            raise ValueError(
                f"the UNet's slot for {name} is {width} wide, and the {network} makes {given}"
            )


def scheduler(prediction: str, schedule: str, *, zero_terminal_snr: bool) -> dict[str, Any]:
    """A schedule (with options as in "linear:beta_end=0.01") and what is predicted, as `pipeline.plans` reads them.

    Raises:
        ValueError: an option that diffusers has no word for.
    """
    name, options = tables.parse(schedule)
    if unknown := [option for option in options if option not in WORDS]:
        raise ValueError(
            f"schedule has {unknown[0]}, which no scheduler's config can say: clips could not be sampled"
        )
    ends = {"beta_start": 1e-4, "beta_end": 0.02} if name == "linear" else {}
    return {
        **SCHEDULER,
        **ends,
        "beta_schedule": BETA_SCHEDULES[name],
        "prediction_type": PREDICTIONS[prediction],
        **({"rescale_betas_zero_snr": True} if zero_terminal_snr else {}),
        **{WORDS[option]: value for option, value in options.items()},
    }


def read_scheduler(config: Mapping[str, Any]) -> tuple[str, str, bool]:
    """(prediction, schedule, whether it is rescaled to end in pure noise) in the words that `scheduler` takes.

    Raises:
        ValueError: a prediction or a schedule that is not known.
    """
    predictions, names = plans.PREDICTIONS, plans.SCHEDULES
    prediction = config.get("prediction_type", "epsilon")
    name = config.get("beta_schedule", "linear")
    if prediction not in predictions or name not in names:
        raise ValueError(
            f"a scheduler with prediction_type {prediction!r} and beta_schedule {name!r} is not known"
        )
    given = {
        option: config[word]
        for option, word in WORDS.items()
        if word in config and (names[name] != "cosine" or option == "train_steps")
    }
    options = ",".join(f"{option}={value!r}" for option, value in given.items())
    schedule = f"{names[name]}:{options}" if options else names[name]
    return predictions[prediction], schedule, bool(config.get("rescale_betas_zero_snr"))


def guidance(
    scales: Sequence[float], *, told: bool, default: float, teacher: Sequence[float]
) -> None:
    """Raises ValueError unless `scales` are (least, most) of w in u + w (c - u), which a student can imitate.

    Args:
        scales: to be drawn.
        told: whether the student is told which.
        default: the scale where none is asked for.
        teacher: (least, most) that the teacher takes as an input; () where it takes none.
    """
    if len(scales) != 2 or not all(map(math.isfinite, scales)) or not 0 <= scales[0] <= scales[1]:
        raise ValueError(f"guidance is (least, most) scale, from 0 on, not {tuple(scales)}")
    low, high = scales
    if low < high and not told:
        raise ValueError(
            f"guidance is drawn from {low:g} to {high:g}, but the student is not told which: set guidance_input to "
            "True, or guidance to one scale twice"
        )
    if told and not low <= default <= high:
        raise ValueError(f"guidance_scale is {default:g}, outside of guidance {low:g} to {high:g}")
    if teacher and not teacher[0] <= low <= high <= teacher[1]:
        raise ValueError(
            f"guidance is {low:g} to {high:g}, and the teacher knows scales of {teacher[0]:g} to {teacher[1]:g} only"
        )


def other_heads(theirs: Any, own: Any) -> tuple[str, Any, Any] | None:
    """The first level whose attentions have another number of heads: another function of the same weights."""
    last = len(own.block_out_channels) - 1  # attends in the middle of the network, in any case
    for level in (i for i in range(last + 1) if own.attention_levels[i] or i == last):
        there, here = theirs.heads_at(level), own.heads_at(level)
        if there != here:
            return f"heads of level {level}", there, here
    return None
