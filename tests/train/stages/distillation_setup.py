"""Tiny denoisers for the distillation stages, a batch of encodings, and what both sides of a formula are asked.

The UNet has one level and one transformer, in its middle, that reads text. Its calls are compiled once for all tests;
what the stages do around them runs operation by operation.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ldm_jax.convert.checkpoint import SCHEDULER, Checkpoint
from ldm_jax.convert.random_checkpoint import random_params
from ldm_jax.diffusion.distilled import Distilled
from ldm_jax.models.unet import UNet
from ldm_jax.profiling import count_flops
from ldm_jax.train.stages.stage import Given
from tests import cases_joint as cases

FREQUENCIES = 6
SCALES = np.array([0.5, 1.0, 4.0])  # of the clips' guidance
WORDS = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}
TOLD = Distilled(method="guided", guidance=(0.0, 6.0), guidance_scale=3.0)


class CompiledUNet(UNet):
    """A UNet whose calls share their programs."""

    def apply(self, variables, *inputs, **options):
        if options:  # features are captured on the way
            return super().apply(variables, *inputs, **options)
        return _called(self, variables, *inputs)


@functools.partial(jax.jit, static_argnums=0)
def _called(unet, variables, *inputs):
    return UNet.apply(unet, variables, *inputs)


def unet(*, told: bool, kind=CompiledUNet) -> UNet:
    return kind(
        in_channels=3,
        out_channels=3,
        block_out_channels=(8,),
        attention_levels=(False,),
        layers_per_block=1,
        cross_attention_dims=(cases.TEXT,),
        heads=2,
        head_dim=None,
        norm_groups=4,
        guidance_features=FREQUENCIES if told else None,
    )


@functools.cache
def params(seed: int, *, told: bool):
    made = random_params(unet(told=told, kind=UNet), name="unet", seed=seed)
    if told:
        made["guidance_embedding"]["frequencies"] *= 10
    return jax.tree.map(jnp.asarray, made)


def origin(
    prediction: str = "eps", *, distilled: Distilled | None = None, **scheduler
) -> Checkpoint:
    """The checkpoint of a teacher, without its weights."""
    return Checkpoint(
        networks={},
        params={},
        tokenizers={},
        scheduler={**SCHEDULER, "prediction_type": WORDS[prediction], **scheduler},
        sample_rate=16_000,
        hop=160,
        loa_tokens=8,
        preset=None,
        source="",
        distilled=distilled,
    )


def stage(kind, teacher: Checkpoint, *, name: str = "teacher", **settings):
    """A stage on encodings that has been told of its teacher; `name` is the network that comes from there."""
    fixed = {"encoded": True, "contexts": ("text",), "latent_scale": cases.SCALE}
    return kind(**(fixed | settings)).informed({name: teacher})


def batch() -> dict[str, jax.Array]:
    wanted = ("latents", "t5", "t5_mask", "empty_t5")
    return {
        name: jnp.asarray(x, jnp.float32 if x.dtype == np.float64 else None)
        for name, x in cases.batch().items()
        if name in wanted
    }


class Program:
    """What `profiling.count_flops` says of single calls of a UNet, on the batch of the tests."""

    def __init__(self, *, told: bool):
        self.network, self.params = unet(told=told, kind=UNet), params(0, told=told)
        scale = jnp.ones(3) if told else None
        z, t = jnp.zeros((3, 8, 4, 3)), jnp.zeros(3)

        def called(params, contexts):
            return self.network.apply({"params": params}, z, t, (contexts,), None, scale)

        one = conditions(empty=False)
        two = jax.tree.map(lambda x: jnp.repeat(x, 2, axis=0), one)
        self.forward = count_flops(called, self.params, one)
        self.doubled = count_flops(called, self.params, two)
        self.gradient = count_flops(jax.grad(lambda p: (called(p, one) ** 2).sum()), self.params)


def draws(place=(0.05, 0.55, 0.99), **others) -> dict[str, jax.Array]:
    noises = {name: cases.noises()[name] for name in ("posterior", "noise")}
    drawn = {**noises, "place": np.asarray(place), "scale": SCALES, **others}
    return {
        k: jnp.asarray(x, jnp.float32 if np.asarray(x).dtype == np.float64 else None)
        for k, x in drawn.items()
    }


def given(*, frozen=None, followers=None, number=0, place=(0.05, 0.55, 0.99), **drawn) -> Given:
    """The batch, in round `number` of the run."""
    return Given(
        frozen or {},
        batch(),
        draws(place, **drawn),
        {"latent_scale": jnp.float32(cases.SCALE)},
        jnp.int32(1),
        followers=followers or {},
        round=jnp.int32(number),
    )


def loss_and_gradient(stage, networks, student, given):
    """((loss, figures), gradient) by the stage."""
    (player,) = stage.players(networks)
    return jax.value_and_grad(player.loss, has_aux=True)({"unet": student}, given)


# What follows is for the formulas: NumPy in float64, but for the calls of the UNet.


def latents() -> np.ndarray:
    mean, deviation = np.split(cases.batch()["latents"], 2, axis=-1)
    return cases.SCALE * (mean + deviation * cases.noises()["posterior"])


def noise() -> np.ndarray:
    return cases.noises()["noise"]


def conditions(*, empty: bool):
    """(states, mask) of the captions, or of "" in as many places."""
    stored = batch()
    if not empty:
        return stored["t5"], stored["t5_mask"]
    rows, length = stored["t5_mask"].shape
    states = np.zeros((rows, length, cases.TEXT), np.float32)
    mask = np.zeros((rows, length), bool)
    states[:, :1], mask[:, 0] = np.asarray(stored["empty_t5"]), True
    return jnp.asarray(states), jnp.asarray(mask)


def call(params, z, timesteps, *, scale=None, empty: bool = False):
    """The UNet's output under one branch's conditions."""
    network, t = unet(told="guidance_embedding" in params), np.asarray(timesteps)
    told = None if scale is None else jnp.asarray(scale, jnp.float32)
    # As the stages give them, so that programs are shared: whole numbers or float32.
    inputs = (jnp.asarray(z, jnp.float32), jnp.asarray(t, t.dtype.kind + "4"))
    return network.apply({"params": params}, *inputs, (conditions(empty=empty),), None, told)


def plain(params, scale=None):
    """`call` with the captions, as a function of latents and timesteps in float64."""
    return lambda z, t: np.asarray(call(params, z, t, scale=scale), np.float64)


def guided(params, scale):
    """u + w (c - u) from two calls."""
    w = np.asarray(scale)[:, None, None, None]

    def network(z, t):
        c, u = (np.asarray(call(params, z, t, empty=empty), np.float64) for empty in (False, True))
        return u + w * (c - u)

    return network


def mean_square(said, target):
    return ((said - target) ** 2).mean((1, 2, 3))


def weighted_error(
    student, z, timesteps, target, weights, *, scale=None, read=None, distance=mean_square
):
    """(mean over clips of weight distance(read(output), target), its gradient)."""
    target, weights = jnp.asarray(target, jnp.float32), jnp.asarray(weights, jnp.float32)

    def loss(params):
        output = call(params, z, timesteps, scale=scale)
        said = output if read is None else read(output)
        return (weights * distance(said, target)).mean()

    return jax.value_and_grad(loss)(student)


def published_levels(t) -> tuple[np.ndarray, np.ndarray]:
    """(alpha, sigma) of AudioLDM's schedule; between timesteps sigma / alpha is linear, as in ConsistencyTTA."""
    betas = np.linspace(0.0015**0.5, 0.0195**0.5, 1000) ** 2
    kept = np.cumprod(1 - betas)
    s = np.interp(t, np.arange(1000), np.sqrt((1 - kept) / kept))
    return 1 / np.sqrt(1 + s**2), s / np.sqrt(1 + s**2)


def per_clip(x) -> np.ndarray:
    return np.asarray(x, np.float64)[:, None, None, None]


def flat(tree) -> np.ndarray:
    return np.concatenate([np.asarray(x, np.float64).ravel() for x in jax.tree.leaves(tree)])


def norm(tree) -> float:
    return float(np.linalg.norm(flat(tree)))
