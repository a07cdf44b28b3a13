"""A whole system in memory: its networks, their weights, and what goes with them, whatever layout it came from."""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import traverse_util
from jaxtyping import Array, Key

from ldm_jax.convert.rules import Params
from ldm_jax.diffusion.distilled import Distilled
from ldm_jax.models.audiomae import AudioMAE
from ldm_jax.models.bert import BERT
from ldm_jax.models.clap import CLAP
from ldm_jax.models.cnn14 import Cnn14
from ldm_jax.models.gpt2 import GPT2
from ldm_jax.models.passt import PaSST
from ldm_jax.models.phoneme_encoder import PhonemeEncoder
from ldm_jax.models.t5 import T5Encoder
from ldm_jax.models.translator import Translator
from ldm_jax.models.unet import UNet
from ldm_jax.models.vae import VAE
from ldm_jax.models.vggish import VGGish
from ldm_jax.models.vocoder import HiFiGAN
from ldm_jax.models.vocos import Vocos

# The published noise schedule; every AudioLDM 2 checkpoint has it, also those whose layout does not say so.
SCHEDULER = {
    "_class_name": "DDIMScheduler",
    "num_train_timesteps": 1000,
    "beta_start": 0.0015,
    "beta_end": 0.0195,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "prediction_type": "epsilon",
    "timestep_spacing": "leading",
}


SECONDS = 10.24  # of the clips that every published system was trained on


@dataclasses.dataclass(frozen=True, kw_only=True)
class Own:
    """What a checkpoint is asked for where nothing else is said.

    Attributes:
        distilled: how a distilled UNet has to be sampled; None for one that is not.
        seconds: length of the clips that it was trained on.
    """

    distilled: Distilled | None = None
    seconds: float = SECONDS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Networks by name, with their parameters under the same names.

    Attributes:
        networks: `unet`, `vae`, `vocoder`, and of `clap`, `t5`, `phoneme_encoder`, `gpt2`, `translator`, `audiomae`
            those that the checkpoint has.
        params: NumPy arrays (views of the file where the layout allows).
        tokenizers: folders of tokeniser files by network (`clap`, `t5`, `phoneme_encoder`).
        scheduler: the scheduler's config in diffusers' words.
        sample_rate: of the clips, in Hz.
        hop: samples between two mel frames.
        loa_tokens: how many LOA tokens GPT-2 rolls out.
        preset: the preset this was made with, or None where either may be chosen.
        source: what it was read from, for records.
        rest: the folder that networks were read from which `source` has not, or "" where it is whole.
        distilled: see `Own`.
        seconds: see `Own`.
    """

    networks: Mapping[str, nn.Module]
    params: dict[str, Params]
    tokenizers: Mapping[str, pathlib.Path]
    scheduler: Mapping[str, Any]
    sample_rate: int
    hop: int
    loa_tokens: int
    preset: str | None
    source: str
    rest: str = ""
    distilled: Distilled | None = None
    seconds: float = SECONDS


def init_params(module: nn.Module, key: Key[Array, ""]) -> Params:
    """New parameters of a network; under `jax.jit` with `out_shardings`, where they belong from the beginning.

    A network that is not in the table below has a method `example` that gives small inputs of its `__call__`.
    """
    variables: Any = module.init(key, *_example(module))
    return variables["params"]


def completed(given: Params, module: nn.Module, key: Key[Array, ""]) -> Params:
    """`given`, with new parameters at the paths of `module` that it has not: all of them, or those of an added input.

    What is there already is not computed under `jax.jit`.
    """
    wanted = traverse_util.flatten_dict(abstract_params(module))
    there = traverse_util.flatten_dict(given)
    if wanted.keys() <= there.keys():
        return given
    fresh = traverse_util.flatten_dict(init_params(module, key))
    return traverse_util.unflatten_dict({path: there.get(path, fresh[path]) for path in wanted})


def abstract_params(module: nn.Module) -> Params:
    """The shapes of a network's parameters, nothing computed."""
    shapes = _abstract_params(module, jax.dtypes.canonicalize_dtype(float))
    return jax.tree.map(lambda leaf: leaf, shapes)  # a tree of the caller's own


@functools.lru_cache(maxsize=64)  # a second for a UNet, and it is asked for again and again
def _abstract_params(module: nn.Module, widest: Any) -> Params:
    del widest  # float64 gives other types
    return jax.eval_shape(lambda: init_params(module, jax.random.key(0)))


def count_params(params: Params) -> int:
    """How many numbers a tree holds."""
    leaves: list[Any] = list(traverse_util.flatten_dict(params).values())
    return sum(int(leaf.size) for leaf in leaves)


def _example(module: nn.Module) -> tuple[Any, ...]:
    """Small inputs of a network's `__call__`."""
    if own := getattr(module, "example", None):
        return own()
    tokens, mask = jnp.zeros((1, 4), jnp.int32), jnp.ones((1, 4), bool)
    for kind, arguments in _EXAMPLES.items():
        if isinstance(module, kind):
            return arguments(module, tokens, mask)
    raise TypeError(f"no example input for a {type(module).__name__}")


def _unet_example(module: UNet, tokens: jax.Array, mask: jax.Array) -> tuple[Any, ...]:
    dims = [dim for dim in module.cross_attention_dims if dim is not None]
    contexts = [(jnp.zeros((1, 4, dim)), mask) for dim in dims]
    film = jnp.zeros((1, module.film_dim)) if module.film_dim else None
    guidance = jnp.ones(1) if module.guidance_features else None
    return jnp.zeros((1, 8, 8, module.in_channels)), jnp.zeros(1), contexts, film, guidance


def _clap_example(module: CLAP, tokens: jax.Array, mask: jax.Array) -> tuple[Any, ...]:
    features = jnp.zeros((1, *((4,) if module.audio.fusion else ()), 8, module.audio.num_mels))
    return tokens, mask, features, jnp.zeros(1, bool) if module.audio.fusion else None


def _translator_example(module: Translator, tokens: jax.Array, mask: jax.Array) -> tuple[Any, ...]:
    lengths = [1] * (len(module.stream_dims) - 1) + [module.max_seq_length or 1]
    pairs = zip(lengths, module.stream_dims, strict=True)
    return ([(jnp.zeros((1, n, dim)), jnp.ones((1, n), bool), None) for n, dim in pairs],)


_EXAMPLES = {
    UNet: _unet_example,
    CLAP: _clap_example,
    Translator: _translator_example,
    VAE: lambda m, *_: (jnp.zeros((1, 16, 16, m.in_channels)),),
    HiFiGAN: lambda m, *_: (jnp.zeros((1, 4, m.mel_channels)),),
    Vocos: lambda m, *_: (jnp.zeros((1, 16, m.mel_channels)),),
    T5Encoder: lambda m, tokens, mask: (tokens, mask),
    BERT: lambda m, tokens, mask: (tokens, mask),
    PhonemeEncoder: lambda m, tokens, mask: (tokens, mask),
    GPT2: lambda m, *_: (jnp.zeros((1, 4, m.n_embd)),),
    AudioMAE: lambda m, *_: (jnp.zeros((1, *m.img_size)),),
    PaSST: lambda m, *_: (jnp.zeros((1, m.patch_size, m.mels)),),
    VGGish: lambda m, *_: (jnp.zeros((1, m.frames, m.mels)),),
    Cnn14: lambda m, *_: (jnp.zeros((1, m.min_frames, m.num_mels)),),
}
