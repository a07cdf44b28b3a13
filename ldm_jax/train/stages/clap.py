"""CLAP: a text and an audio tower that learn to agree on pairs and on nothing else.

Wu et al., "Large-Scale Contrastive Language-Audio Pretraining", arXiv 2211.06687, as LAION-AI/CLAP trains it: the
symmetric contrastive loss over the global batch; SpecAugment after the batch norm, whose statistics are those of the
global batch; stochastic depth in HTS-AT and RoBERTa's dropout. Sums of gradients over microbatches would be those of
another loss, for a clip only meets the texts of its own microbatch: hence no accumulation.
"""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from ldm_jax.audio.log_mel import LogMelSettings
from ldm_jax.data.features import STAGES, Feature, TextTokenizers
from ldm_jax.models.clap import CLAP
from ldm_jax.models.htsat import moved_statistics
from ldm_jax.train import spec_augment
from ldm_jax.train.losses.contrastive import contrastive_loss, cosines, found, same_rows
from ldm_jax.train.metrics import Metrics, mean
from ldm_jax.train.previews import Preview
from ldm_jax.train.stages.stage import AllParams, Arrays, Given, Networks, Params, Player, Stage

_SPECTROGRAM = "batch_norm"  # the tower's one batch norm


@dataclasses.dataclass(kw_only=True, slots=True)
class ClapStage(Stage):
    """`clap` on pairs of `clap_audio` and the captions `clap_ids`, `clap_mask`.

    Attributes:
        time_stripes: SpecAugment's (width, count) in frames; a count of 0 hides nothing.
        mel_stripes: the same in bands.
        text_dropout: rate within RoBERTa, on its states and on its attention's probabilities.
        drop_path: HTS-AT's stochastic depth: how often the last block leaves out a summand.
        by_batch: whether spectrograms are normalised by the batch's statistics, which the running ones then follow.
            False keeps the running ones, for small batches and weights that come from elsewhere.
        momentum: share of each batch in the running statistics.
        one_scale: whether both directions have the scale `logit_scale_a`, as in LAION's published command; else texts
            have their own, `logit_scale_t`, as `CLAP.logits` uses it.
        max_scale: bound of both scales.
        spare_same_caption: whether clips with the same caption are left out of each other's negatives. Published
            training lets them repel each other.
    """

    time_stripes: tuple[int, int] = (64, 2)
    mel_stripes: tuple[int, int] = (8, 2)
    text_dropout: float = 0.1
    drop_path: float = 0.1
    by_batch: bool = True
    momentum: float = 0.1
    one_scale: bool = False
    max_scale: float = 100.0
    spare_same_caption: bool = False

    def trained(self) -> tuple[str, ...]:
        """CLAP."""
        return ("clap",)

    def held_out(self) -> "ClapStage":
        """Whole spectrograms, without dropout, normalised by the running statistics."""
        return dataclasses.replace(
            self,
            time_stripes=(self.time_stripes[0], 0),
            mel_stripes=(self.mel_stripes[0], 0),
            text_dropout=0.0,
            drop_path=0.0,
            by_batch=False,
        )

    def accumulates(self) -> bool:
        """Not: each microbatch would have its own, fewer negatives."""
        return False

    def features(
        self, text: TextTokenizers, mel: LogMelSettings, seconds: float
    ) -> tuple[Feature, ...]:
        """CLAP's spectrogram of the segment's first 10 s, and the caption's tokens."""
        if text.clap is None:
            raise ValueError("training CLAP takes captions: no tokenizer for them was given")
        return STAGES["clap"](text, mel, seconds)

    def check(self, networks: Networks) -> None:
        """Raises ValueError where the tower or a rate is not for training."""
        clap = networks["clap"]
        if not isinstance(clap, CLAP):
            raise ValueError(f"the network 'clap' is a {type(clap).__name__}; it has to be a CLAP")
        if clap.audio.fusion:
            raise ValueError("an audio tower with fusion cannot be trained; set audio.fusion=False")
        for name in ("text_dropout", "drop_path"):
            if not 0 <= (rate := getattr(self, name)) < 1:
                raise ValueError(f"{name} is {rate}; it has to be at least 0 and below 1")
        if self.max_scale < 1:
            raise ValueError(f"max_scale is {self.max_scale}; it has to be at least 1")

    def draw(
        self, networks: Networks, key: Key[Array, ""], batch: Arrays, step: Int[Array, ""]
    ) -> Arrays:
        """`kept`: what SpecAugment leaves; `dropout`: a key."""
        rows, frames, mels = batch["clap_audio"].shape
        augment, dropout = jax.random.split(key)
        kept = spec_augment.kept(
            augment,
            rows=rows,
            frames=frames,
            mels=mels,
            time_stripes=self.time_stripes,
            mel_stripes=self.mel_stripes,
        )
        return {"kept": kept, "dropout": dropout}

    def players(self, networks: Networks) -> tuple[Player, ...]:
        """One, with the contrastive loss."""
        network = self.in_training(networks["clap"])
        loss = functools.partial(self._loss, network)
        return (Player(name="model", networks=("clap",), loss=loss),)

    def in_training(self, network: nn.Module) -> CLAP:
        """The network with this stage's rates."""
        assert isinstance(network, CLAP)
        rate = self.text_dropout
        return network.clone(
            text=network.text.clone(dropout=rate, attention_dropout=rate),
            audio=network.audio.clone(drop_path=self.drop_path),
        )

    def _loss(
        self, network: CLAP, params: AllParams, given: Given
    ) -> tuple[Float[Array, ""], Metrics]:
        batch = given.batch
        apply: Any = functools.partial(network.apply, {"params": params["clap"]})
        for_text, for_audio = jax.random.split(given.draws["dropout"])
        text = apply(
            batch["clap_ids"],
            batch["clap_mask"],
            deterministic=False,
            method="embed_text",
            rngs={"dropout": for_text},
        )
        audio = apply(
            batch["clap_audio"],
            kept=given.draws["kept"],
            by_batch=self.by_batch,
            deterministic=False,
            method="embed_audio",
            rngs={"dropout": for_audio},
        )
        similarity = cosines(text, audio)
        same = same_rows(batch["clap_ids"], batch["clap_mask"])
        scales = _scales(params["clap"], one_scale=self.one_scale)
        loss = contrastive_loss(
            similarity, **scales, left_out=same if self.spare_same_caption else None
        )
        return loss, {**_recalls(similarity, same, among=1), **_figures(similarity, scales)}

    def after(self, networks: Networks, params: AllParams, given: Given) -> AllParams:
        """Bounded scales and, by batch, running statistics."""
        clap, ceiling = params["clap"], np.float32(np.log(self.max_scale))
        names = ("logit_scale_a",) if self.one_scale else ("logit_scale_a", "logit_scale_t")
        changes: Params = {name: jnp.clip(clap[name], 0.0, ceiling) for name in names}
        if self.by_batch:
            running = clap["audio_model"][_SPECTROGRAM]
            moved = moved_statistics(running, given.batch["clap_audio"], momentum=self.momentum)
            changes["audio_model"] = {_SPECTROGRAM: moved}
        return {"clap": changes}

    def preview(
        self, networks: Networks, params: AllParams, given: Given, key: Key[Array, ""]
    ) -> Preview:
        """Recall at 1 and 10 both ways, as the network is used: no dropout, running statistics."""
        batch = given.batch
        arrays = (batch[f"clap_{name}"] for name in ("ids", "mask", "audio"))
        recalls = jax.device_get(_compare(networks["clap"], params["clap"], *arrays))
        figures = {name: float(total / count) for name, (total, count) in recalls.items()}
        return Preview(figures=figures)


@functools.partial(jax.jit, static_argnames="network")
def _compare(
    network: nn.Module,
    params: Params,
    ids: Int[Array, "batch length"],
    mask: Bool[Array, "batch length"],
    audio: Float[Array, "batch frames mels"],
) -> Metrics:
    """Both recalls, at 1 and at 10."""
    embeds: Any = network.apply({"params": params}, ids, mask, audio)
    similarity, same = cosines(*embeds), same_rows(ids, mask)
    nearest = _recalls(similarity, same, among=1)
    return {**nearest, **_recalls(similarity, same, among=10)}


def _scales(clap: Params, *, one_scale: bool) -> dict[str, Float[Array, ""]]:
    audio = jnp.exp(clap["logit_scale_a"])
    return {
        "audio_scale": audio,
        "text_scale": audio if one_scale else jnp.exp(clap["logit_scale_t"]),
    }


def _recalls(
    similarity: Float[Array, "batch batch"], same: Bool[Array, "batch batch"], *, among: int
) -> Metrics:
    return {
        f"audio_of_text_at_{among}": mean(found(similarity, same=same, among=among)),
        f"text_of_audio_at_{among}": mean(found(similarity.T, same=same, among=among)),
    }


def _figures(
    similarity: Float[Array, "batch batch"], scales: dict[str, Float[Array, ""]]
) -> Metrics:
    rows = len(similarity)
    paired = jnp.diagonal(similarity)
    others = (similarity.sum() - paired.sum()) / max(rows * (rows - 1), 1)
    return {
        "cosine_of_pairs": mean(paired),
        "cosine_of_others": mean(others),
        **{name: mean(scale) for name, scale in scales.items()},
    }
