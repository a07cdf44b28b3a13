"""The networks of one system as one hashable value, and their parameters as one tree."""

import dataclasses
from typing import Any

import flax.linen as nn

from ldm_jax.convert.rules import Params
from ldm_jax.models.bert import BERT
from ldm_jax.models.clap import CLAP
from ldm_jax.models.gpt2 import GPT2
from ldm_jax.models.phoneme_encoder import PhonemeEncoder
from ldm_jax.models.t5 import T5Encoder
from ldm_jax.models.translator import Translator
from ldm_jax.models.unet import UNet
from ldm_jax.models.vae import VAE
from ldm_jax.models.vocoder import HiFiGAN
from ldm_jax.models.vocos import Vocos

AllParams = dict[str, Params]  # by the names of the fields of `Networks`


def run(
    module: nn.Module | None, params: Params, *arguments: Any, method: str | None = None
) -> Any:
    """`module.apply` on `params`; what it returns is annotated at the network's own method."""
    assert module is not None
    return module.apply({"params": params}, *arguments, method=method)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Networks:
    """What generation runs; None is a network that this checkpoint does without."""

    unet: UNet
    vae: VAE
    vocoder: HiFiGAN | Vocos
    clap: CLAP | None = None
    t5: T5Encoder | BERT | None = None
    phoneme_encoder: PhonemeEncoder | None = None
    gpt2: GPT2 | None = None
    translator: Translator | None = None

    @property
    def speaks(self) -> bool:
        """Whether clips follow a transcript."""
        return self.phoneme_encoder is not None


def with_dtype(module: nn.Module, dtype: Any) -> nn.Module:
    """`module` and the modules among its fields with compute type `dtype`."""
    nested: dict[str, Any] = {
        field.name: with_dtype(getattr(module, field.name), dtype)
        for field in dataclasses.fields(module)
        if field.name != "parent" and isinstance(getattr(module, field.name), nn.Module)
    }
    return module.clone(dtype=dtype, **nested)
