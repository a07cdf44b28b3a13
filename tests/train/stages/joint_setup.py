"""The tiny networks of `tests.cases_joint` with their golden weights, and the stages on them."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from ldm_jax.convert import phoneme_encoder as convert_phoneme_encoder
from ldm_jax.convert import rules
from ldm_jax.convert import translator as convert_translator
from ldm_jax.convert import unet as convert_unet
from ldm_jax.convert.gpt2 import TRANSFORMERS
from ldm_jax.train.stages.joint import JointStage
from ldm_jax.train.stages.latent_diffusion import LatentDiffusionStage
from ldm_jax.train.stages.speech import SpeechStage
from ldm_jax.train.stages.stage import Given
from ldm_jax.train.stages.translator import TranslatorStage
from tests import cases_joint as cases
from tests.golden import load
from tests.models import test_gpt2, test_phoneme_encoder, test_translator, test_unet

TABLES = {
    "unet": convert_unet.DIFFUSERS,
    "gpt2": TRANSFORMERS,
    "translator": convert_translator.DIFFUSERS,
    "phoneme_encoder": convert_phoneme_encoder.TRANSFORMERS,
}


@functools.cache
def stored(kind: str):
    shapes, outputs = load(f"joint_{kind}")
    return cases.weights(shapes), outputs


@functools.cache
def networks(kind: str, dtype: str):
    """(modules, parameters) by name, in `dtype` throughout."""
    tensors, _ = stored(kind)

    def part(name):
        return {
            k.removeprefix(f"{name}."): x for k, x in tensors.items() if k.startswith(f"{name}.")
        }

    unet = convert_unet.from_config(cases.UNETS[kind])
    made = {
        "unet": (unet, test_unet.converted(unet, part("unet"), convert_unet.DIFFUSERS)),
        "gpt2": test_gpt2.convert(cases.GPT2, part("gpt2")),
        "translator": test_translator.convert(cases.FRONTS[kind], part("translator")),
    }
    if kind == "speech":
        tensors = part("phoneme_encoder")
        made["phoneme_encoder"] = test_phoneme_encoder.convert(cases.PHONEMES, tensors)
    modules = {name: module.clone(dtype=jnp.dtype(dtype)) for name, (module, _) in made.items()}
    params = {
        name: jax.tree.map(lambda x: np.asarray(x, dtype), p) for name, (_, p) in made.items()
    }
    return modules, params


def stage(name: str, **settings):
    """The stage of a golden case, without dropout."""
    which, own, _ = cases.CASES[name]
    settings = {"encoded": True, "loa_grid": cases.GRID} | own | settings
    if which == "translator":
        return TranslatorStage(**({"time_pool": 2, "dropout": False} | settings))
    settings = {"latent_scale": cases.SCALE, "time_pools": (2,)} | settings
    if which == "diffusion":
        return LatentDiffusionStage(**settings)
    kind = SpeechStage if name == "speech" else JointStage
    return kind(**({"dropout": False} | settings))


def batch(dtype: str = "float32"):
    return {
        name: jnp.asarray(x, dtype if x.dtype == np.float64 else None)
        for name, x in cases.batch().items()
    }


def given(name: str, dtype: str = "float32", **draws) -> Given:
    drawn = {**cases.noises(), **cases.CASES[name][2], **draws}
    arrays = {
        key: jnp.asarray(x, dtype if np.asarray(x).dtype == np.float64 else None)
        for key, x in drawn.items()
    }
    constants = {"latent_scale": jnp.asarray(cases.SCALE, dtype)}
    return Given({}, batch(dtype), arrays, constants, jnp.int32(1))


def loss_and_gradients(name: str, dtype: str = "float32", *, draws=None, **settings):
    """((loss, figures), gradients by network) of a golden case, with other draws or settings."""
    params = networks(cases.kind(name), dtype)[1]
    made = stage(name, **settings)
    trained = {network: params[network] for network in made.trained()}
    function = _compiled(
        cases.kind(name), dtype, type(made), tuple(dataclasses.asdict(made).items())
    )
    return function(trained, given(name, dtype, **(draws or {})))


@functools.cache
def _compiled(kind: str, dtype: str, stage_type, settings):
    loss = stage_type(**dict(settings)).players(networks(kind, dtype)[0])[0].loss
    # What is small compiles longer than it runs.
    fast = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    return jax.jit(jax.value_and_grad(loss, has_aux=True), compiler_options=fast)


def in_torch_layout(gradients, network: str) -> dict[str, np.ndarray]:
    tree = jax.tree.map(np.asarray, gradients)
    return dict(rules.export(tree, TABLES[network], network=network))
