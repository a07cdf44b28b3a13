r"""Writes tests/golden/audio_*.npz: what the peers' programs give for the waves of `tests.cases_audio`.

    pip download --no-deps torchaudio==2.11.0 && unzip torchaudio-*.whl -d /tmp/torchaudio
    pip install --no-deps --target /tmp/torchlibrosa torchlibrosa==0.1.0
    TORCHAUDIO_SOURCE=/tmp/torchaudio TORCHLIBROSA_SOURCE=/tmp/torchlibrosa \
        .venv-parity/bin/python -m tests.parity.goldens_audio

The log-mel spectrograms are computed here as the published training code does (`mel_spectrogram_train` of its data
set, and its `TacotronSTFT`), with torch and librosa, in float64 but for the filter banks and the Fourier matrices,
which are float32 there too. Without the variables the files of the other two stay as they are.
"""

import importlib
import importlib.util
import os
import pathlib
import sys
import types
from unittest import mock

import librosa
import numpy as np
import torch

from ldm_jax.audio.log_mel import LogMelSettings
from tests import cases_audio as cases
from tests import golden


def write() -> None:
    """Writes the files whose sources are at hand."""
    outputs = {}
    for name, samples in sorted(cases.LOG_MEL):
        settings = cases.SETTINGS[name]
        wave = torch.from_numpy(cases.wave(samples, settings.sample_rate))
        magnitude = (fourier_by_convolution if settings.centred else fourier)(wave, settings)
        mel = (bank(settings) @ magnitude).clamp(min=1e-5).log().T
        frames = cases.kept(len(mel))
        outputs[f"{name}_{samples}_shape"] = np.array(mel.shape)
        outputs[f"{name}_{samples}"] = mel[frames].float().numpy()
        if samples < 10_000:
            strength = magnitude.T[:, :-1] if len(magnitude) % 2 else magnitude.T
            outputs[f"{name}_{samples}_magnitude"] = strength[frames].float().numpy()
    golden.save("audio_log_mel", shapes={}, outputs=outputs)
    if source := os.environ.get("TORCHLIBROSA_SOURCE"):
        golden.save("audio_clap", shapes={}, outputs=_clap(source))
    else:
        print("TORCHLIBROSA_SOURCE is not set: tests/golden/audio_clap.npz stays as it is")
    if source := os.environ.get("TORCHAUDIO_SOURCE"):
        golden.save("audio_kaldi", shapes={}, outputs=_kaldi(pathlib.Path(source)))
    else:
        print("TORCHAUDIO_SOURCE is not set: tests/golden/audio_kaldi.npz stays as it is")


def bank(settings: LogMelSettings) -> torch.Tensor:
    filters = librosa.filters.mel(
        sr=settings.sample_rate,
        n_fft=settings.n_fft,
        n_mels=settings.num_mels,
        fmin=settings.fmin,
        fmax=settings.fmax,
    )
    return torch.from_numpy(filters).double()


def fourier(wave: torch.Tensor, settings: LogMelSettings) -> torch.Tensor:
    """Magnitudes (bins, frames) of the training path: frames that tile the clip."""
    pad = (settings.n_fft - settings.hop) // 2
    padded = torch.nn.functional.pad(wave[None, None], (pad, pad), mode="reflect")[0]
    spectrum = torch.stft(
        padded,
        settings.n_fft,
        hop_length=settings.hop,
        win_length=settings.n_fft,
        window=torch.hann_window(settings.n_fft, dtype=torch.float64),
        center=False,
        normalized=False,
        onesided=True,
        return_complex=True,
    )
    return torch.abs(spectrum)[0]


def fourier_by_convolution(wave: torch.Tensor, settings: LogMelSettings) -> torch.Tensor:
    """Magnitudes (bins, frames) as TacotronSTFT: a convolution with windowed cosines and sines, frames centred."""
    n = np.arange(settings.n_fft)
    turns = np.outer(np.arange(settings.n_fft // 2 + 1), n) / settings.n_fft
    window = 0.5 - 0.5 * np.cos(2 * np.pi * n / settings.n_fft)
    basis = np.concatenate([np.cos(2 * np.pi * turns), -np.sin(2 * np.pi * turns)]) * window
    kernel = torch.from_numpy(basis.astype(np.float32)).double()[:, None]
    pad = settings.n_fft // 2
    padded = torch.nn.functional.pad(wave[None, None], (pad, pad), mode="reflect")
    real, imaginary = torch.nn.functional.conv1d(padded, kernel, stride=settings.hop)[0].chunk(2)
    return torch.sqrt(real**2 + imaginary**2)


def _clap(source: str) -> dict[str, np.ndarray]:
    """The two layers of LAION's audio tower that make its input: sums in float64, their matrices float32."""
    with mock.patch.object(sys, "path", [source, *sys.path]):
        stft = importlib.import_module("torchlibrosa.stft")
    transform = stft.Spectrogram(
        n_fft=1024, hop_length=480, win_length=1024, window="hann", center=True, pad_mode="reflect"
    )
    mel = stft.LogmelFilterBank(
        sr=48_000, n_fft=1024, n_mels=64, fmin=50, fmax=14_000, ref=1.0, amin=1e-10, top_db=None
    )
    outputs = {}
    for samples in cases.CLAP:
        wave = torch.from_numpy(cases.wave(samples, 48_000))
        with torch.no_grad():
            features = mel.double()(transform.double()(wave[None]))[0, 0].numpy()
        outputs[f"{samples}_shape"] = np.array(features.shape)
        outputs[str(samples)] = features[cases.kept(len(features))].astype(np.float32)
    return outputs


def _kaldi(source: pathlib.Path) -> dict[str, np.ndarray]:
    """AudioMAE's filter bank, float64."""
    with mock.patch.dict(sys.modules, {"torchaudio": types.ModuleType("torchaudio")}):
        spec = importlib.util.spec_from_file_location(
            "kaldi", source / "torchaudio/compliance/kaldi.py"
        )
        assert spec is not None
        assert spec.loader is not None
        kaldi = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(kaldi)
    outputs = {}
    torch.set_default_dtype(torch.float64)
    try:
        for samples in cases.KALDI:
            wave = torch.from_numpy(cases.wave(samples, 16_000))[None]
            features = kaldi.fbank(
                wave - wave.mean(),
                htk_compat=True,
                sample_frequency=16_000,
                use_energy=False,
                window_type="hanning",
                num_mel_bins=128,
                dither=0.0,
                frame_shift=10,
            ).numpy()
            outputs[f"{samples}_shape"] = np.array(features.shape)
            outputs[str(samples)] = features[cases.kept(len(features))].astype(np.float32)
    finally:
        torch.set_default_dtype(torch.float32)
    return outputs


if __name__ == "__main__":
    write()
