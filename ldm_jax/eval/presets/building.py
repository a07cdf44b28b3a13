"""The measurements that presets share, for features of a kind."""

import dataclasses

from ldm_jax.eval.measurement import Caption, Measurement, Sound
from ldm_jax.eval.metrics.cosine import CosineScore
from ldm_jax.eval.metrics.divergence import Divergence
from ldm_jax.eval.metrics.estimate import Metric
from ldm_jax.eval.metrics.frechet import FrechetDistance
from ldm_jax.eval.metrics.inception import InceptionScore


def family(backbone: str) -> str:
    """A backbone's name as part of a measurement's: "clap:630k-best" is "clap"."""
    return backbone.partition(":")[0]


def sets(name: str, label: str, metric: Metric, sound: Sound, *, suffix: str = "") -> Measurement:
    """A metric between all clips of both sides."""
    return Measurement(
        name=f"{name}.{family(sound.backbone)}{suffix}",
        label=label,
        metric=metric,
        generated=sound,
        reference=sound,
    )


def frechet(label: str, sound: Sound) -> Measurement:
    """The Fréchet distance."""
    return sets("frechet_distance", label, FrechetDistance(), sound)


def divergence(label: str, sound: Sound, metric: Divergence, *, name: str = "kl") -> Measurement:
    """KL between clips of the same name; what is not softmax is named so."""
    kind = "" if metric.activation == "softmax" else f"_{metric.activation}"
    return Measurement(
        name=f"{name}{kind}.{family(sound.backbone)}",
        label=label,
        metric=metric,
        generated=dataclasses.replace(sound, output="logits"),
        reference=dataclasses.replace(sound, output="logits"),
        paired=True,
    )


def inception(label: str, sound: Sound) -> Measurement:
    """The inception score."""
    return Measurement(
        name=f"inception_score.{family(sound.backbone)}",
        label=label,
        metric=InceptionScore(),
        generated=dataclasses.replace(sound, output="logits"),
        better="higher",
    )


def clap_text(
    label: str, sound: Sound, metric: CosineScore, *, name: str = "clap_text"
) -> Measurement:
    """The cosine between clips and their captions."""
    return Measurement(
        name=name,
        label=label,
        metric=metric,
        generated=sound,
        reference=Caption(backbone=sound.backbone),
        paired=True,
        better="higher",
    )


def clap_audio(label: str, sound: Sound, metric: CosineScore) -> Measurement:
    """The cosine between clips of the same name."""
    return Measurement(
        name="clap_audio",
        label=label,
        metric=metric,
        generated=sound,
        reference=sound,
        paired=True,
        better="higher",
    )
