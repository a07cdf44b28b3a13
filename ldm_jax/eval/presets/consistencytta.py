"""The evaluation in Bai-YT/ConsistencyTTA, a fork of audioldm_eval with a CLAP score."""

import dataclasses

from ldm_jax.eval.measurement import Distance, Measurement, Preset, Sound
from ldm_jax.eval.metrics.cosine import CosineScore
from ldm_jax.eval.metrics.divergence import Divergence
from ldm_jax.eval.metrics.kernel import KernelDistance
from ldm_jax.eval.metrics.means import ClipMean
from ldm_jax.eval.presets.building import (
    clap_audio,
    clap_text,
    divergence,
    frechet,
    inception,
    sets,
)

_VGGISH = Sound(backbone="vggish", loading="consistencytta_vggish", front="examples")
_PANNS = Sound(backbone="cnn14_16k", loading="consistencytta_16k", front="log_mel")
_CLAP = Sound(
    backbone="clap:music_audioset_epoch_15_esc_90.14",
    loading="consistencytta_clap",
    front="start",
)
_COSINE = CosineScore(clamp=True, scale=100.0)

CONSISTENCYTTA = Preset(
    name="consistencytta",
    follows="Bai-YT/ConsistencyTTA; cosines below 0 count as 0, scores are times 100",
    measurements=(
        frechet("FAD", _VGGISH),
        frechet("FD", _PANNS),
        divergence("KL", _PANNS, Divergence()),
        divergence("KL sigmoid", _PANNS, Divergence(activation="sigmoid")),
        inception("IS", _PANNS),
        sets("kernel_distance", "KID", KernelDistance(subset_size=None), _PANNS),
        clap_text("CLAP_T", _CLAP, _COSINE),
        clap_audio("CLAP_A", _CLAP, _COSINE),
        clap_text(
            "CLAP_T of references",
            dataclasses.replace(_CLAP, side="reference"),
            _COSINE,
            name="clap_text_of_references",
        ),
        Measurement(
            name="lsd",
            label="LSD",
            metric=ClipMean(),
            generated=Distance(loading="consistencytta_lsd", function="lsd_of_consistencytta"),
            paired=True,
        ),
    ),
    least_paired=0.99,
)
