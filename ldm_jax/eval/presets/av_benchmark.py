"""hkchengrex/av-benchmark without its video metrics: what video-to-audio papers print beside them."""

import dataclasses

from ldm_jax.eval.measurement import Preset, Sound
from ldm_jax.eval.metrics.cosine import CosineScore
from ldm_jax.eval.metrics.divergence import Divergence
from ldm_jax.eval.presets.building import clap_text, divergence, frechet, inception

_VGGISH = Sound(backbone="vggish", loading="av_benchmark_16k", front="examples")
_PANNS = Sound(backbone="cnn14_16k", loading="av_benchmark_16k", front="log_mel")
_PASST = Sound(backbone="passt", loading="av_benchmark_passt", front="whole")
_CLAP = Sound(
    backbone="clap:music_speech_audioset_epoch_15_esc_89.98",
    loading="av_benchmark_clap",
    front="start",
)
_KL = Divergence(eps=0.0)

AV_BENCHMARK = Preset(
    name="av_benchmark",
    follows="hkchengrex/av-benchmark on the first 8 s; KL(reference || generated) without eps",
    measurements=(
        frechet("FD VGGish", _VGGISH),
        frechet("FD PANNs", _PANNS),
        dataclasses.replace(frechet("FD PaSST", _PASST), paired=True),
        divergence("KL PANNs", _PANNS, _KL),
        divergence("KL PaSST", _PASST, _KL),
        inception("IS PANNs", _PANNS),
        dataclasses.replace(inception("IS PaSST", _PASST), paired=True),
        clap_text("CLAP", _CLAP, CosineScore()),
    ),
)
