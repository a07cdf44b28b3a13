"""Optimisers: what the gradients of a player's parameters become.

In order: the gradients are scaled so that their norm over all parameters is at most `clip_norm`; Adam's moments;
weight decay; a factor a path; the learning rate at that update. "adamw" and "adam" take the same steps as PyTorch's:

    m <- b1 m + (1 - b1) g        v <- b2 v + (1 - b2) g^2        u = (m / (1 - b1^n)) / (sqrt(v / (1 - b2^n)) + eps)
    adamw: p <- p - lr (u + weight_decay p)        adam: the same with g + weight_decay p for g and no decay after

(Kingma & Ba, arXiv 1412.6980; Loshchilov & Hutter, arXiv 1711.05101.) An update that is skipped does not count as one.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from ldm_jax.train.representation import has, matching

KINDS = ("adamw", "adam")
DECAYED = ("kernels", "all")
# Running statistics are parameters by place only: a stage writes them, no gradient does. A guidance scale's frequencies
# stay as they were drawn.
STATISTICS = (r"/running_(mean|var)$", r"/kernel_u$", r"/guidance_embedding/frequencies$")
# What multiplies an input: kernels, LoRA's factors of them, and tables of tokens, but not tables of positions. What
# remains is added, or scales one channel: biases, norms, class and boundary tokens, logit scales.
_KERNELS = re.compile(r"(^|/)(kernel(/lora_[ab])?|embedding)$")
_POSITIONS = re.compile(
    r"(^|/)(position_embeddings|token_type_embeddings|wpe|relative_attention_bias)/"
)


@dataclasses.dataclass(kw_only=True, slots=True)
class Optimizer:
    """An optimiser and its learning rate.

    Attributes:
        kind: "adamw" (decoupled weight decay) or "adam" (decay joins the gradient).
        learning_rate: the highest.
        warmup_steps: over which it rises from 0 in a straight line: update n has n / warmup_steps of it.
        schedule: what comes then: "constant"; "cosine" or "linear", down to `final_fraction` at the last update;
            "step", times `decay_rate` every `decay_steps` updates, counted from the first one; "exponential", the same
            without steps; "inverse_sqrt", by sqrt(warmup_steps / n).
        decay_steps: of "step" and "exponential".
        decay_rate: of the same.
        final_fraction: of "cosine" and "linear": a fraction of `learning_rate`.
        b1: decay of the first moment.
        b2: decay of the second moment.
        eps: added to the root of the second moment.
        weight_decay: per unit of learning rate ("adamw").
        decayed: what it holds for: "kernels" (no norms, biases, positions, tokens or scales) or "all", as in the
            published recipes that leave PyTorch's defaults alone.
        clip_norm: the largest norm of the gradient; 0 is no limit.
        first_moment_dtype: "float32", or "bfloat16" for half the memory; the second moment needs float32, whose
            changes by a factor b2 bfloat16 would round away.
        multipliers: (pattern of paths, factor of the learning rate); the first that is found in a path holds.
    """

    kind: str = "adamw"
    learning_rate: float = 1e-4
    warmup_steps: int = 0
    schedule: str = "constant"
    decay_steps: int = 0
    decay_rate: float = 1.0
    final_fraction: float = 0.0
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.01
    decayed: str = "kernels"
    clip_norm: float = 0.0
    first_moment_dtype: str = "float32"
    multipliers: tuple[tuple[str, float], ...] = ()


def _constant(optimizer: Optimizer, step: Array, total: int) -> Array:
    return jnp.ones_like(step)


def _progress(optimizer: Optimizer, step: Array, total: int) -> Array:
    """From 0 at the end of the warm-up to 1 at the last update."""
    length = max(total - optimizer.warmup_steps, 1)
    return jnp.clip((step - optimizer.warmup_steps) / length, 0.0, 1.0)


def _cosine(optimizer: Optimizer, step: Array, total: int) -> Array:
    wave = 0.5 * (1 + jnp.cos(math.pi * _progress(optimizer, step, total)))
    return optimizer.final_fraction + (1 - optimizer.final_fraction) * wave


def _linear(optimizer: Optimizer, step: Array, total: int) -> Array:
    return 1 - (1 - optimizer.final_fraction) * _progress(optimizer, step, total)


def _step(optimizer: Optimizer, step: Array, total: int) -> Array:
    return jnp.float32(optimizer.decay_rate) ** jnp.floor(step / optimizer.decay_steps)


def _exponential(optimizer: Optimizer, step: Array, total: int) -> Array:
    return jnp.float32(optimizer.decay_rate) ** (step / optimizer.decay_steps)


def _inverse_sqrt(optimizer: Optimizer, step: Array, total: int) -> Array:
    start = max(optimizer.warmup_steps, 1)
    return jnp.sqrt(start / jnp.maximum(step, start))


SCHEDULES: dict[str, Callable[[Optimizer, Array, int], Array]] = {
    "constant": _constant,
    "cosine": _cosine,
    "linear": _linear,
    "step": _step,
    "exponential": _exponential,
    "inverse_sqrt": _inverse_sqrt,
}


def check(optimizer: Optimizer, *, name: str = "optimizer") -> None:
    """Raises ValueError, in one sentence, where a field is out of range; `name` is what the config calls it."""
    for field, known in (("kind", KINDS), ("schedule", tuple(SCHEDULES)), ("decayed", DECAYED)):
        if (value := getattr(optimizer, field)) not in known:
            raise ValueError(f"{name}.{field} is {value!r}; it can be {', '.join(known)}")
    if optimizer.first_moment_dtype not in ("float32", "bfloat16"):
        raise ValueError(
            f"{name}.first_moment_dtype is {optimizer.first_moment_dtype!r}; it can be float32 or bfloat16"
        )
    for field in ("learning_rate", "warmup_steps", "weight_decay", "clip_norm", "eps"):
        if not (math.isfinite(value := getattr(optimizer, field)) and value >= 0):
            raise ValueError(f"{name}.{field} must be 0 or more, not {value}")
    for field in ("b1", "b2"):
        if not 0 <= (value := getattr(optimizer, field)) < 1:
            raise ValueError(f"{name}.{field} must be at least 0 and below 1, not {value}")
    if not 0 <= optimizer.final_fraction <= 1:
        raise ValueError(
            f"{name}.final_fraction must be from 0 to 1, not {optimizer.final_fraction}"
        )
    if optimizer.schedule in ("step", "exponential") and (
        optimizer.decay_steps < 1 or not 0 < optimizer.decay_rate <= 1
    ):
        raise ValueError(
            f"{name}.schedule {optimizer.schedule!r} needs decay_steps of 1 or more and a decay_rate above 0 and at "
            f"most 1, not {optimizer.decay_steps} and {optimizer.decay_rate}"
        )


def learning_rate(
    optimizer: Optimizer, step: Int[Array, ""] | int, *, total_steps: int
) -> Float[Array, ""]:
    """The learning rate of update `step`, counted from 0, of `total_steps`."""
    count = jnp.asarray(step, jnp.float32)
    rate = optimizer.learning_rate * SCHEDULES[optimizer.schedule](optimizer, count, total_steps)
    if optimizer.warmup_steps:
        rate = rate * jnp.minimum(1.0, count / optimizer.warmup_steps)
    return rate


class Guarded(optax.GradientTransformationExtraArgs):
    """An optimiser whose `update` also takes `norm`, the gradients' norm if it is known, and `finite`.

    Where that is False its state stays as it is, and its updates mean nothing.
    """


def guarded(rule: optax.GradientTransformation) -> Guarded:
    """`rule`, which can be any of optax's, as one that heeds `finite`."""
    if isinstance(rule, Guarded):
        return rule

    def update(updates: Any, state: Any, params: Any = None, **known: Any) -> tuple[Any, Any]:
        finite = known.get("finite", True)
        updates, after = rule.update(updates, state, params)
        return updates, jax.tree.map(functools.partial(jnp.where, finite), after, state)

    return Guarded(rule.init, update)


def transformation(optimizer: Optimizer, *, total_steps: int) -> Guarded:
    """The optimiser for a tree {network: what is trained of it}.

    One formula a parameter, and nothing kept of the steps within it, because an update costs what it reads and writes.

    Raises:
        ValueError: a field out of range; or, by `init`, a multiplier that no path has.
    """
    check(optimizer)
    dtype = jnp.dtype(optimizer.first_moment_dtype)

    def init(params: Any) -> optax.ScaleByAdamState:
        matching(
            jax.tree.leaves(_by_path(lambda path, _: path, params)),
            [pattern for pattern, _ in optimizer.multipliers],
        )
        return optax.ScaleByAdamState(
            count=jnp.zeros((), jnp.int32),
            mu=optax.tree.zeros_like(params, dtype=dtype),
            nu=optax.tree.zeros_like(params),
        )

    def update(
        updates: Any,
        state: Any,
        params: Any = None,
        *,
        norm: Float[Array, ""] | None = None,
        finite: Bool[Array, ""] | bool = True,
    ) -> tuple[Any, Any]:
        leaf = functools.partial(
            _leaf_update,
            optimizer,
            rate=learning_rate(optimizer, state.count, total_steps=total_steps),
            shrunk=_shrunk(optimizer, optax.tree.norm(updates) if norm is None else norm),
            count=state.count + 1,
            finite=finite,
        )
        leaves = _by_path(leaf, params, updates, state.mu, state.nu)
        moved, mu, nu = jax.tree.transpose(
            jax.tree.structure(params), jax.tree.structure((0, 0, 0)), leaves
        )
        count = state.count + jnp.asarray(finite, jnp.int32)
        return moved, optax.ScaleByAdamState(count, mu, nu)

    return Guarded(init, update)


def _shrunk(optimizer: Optimizer, norm: Float[Array, ""]) -> Float[Array, ""] | float:
    """What gradients of this norm are multiplied by."""
    return jnp.minimum(1.0, optimizer.clip_norm / norm) if optimizer.clip_norm else 1.0


def _leaf_update(
    optimizer: Optimizer,
    path: str,
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    *,
    rate: Float[Array, ""],
    shrunk: Float[Array, ""] | float,
    count: Int[Array, ""],
    finite: Bool[Array, ""] | bool,
) -> tuple[Array, Array, Array]:
    """(what is added to the parameter at `path`, its moments) of update `count`, counted from 1."""
    decay = optimizer.weight_decay if optimizer.decayed == "all" or decays(path) else 0.0
    g = (shrunk * g).astype(p.dtype)
    if decay and optimizer.kind == "adam":
        g += decay * p
    # Chosen here, not after: what follows then needs no moment but the new ones, which can take the place of the old.
    first = jnp.where(finite, optimizer.b1 * m.astype(p.dtype) + (1 - optimizer.b1) * g, m)
    second = jnp.where(finite, optimizer.b2 * v + (1 - optimizer.b2) * g * g, v)
    # Factors in place of divisors, and the division last: a compiler keeps what it had to divide for, and no more.
    first_scale, second_scale = (
        _unbiased(b, count).astype(p.dtype) for b in (optimizer.b1, optimizer.b2)
    )
    below = jnp.sqrt(second * second_scale) + optimizer.eps
    above = first * first_scale
    if decay and optimizer.kind == "adamw":
        above += decay * p * below
    moved = -(rate * _factor(optimizer, path)).astype(p.dtype) * above / below
    return moved, first.astype(m.dtype), second


def _unbiased(b: float, count: Int[Array, ""]) -> Float[Array, ""]:
    """1 / (1 - b^count), without the digits that the difference loses where b^count is close to 1."""
    return -1 / jnp.expm1(count.astype(jnp.float32) * (math.log(b) if b else -math.inf))


def _factor(optimizer: Optimizer, path: str) -> float:
    """Of the learning rate: 0 for running statistics."""
    if has(path, STATISTICS):
        return 0.0
    return next((x for pattern, x in optimizer.multipliers if has(path, (pattern,))), 1.0)


def decays(path: str) -> bool:
    """Whether the parameter at `path` is pulled towards 0 where `decayed` is "kernels"."""
    return bool(_KERNELS.search(path)) and not _POSITIONS.search(path)


def _by_path(function: Callable[..., Any], tree: Any, *trees: Any) -> Any:
    def call(path: tuple[Any, ...], *leaves: Any) -> Any:
        return function(jax.tree_util.keystr(path, simple=True, separator="/"), *leaves)

    return jax.tree_util.tree_map_with_path(call, tree, *trees)
