"""AudioMAE: most patches of a spectrogram are hidden, and predicted from the rest.

Huang et al., "Masked Autoencoders that Listen", arXiv 2207.06405, as facebookresearch/AudioMAE pretrains it: 80 % of
the patches hidden at random, the mean squared error on these alone, each patch normalised by its own mean and
deviation. The decoder, Swin or ViT, is the network's field `decoder`; rolls in time and gains belong to the data
(`Shaping`).
"""

import dataclasses
import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from ldm_jax.audio.kaldi import AUDIOSET_MEAN, AUDIOSET_STD
from ldm_jax.audio.log_mel import LogMelSettings
from ldm_jax.data.features import STAGES, Feature, TextTokenizers
from ldm_jax.models.audiomae import AudioMAE
from ldm_jax.models.audiomae_pretraining import (
    VARIANCE_FLOOR,
    patchify,
    random_masking,
    reconstruction_loss,
    unpatchify,
)
from ldm_jax.models.layers import upcast
from ldm_jax.train.metrics import Metrics, mean
from ldm_jax.train.previews import Preview
from ldm_jax.train.stages.stage import AllParams, Arrays, Given, Networks, Params, Player, Stage


@dataclasses.dataclass(kw_only=True, slots=True)
class AudioMAEStage(Stage):
    """`audiomae` on `fbank`.

    Attributes:
        mask_ratio: share of patches that are hidden.
        norm_pix: whether patches are predicted as they are after normalisation, each by itself.
        decoder_dropout: whether the position biases of a "swin" decoder have their published dropout.
        previewed: clips in a preview.
    """

    mask_ratio: float = 0.8
    norm_pix: bool = True
    decoder_dropout: bool = True
    previewed: int = 2

    def trained(self) -> tuple[str, ...]:
        """AudioMAE."""
        return ("audiomae",)

    def held_out(self) -> "AudioMAEStage":
        """Without the decoder's dropout; patches stay hidden."""
        return dataclasses.replace(self, decoder_dropout=False)

    def features(
        self, text: TextTokenizers, mel: LogMelSettings, seconds: float
    ) -> tuple[Feature, ...]:
        """Kaldi's filter bank, 100 frames a second."""
        return STAGES["audiomae"](text, mel, seconds)

    def check(self, networks: Networks) -> None:
        """Raises ValueError for a network that predicts nothing, and a mask that hides or leaves nothing."""
        audiomae = networks["audiomae"]
        if not isinstance(audiomae, AudioMAE):
            kind = type(audiomae).__name__
            raise ValueError(f"the network 'audiomae' is a {kind}; it has to be an AudioMAE")
        if audiomae.decoder is None:
            raise ValueError("an AudioMAE without a decoder predicts nothing; set decoder='swin'")
        tokens = math.prod(audiomae.grid)
        kept = int(tokens * (1 - self.mask_ratio))
        if not 0 < kept < tokens:
            raise ValueError(
                f"mask_ratio {self.mask_ratio} leaves {kept} of {tokens} patches; keep and hide at "
                "least one"
            )

    def draw(
        self, networks: Networks, key: Key[Array, ""], batch: Arrays, step: Int[Array, ""]
    ) -> Arrays:
        """A `Masking` of each row, and the key `dropout`."""
        masking, dropout = jax.random.split(key)
        return {**self._masking(networks, masking, len(batch["fbank"])), "dropout": dropout}

    def players(self, networks: Networks) -> tuple[Player, ...]:
        """One, with the reconstruction loss."""
        loss = functools.partial(self._loss, networks["audiomae"])
        return (Player(name="model", networks=("audiomae",), loss=loss),)

    def preview(
        self, networks: Networks, params: AllParams, given: Given, key: Key[Array, ""]
    ) -> Preview:
        """Clips as they are, as the encoder sees them and as they are made up; the errors of the batch.

        A made-up patch has the mean and deviation of the true one where only its shape is predicted.
        """
        masking = self._masking(networks, key, len(given.batch["fbank"]))
        pictures, errors = jax.device_get(
            _reconstruct(
                networks["audiomae"],
                params["audiomae"],
                given.batch["fbank"],
                masking,
                norm_pix=self.norm_pix,
                clips=self.previewed,
            )
        )
        images = {
            f"clip_{i}_{name}": picture
            for name, clips in pictures.items()
            for i, picture in enumerate(clips)
        }
        figures = {name: float(total / count) for name, (total, count) in errors.items()}
        return Preview(images=images, figures=figures)

    def _masking(self, networks: Networks, key: Key[Array, ""], rows: int) -> Arrays:
        audiomae = networks["audiomae"]
        assert isinstance(audiomae, AudioMAE)
        tokens = math.prod(audiomae.grid)
        masking = random_masking(key, batch=rows, tokens=tokens, mask_ratio=self.mask_ratio)
        return masking._asdict()

    def _loss(
        self, network: nn.Module, params: AllParams, given: Given
    ) -> tuple[Float[Array, ""], Metrics]:
        fbank, draws = given.batch["fbank"], given.draws
        pred: Any = network.apply(
            {"params": params["audiomae"]},
            fbank,
            draws["keep_ids"],
            draws["restore_ids"],
            deterministic=not self.decoder_dropout,
            rngs={"dropout": draws["dropout"]},
        )
        loss = reconstruction_loss(pred, fbank, draws["mask"], norm_pix=self.norm_pix)
        visible = reconstruction_loss(pred, fbank, 1 - draws["mask"], norm_pix=self.norm_pix)
        return loss, {"visible_loss": mean(visible)}


@functools.partial(jax.jit, static_argnames=("network", "norm_pix", "clips"))
def _reconstruct(
    network: nn.Module,
    params: Params,
    fbank: Float[Array, "batch time frequency"],
    masking: Arrays,
    *,
    norm_pix: bool,
    clips: int,
) -> tuple[dict[str, Float[Array, "clips time frequency"]], Metrics]:
    """(pictures of the first clips, errors on hidden and on visible patches of all)."""
    ids, mask = (masking["keep_ids"], masking["restore_ids"]), masking["mask"]
    made: Any = network.apply({"params": params}, fbank, *ids)
    pred = made = upcast(made)
    errors = {
        "hidden_loss": mean(reconstruction_loss(pred, fbank, mask, norm_pix=norm_pix)),
        "visible_loss": mean(reconstruction_loss(pred, fbank, 1 - mask, norm_pix=norm_pix)),
    }
    true = patchify(fbank, math.isqrt(pred.shape[-1]))
    if norm_pix:
        deviation = jnp.sqrt(true.var(axis=-1, ddof=1, keepdims=True) + VARIANCE_FLOOR)
        made = pred * deviation + true.mean(axis=-1, keepdims=True)
    hidden = mask[:, :, None] > 0
    patches = {
        "true": true,
        "seen": jnp.where(hidden, true.min(axis=(1, 2), keepdims=True), true),
        "made_up": jnp.where(hidden, made, true),
    }
    frequency = fbank.shape[-1]
    pictures = {name: _magnitudes(unpatchify(x[:clips], frequency)) for name, x in patches.items()}
    return pictures, errors


def _magnitudes(
    fbank: Float[Array, "clips time frequency"],
) -> Float[Array, "clips time frequency"]:
    """Natural logarithms of magnitudes: half of those of the energies that the input was made from."""
    return (fbank * (2 * AUDIOSET_STD) + AUDIOSET_MEAN) / 2
