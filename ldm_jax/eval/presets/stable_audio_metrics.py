"""Stability-AI/stable-audio-metrics: KL on PaSST, the CLAP score of the fusion model, FD on OpenL3."""

from ldm_jax.eval.measurement import Preset, Sound
from ldm_jax.eval.metrics.cosine import CosineScore
from ldm_jax.eval.metrics.divergence import Divergence
from ldm_jax.eval.presets.building import clap_text, divergence

STABLE_AUDIO_METRICS = Preset(
    name="stable_audio_metrics",
    follows="Stability-AI/stable-audio-metrics; its KL is KL(generated || reference)",
    measurements=(
        divergence(
            "KL PaSST",
            Sound(
                backbone="passt",
                loading="stable_audio_metrics_passt",
                front="windows",
                average=True,
            ),
            Divergence(direction="generated_to_reference"),
        ),
        clap_text(
            "CLAP",
            Sound(
                backbone="clap:630k-audioset-fusion-best",
                loading="stable_audio_metrics_clap",
                front="fusion",
            ),
            CosineScore(),
        ),
    ),
)
