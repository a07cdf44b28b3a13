r"""Writes tests/golden/passt.npz and passt_features.npz from hear21passt, kept elsewhere.

    git clone https://github.com/kkoutini/passt_hear21 # at 5f1cce6
    pip install --no-deps --target build/extra torchaudio==2.11.0
    PASST_SOURCE=passt_hear21 PYTHONPATH=build/extra .venv-parity/bin/python -m tests.parity.goldens_passt

Without the variable the files stay as they are. timm, of which one function for downloads is imported, is not needed.
"""

import contextlib
import functools
import io
import os
import sys
from typing import Any
from unittest import mock

import numpy as np
import torch

from tests import cases_audio, golden
from tests import cases_passt as cases
from tests.parity.presets.networks import stub

SOURCE = os.environ.get("PASST_SOURCE")


def write() -> None:
    if not SOURCE:
        print("PASST_SOURCE is not set: tests/golden/passt*.npz stay as they are")
        return
    net = network(cases.SMALL)
    shapes = {name: tuple(x.shape) for name, x in net.state_dict().items()}
    fill(net, cases.weights(shapes), torch.float64)
    outputs = {}
    for frames in cases.FRAMES:
        logits, features = run(net, torch.from_numpy(cases.log_mel(frames)))
        outputs |= {f"{frames}_logits": logits, f"{frames}_features": features}
    golden.save("passt", shapes=shapes, outputs=outputs)
    outputs = {}
    for name, samples in cases.WAVES.items():
        wave = cases_audio.wave(samples, 32_000)
        made = log_mel(torch.from_numpy(wave).float()[None])[0]
        outputs[f"{name}_shape"] = np.array(made.shape)
        outputs[name] = made[cases_audio.kept(len(made))]
    golden.save("passt_features", shapes={}, outputs=outputs)


def network(module: Any) -> Any:
    """hear21passt's own class at the size of our `module`."""
    _importable()
    with contextlib.redirect_stdout(io.StringIO()):
        from hear21passt.models.passt import PaSST

        return PaSST(
            stride=module.stride,
            embed_dim=module.embed_dim,
            depth=module.depth,
            num_heads=module.heads,
            distilled=True,
            img_size=(module.mels, 998),
        ).eval()


def fill(net: Any, tensors: dict[str, np.ndarray], dtype: torch.dtype) -> None:
    net.load_state_dict({name: torch.from_numpy(x) for name, x in tensors.items()})
    net.to(dtype)


def run(net: Any, spectrogram: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """(logits, features) of (batch, frames, mels)."""
    with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
        logits, features = net(spectrogram.transpose(1, 2)[:, None])
    return logits.numpy(), features.numpy()


def log_mel(wave: torch.Tensor) -> np.ndarray:
    """(batch, frames, mels), with the arguments of `get_basic_model`."""
    _importable()
    old = functools.partial(torch.stft, return_complex=True)
    with contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
        from hear21passt.models.preprocess import AugmentMelSTFT

        front = AugmentMelSTFT(
            n_mels=128, sr=32_000, win_length=800, hopsize=320, n_fft=1024, freqm=48, timem=192,
            htk=False, fmin=0.0, fmax=None, norm=1, fmin_aug_range=10, fmax_aug_range=2000,
        ).eval()  # fmt: skip
        with mock.patch.object(torch, "stft", lambda *a, return_complex, **k: _real(old(*a, **k))):
            return front(wave).transpose(1, 2).numpy()


def _real(x: torch.Tensor) -> torch.Tensor:
    return torch.view_as_real(x)


def _importable() -> None:
    assert SOURCE
    if SOURCE not in sys.path:
        sys.path.insert(0, SOURCE)
    stub("timm.models.hub", download_cached_file=None)


if __name__ == "__main__":
    write()
