"""Our own rules: soxr, all channels, nothing taken off; with published networks, and with those of this library."""

import dataclasses

from ldm_jax.eval.measurement import Distance, Measurement, Preset, Sound, Words
from ldm_jax.eval.metrics.cosine import CosineScore, Retrieval
from ldm_jax.eval.metrics.divergence import Divergence
from ldm_jax.eval.metrics.extrapolation import FrechetExtrapolation
from ldm_jax.eval.metrics.kernel import KernelDistance
from ldm_jax.eval.metrics.means import ClipMean
from ldm_jax.eval.metrics.words import ErrorRate
from ldm_jax.eval.presets.building import (
    clap_audio,
    clap_text,
    divergence,
    frechet,
    inception,
    sets,
)

_VGGISH = Sound(backbone="vggish", loading="plain_16k_1s", front="examples")
_PANNS = Sound(backbone="cnn14_16k", loading="plain_16k_1s", front="log_mel")
_MUSICNN = Sound(backbone="musicnn:MTT_musicnn", loading="plain_16k", front="patches")
_MUSICNN_CLIPS = dataclasses.replace(_MUSICNN, average=True)
_LAION = Sound(
    backbone="clap:music_speech_audioset_epoch_15_esc_89.98", loading="plain_48k", front="centre"
)
_CLAP = Sound(backbone="clap", loading="plain_48k", front="centre")
_AUDIOMAE = Sound(backbone="audiomae", loading="plain_16k", front="start")


def _retrieval(sound: Sound) -> Measurement:
    text = clap_text("R@10", sound, CosineScore(), name="retrieval_10")
    return text.with_metric(Retrieval(k=10))


def _distance(name: str, label: str, *, better: str = "lower") -> Measurement:
    return Measurement(
        name=name,
        label=label,
        metric=ClipMean(),
        generated=Distance(loading="plain_16k", function=name),
        paired=True,
        better="higher" if better == "higher" else "lower",
    )


def _error_rate(name: str, label: str, unit: str) -> Measurement:
    return Measurement(
        name=name,
        label=label,
        metric=ErrorRate(),
        generated=Words(
            loading="plain_16k",
            unit="word" if unit == "word" else "character",
            normaliser="whisper-english",
        ),
    )


_WAVES = (
    _distance("mrstft", "MR-STFT"),
    _distance("mel", "mel L1"),
    _distance("lsd", "LSD"),
    _distance("si_sdr", "SI-SDR", better="higher"),
    _error_rate("wer", "WER", "word"),
    _error_rate("cer", "CER", "character"),
)

LDM_JAX = Preset(
    name="ldm_jax",
    follows="this library, with the published networks: soxr, mean of channels, the middle 10 s for CLAP",
    measurements=(
        frechet("FAD", _VGGISH),
        sets("frechet_infinity", "FAD inf", FrechetExtrapolation(), _VGGISH),
        frechet("FD", _PANNS),
        divergence("KL", _PANNS, Divergence()),
        divergence(
            "KL gen-ref", _PANNS, Divergence(direction="generated_to_reference"), name="kl_back"
        ),
        inception("IS", _PANNS),
        sets("kernel_distance", "KID", KernelDistance(), _PANNS),
        clap_text("CLAP_T", _LAION, CosineScore()),
        clap_audio("CLAP_A", _LAION, CosineScore()),
        _retrieval(_LAION),
        *_WAVES,
    ),
)
MUSICNN = Preset(
    name="musicnn",
    follows="this library, with musicnn, a published tagger of music that has no part in any training here",
    measurements=(
        frechet("FD musicnn", _MUSICNN),
        divergence("KL musicnn", _MUSICNN_CLIPS, Divergence()),
        divergence("KL sigmoid", _MUSICNN_CLIPS, Divergence(activation="sigmoid")),
    ),
)
OWN_ENCODERS = Preset(
    name="own_encoders",
    follows="this library, with CLAP and AudioMAE that were trained with it; comparable with no published figure",
    measurements=(
        frechet("FD CLAP", _CLAP),
        frechet("FD AudioMAE", _AUDIOMAE),
        sets("kernel_distance", "KID CLAP", KernelDistance(), _CLAP),
        clap_text("CLAP_T", _CLAP, CosineScore()),
        clap_audio("CLAP_A", _CLAP, CosineScore()),
        _retrieval(_CLAP),
        *_WAVES,
    ),
)
