"""Sampling as one scan.

Every sampler here is linear in what it holds (latents and a few remembered predictions), in the
network's output and in fresh noise; only the network is not. So a sampler is a table of small
matrices, one a network call, computed on the host in float64 (`samplers.plan`), and one program
runs them all:

    carry' = transition[call] @ [carry, network(carry[0], timestep[call]), noise]

Latents are always variance preserving (z = alpha x0 + sigma eps): the network reads `carry[0]` as
it is. Samplers that others write in z / alpha (Euler, Heun, LMS) have that change of variable
inside their matrices.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

Denoiser = Callable[[Array, Array, Any], Array]
Carry = Float[Array, "slots batch *latent"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Plan:
    """A sampler laid out for a schedule, number of steps and kind of prediction: a pytree.

    Made by `samplers.plan`, in float64 NumPy; the scan casts to its own precision. Pass it to a
    jitted function as an argument: plans of equal shapes share the compiled program.

    Attributes:
        index: (calls,) number of each call, from 1 for the first of the whole run; it picks the
            call's noise (0 picks the initial noise, `normal_per_clip(keys, 0, ...)`).
        timesteps: (calls,) at which the network is asked; not always integers.
        transition: (calls, slots, slots + 1), or slots + 2 when stochastic. Columns: carry, network
            output, noise.
        init_noise_sigma: () scale of the initial latents, init_noise_sigma times standard normal.
        stochastic: whether calls add fresh noise.
    """

    index: Any
    timesteps: Any
    transition: Any
    init_noise_sigma: Any
    stochastic: bool = dataclasses.field(metadata={"static": True})

    @property
    def calls(self) -> int:
        """How often the network runs, which is more than `steps` for heun and pndm."""
        return self.timesteps.shape[0]

    @property
    def slots(self) -> int:
        """Arrays carried, each of the latents' size: the latents and what the sampler remembers."""
        return self.transition.shape[1]

    def segment(self, start: int, stop: int) -> "Plan":
        """The calls `start` to `stop - 1`; segments run one after another equal the whole."""
        return dataclasses.replace(
            self,
            index=self.index[start:stop],
            timesteps=self.timesteps[start:stop],
            transition=self.transition[start:stop],
        )


def init(plan: Plan, noise: Float[Array, "batch *latent"]) -> Carry:
    """The carry before the first call: latents init_noise_sigma * `noise`, and an empty memory.

    At least float32, whatever the precision of `noise`.
    """
    dtype = jnp.promote_types(noise.dtype, jnp.float32)
    latents = jnp.asarray(plan.init_noise_sigma, dtype) * noise.astype(dtype)
    return jnp.concatenate([latents[None], jnp.zeros((plan.slots - 1, *noise.shape), dtype)])


def latents_of(carry: Carry) -> Float[Array, "batch *latent"]:
    """The latents in a carry: the network's input before a call, the sample after the last."""
    return carry[0]


def normal_per_clip(
    keys: Key[Array, " batch"], index: int | Int[Array, ""], shape: tuple[int, ...], dtype: Any
) -> Float[Array, "batch *latent"]:
    """Standard normal noise number `index` of each clip, drawn from the clip's own key alone.

    So a clip does not depend on the batch it is in, nor on the number of devices.
    """
    return jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, index), shape, dtype))(
        keys
    )


def update(
    carry: Carry,
    transition: Float[Array, "slots columns"],
    model_output: Float[Array, "batch *latent"],
    noise: Float[Array, "batch *latent"] | None = None,
) -> Carry:
    """The next carry, transition @ [carry, model_output, noise], in the carry's precision."""
    terms = [*carry, model_output.astype(carry.dtype)]
    terms += [] if noise is None else [noise.astype(carry.dtype)]
    # Written out rather than a dot product, which a TPU or GPU would round to bfloat16 or TF32.
    columns = transition.astype(carry.dtype).T
    shape = (carry.shape[0],) + (1,) * (carry.ndim - 1)
    products = (c.reshape(shape) * term[None] for c, term in zip(columns, terms, strict=True))
    return functools.reduce(jnp.add, products)


def sample_segment(
    denoiser: Denoiser,
    plan: Plan,
    carry: Carry,
    *,
    keys: Key[Array, " batch"] | None = None,
    call_noise: Float[Array, "calls batch *latent"] | None = None,
    extras: Any = None,
) -> Carry:
    """Runs the plan's calls on a carry, and returns the carry.

    Between the segments of a long run the host can show progress; each has the same program:

        carry = init(plan, noise)
        for start in range(0, plan.calls, n):
            carry = compiled(plan.segment(start, start + n), carry, extras[start : start + n])

    Args:
        denoiser: `denoiser(latents, timestep, extra) -> prediction`, with a scalar timestep. The
            prediction is of the kind the plan was made for; its precision may be lower than the
            carry's.
        plan: a plan or a segment of one.
        carry: from `init` or from the segment before.
        keys: one random key a clip, the same for all segments. A deterministic plan ignores them.
        call_noise: fresh noise for this segment's calls, in place of `keys`.
        extras: pytree of arrays whose leading axis is this segment's calls, handed to the denoiser
            call by call.

    Raises:
        ValueError: a stochastic plan with neither `keys` nor `call_noise`, or with both.
    """
    if plan.stochastic and (keys is None) == (call_noise is None):
        raise ValueError(
            "A stochastic plan takes either keys or call_noise, but got "
            f"{'neither' if keys is None else 'both'}."
        )

    def call(carry: Carry, inputs: tuple[Any, ...]) -> tuple[Carry, None]:
        index, timestep, transition, fresh, extra = inputs
        if plan.stochastic and keys is not None:
            fresh = normal_per_clip(keys, index, carry.shape[2:], carry.dtype)
        model_output = denoiser(latents_of(carry), timestep, extra)
        return update(carry, transition, model_output, fresh if plan.stochastic else None), None

    inputs = (
        jnp.asarray(plan.index),
        jnp.asarray(plan.timesteps, carry.dtype),
        jnp.asarray(plan.transition, carry.dtype),
        call_noise,
        extras,
    )
    return jax.lax.scan(call, carry, inputs)[0]


def sample(
    denoiser: Denoiser,
    plan: Plan,
    noise: Float[Array, "batch *latent"],
    *,
    keys: Key[Array, " batch"] | None = None,
    call_noise: Float[Array, "calls batch *latent"] | None = None,
    extras: Any = None,
) -> Float[Array, "batch *latent"]:
    """Latents from standard normal `noise`, all calls in one scan.

    The arguments and what is raised are those of `sample_segment`.
    """
    carry = sample_segment(
        denoiser, plan, init(plan, noise), keys=keys, call_noise=call_noise, extras=extras
    )
    return latents_of(carry)
