"""What others run to read audio for training, for `benchmarks/data.py`.

torch, torchaudio, torchlibrosa, and the loader of github.com/haoheliu/AudioLDM-training-finetuning from a checkout.
"""

# pyright: reportMissingImports=false

import contextlib
import io
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import soundfile
import torch

from ldm_jax.audio.log_mel import LogMelSettings

torch.set_num_threads(1)


def decode(data: bytes) -> tuple[Any, int]:
    """As torchaudio.load with its soundfile backend: float32, channels first."""
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        wave = file.read(dtype="float32", always_2d=True)
        return torch.from_numpy(wave.T).contiguous(), file.samplerate


def resample(wave: np.ndarray, rate: int, target: int) -> np.ndarray:
    """torchaudio.functional.resample with its defaults."""
    import torchaudio

    return torchaudio.functional.resample(torch.from_numpy(wave)[None], rate, target)[0].numpy()


def log_mel(settings: LogMelSettings) -> Callable[[np.ndarray], np.ndarray]:
    """The log-mel of the training code on torch.stft, its filter bank built once (there: for every clip)."""
    import librosa

    bank = torch.from_numpy(
        librosa.filters.mel(
            sr=settings.sample_rate,
            n_fft=settings.n_fft,
            n_mels=settings.num_mels,
            fmin=settings.fmin,
            fmax=settings.fmax,
        )
    )
    window = torch.hann_window(settings.n_fft)

    def run(wave: np.ndarray) -> np.ndarray:
        padded = torch.nn.functional.pad(
            torch.from_numpy(wave)[None, None], (settings.pad, settings.pad), mode="reflect"
        )[0]
        spectrum = torch.stft(
            padded,
            settings.n_fft,
            hop_length=settings.hop,
            window=window,
            center=False,
            return_complex=True,
        )
        mel = torch.log(torch.clamp(bank @ torch.abs(spectrum), min=1e-5))
        return mel[0].T.contiguous().numpy()

    return run


def audiomae_input(wave: np.ndarray) -> np.ndarray:
    """torchaudio.compliance.kaldi.fbank, filled up to 1024 frames and normalised."""
    from torchaudio.compliance import kaldi

    centred = torch.from_numpy(wave)[None]
    fbank = kaldi.fbank(
        centred - centred.mean(),
        htk_compat=True,
        sample_frequency=16_000,
        use_energy=False,
        window_type="hanning",
        num_mel_bins=128,
        dither=0.0,
        frame_shift=10,
    )
    filled = torch.nn.functional.pad(fbank, (0, 0, 0, 1024 - fbank.shape[0]))
    return ((filled + 4.2677393) / (2 * 4.5689974)).numpy()


def clap_features() -> Callable[[np.ndarray], np.ndarray]:
    """What LAION's CLAP computes inside the model: an STFT by two convolutions."""
    from torchlibrosa import stft

    spectrogram = stft.Spectrogram(n_fft=1024, hop_length=480, freeze_parameters=True).eval()
    bank = stft.LogmelFilterBank(
        sr=48_000,
        n_fft=1024,
        n_mels=64,
        fmin=50,
        fmax=14_000,
        amin=1e-10,
        top_db=None,
        freeze_parameters=True,
    ).eval()

    @torch.no_grad()
    def run(wave: np.ndarray) -> np.ndarray:
        return bank(spectrogram(torch.from_numpy(wave)[None]))[0, 0].numpy()

    return run


def training_loader(checkout: pathlib.Path, files: list[pathlib.Path]) -> Callable[[int], dict]:
    """`AudioDataset.__getitem__` of the training code over `files`, with AudioMAE's filter bank as its add-on.

    It was written for a torchaudio that read with soundfile, and for a librosa that took arguments by position: both
    are given back to it.
    """
    import librosa
    import torchaudio

    pad_center, mel = librosa.util.pad_center, librosa.filters.mel
    librosa.util.pad_center = lambda data, size: pad_center(data, size=size)
    librosa.filters.mel = lambda sr, n_fft, n_mels, fmin, fmax: mel(
        sr=sr, n_fft=n_fft, n_mels=n_mels, fmin=fmin, fmax=fmax
    )
    torchaudio.load = lambda path: decode(pathlib.Path(path).read_bytes())
    sys.path.insert(0, str(checkout))
    from audioldm_train.utilities.data.dataset import (
        AudioDataset,
    )

    config = {
        "preprocessing": {
            "audio": {"sampling_rate": 16_000, "duration": 10.24},
            "stft": {"filter_length": 1024, "hop_length": 160, "win_length": 1024},
            "mel": {"n_mel_channels": 64, "mel_fmin": 0, "mel_fmax": 8000},
        },
        "augmentation": {"mixup": 0.0},
    }
    clips = [{"wav": str(path), "caption": "a sound"} for path in files]
    with contextlib.redirect_stdout(io.StringIO()):  # it tells what it is doing
        dataset = AudioDataset(
            config=config,
            add_ons=["extract_kaldi_fbank_feature"],
            dataset_json={"data": clips},
        )
    librosa.util.pad_center, librosa.filters.mel = pad_center, mel
    return dataset.__getitem__
