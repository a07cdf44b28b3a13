"""From a wave to what a network reads of it, on the host: a function a kind of network and a way to cut the wave."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from ldm_jax.audio.clap_features import SAMPLE_RATE as CLAP_RATE
from ldm_jax.audio.clap_features import SAMPLES as CLAP_SAMPLES
from ldm_jax.audio.clap_features import clap_features, clap_fusion_features
from ldm_jax.audio.kaldi import audiomae_input
from ldm_jax.audio.musicnn_features import musicnn_patches
from ldm_jax.audio.panns_features import MELS, PANNS, panns_log_mel
from ldm_jax.audio.passt_features import HOP as PASST_HOP
from ldm_jax.audio.passt_features import SAMPLES as PASST_SAMPLES
from ldm_jax.audio.passt_features import passt_log_mel
from ldm_jax.audio.vggish_features import vggish_examples
from ldm_jax.eval.backbones.backbone import Inputs
from ldm_jax.eval.backbones.windows import overlapping

Wave = Float[np.ndarray, " samples"]
Front = Callable[[Any, Wave, int], Inputs]


def bucket(frames: int) -> int:
    """The next of 32, 40, 48, 56, 64, 80, 96, ...: at most a quarter more, so that few shapes are compiled."""
    step = 2 ** max(math.ceil(math.log2(max(frames, 1))) - 3, 3)
    return max(32, step * math.ceil(frames / step))


def _vggish(_: Any, wave: Wave, __: int) -> Inputs:
    return {"examples": _narrow(vggish_examples(wave))}


def _cnn14(module: Any, wave: Wave, rate: int) -> Inputs:
    """One row, filled up to a common length; no row of a clip of which no frame is left after the poolings."""
    settings = PANNS[rate]
    frames = settings.frames(len(wave))
    if len(wave) <= settings.n_fft // 2 or frames < module.min_frames:
        return {
            "log_mel": np.zeros((0, bucket(1), MELS), np.float32),
            "frames": np.zeros(0, np.int32),
        }
    log_mel = _narrow(panns_log_mel(wave, settings))
    padded = np.pad(log_mel, ((0, bucket(frames) - frames), (0, 0)))
    return {"log_mel": padded[None], "frames": np.array([frames], np.int32)}


def _clap(module: Any, wave: Wave, _: int, *, crop: str = "start") -> Inputs:
    """10 s; of a longer clip four pictures where the model has fusion, as LAION trained it."""
    if module.audio.fusion:
        log_mel, longer = clap_fusion_features(wave)
        return {"log_mel": _narrow(log_mel)[None], "longer": np.asarray(longer, bool)[None]}
    return {"log_mel": _narrow(clap_features(wave, crop=crop))[None]}


def _clap_centre(module: Any, wave: Wave, rate: int) -> Inputs:
    return _clap(module, wave, rate, crop="centre")


def _clap_seconds(module: Any, wave: Wave, _: int) -> Inputs:
    """10 s from every second on, silence behind the end, as fadtk."""
    starts = range(0, len(wave), CLAP_RATE)
    filled = np.pad(wave, (0, CLAP_SAMPLES))
    rows = [clap_features(filled[start : start + CLAP_SAMPLES]) for start in starts]
    return {"log_mel": _narrow(np.stack(rows))}


def _audiomae(module: Any, wave: Wave, rate: int) -> Inputs:
    if len(wave) < rate // 40:  # a frame
        return {"log_mel": np.zeros((0, *module.img_size), np.float32)}
    return {"log_mel": _narrow(audiomae_input(wave, frames=module.img_size[0]))[None]}


def _passt(module: Any, wave: Wave, _: int) -> Inputs:
    """The wave as it is; no row if it is shorter than a patch."""
    shortest = (module.patch_size - 1) * PASST_HOP + 1
    if len(wave) < shortest:
        return {"log_mel": np.zeros((0, module.patch_size, module.mels), np.float32)}
    return {"log_mel": _narrow(passt_log_mel(wave))[None]}


def _passt_windows(module: Any, wave: Wave, rate: int) -> Inputs:
    """10 s every 5 s; only a clip of at most 1.5 s has another shape, and then a single row."""
    parts = overlapping(wave, window=PASST_SAMPLES, step=PASST_SAMPLES // 2)
    rows = [_passt(module, part, rate)["log_mel"] for part in parts]
    return {"log_mel": np.concatenate(rows)}


def _musicnn(_: Any, wave: Wave, __: int) -> Inputs:
    """3 s after 3 s, what is left dropped; a shorter clip is filled up to one row. None below 257 samples."""
    return {"log_mel": _narrow(musicnn_patches(wave))}


def _narrow(x: Any) -> np.ndarray:
    return np.asarray(x, np.float32)


FRONTS: Mapping[tuple[str, str], Front] = {
    ("vggish", "examples"): _vggish,
    ("cnn14", "log_mel"): _cnn14,
    ("clap", "start"): _clap,
    ("clap", "fusion"): _clap,
    ("clap", "centre"): _clap_centre,
    ("clap", "seconds"): _clap_seconds,
    ("passt", "whole"): _passt,
    ("passt", "windows"): _passt_windows,
    ("musicnn", "patches"): _musicnn,
    ("audiomae", "start"): _audiomae,
}
