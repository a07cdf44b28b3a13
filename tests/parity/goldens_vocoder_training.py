r"""Writes tests/golden/vocoder_training.npz from the authors' code, kept elsewhere.

    git clone https://github.com/jik876/hifi-gan /tmp/hifi-gan  # at 4769534
    HIFIGAN_SOURCE=/tmp/hifi-gan .venv-parity/bin/python -m tests.parity.goldens vocoder_training

Without the variable the file stays as it is. The discriminators and losses are the published ones, the discriminators
only narrower; the generator is transformers'. Both waves of a step meet spectral norm in the same state.
"""

import contextlib
import importlib
import os
import sys
import warnings
from typing import Any
from unittest import mock

import librosa
import numpy as np
import torch

from tests import cases_vocoder, golden
from tests import cases_vocoder_training as cases
from tests.cases_vae_training import probe
from tests.parity import oracle_vocoder


def write() -> None:
    """Writes the file if the source is at hand."""
    source = os.environ.get("HIFIGAN_SOURCE")
    if not source:
        print("HIFIGAN_SOURCE is not set: tests/golden/vocoder_training.npz stays as it is")
        return
    with mock.patch.object(sys, "path", [source, *sys.path]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        models, mels = importlib.import_module("models"), importlib.import_module("meldataset")
        with _narrow(models):
            mpd, msd = models.MultiPeriodDiscriminator(), models.MultiScaleDiscriminator()
            judges = torch.nn.ModuleDict({"mpd": mpd, "msd": msd}).double()
            shapes = {name: tuple(x.shape) for name, x in judges.state_dict().items()}
            with _todays(mels):
                outputs = run(models, mels, judges, cases.weights(shapes))
    golden.save("vocoder_training", shapes=shapes, outputs=outputs)


@contextlib.contextmanager
def _narrow(models: Any) -> Any:
    def narrowed(kind: type) -> Any:
        def layer(inside: int, outside: int, *rest: Any, **options: Any) -> Any:
            channels = (x if x == 1 else x // cases.NARROWING for x in (inside, outside))
            return kind(*channels, *rest, **options)

        return layer

    with (
        mock.patch.object(models, "Conv1d", narrowed(models.Conv1d)),
        mock.patch.object(models, "Conv2d", narrowed(models.Conv2d)),
    ):
        yield


@contextlib.contextmanager
def _todays(mels: Any) -> Any:
    """Its spectrogram with today's torch and librosa, in float64."""
    stft, window = torch.stft, torch.hann_window

    def old_stft(*arguments: Any, **options: Any) -> Any:
        return torch.view_as_real(stft(*arguments, **options, return_complex=True))

    def filters(rate: int, n_fft: int, bands: int, fmin: float, fmax: float) -> np.ndarray:
        return librosa.filters.mel(
            sr=rate, n_fft=n_fft, n_mels=bands, fmin=fmin, fmax=fmax, dtype=np.float64
        )

    with (
        mock.patch.object(torch, "stft", old_stft),
        mock.patch.object(torch, "hann_window", lambda n: window(n, dtype=torch.float64)),
        mock.patch.object(torch.Tensor, "float", torch.Tensor.double),
        mock.patch.object(mels, "librosa_mel_fn", filters),
    ):
        yield


def run(
    models: Any, mels: Any, judges: Any, tensors: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """One step of `train.py` up to the optimisers, its gradients probed."""
    state = {name: torch.from_numpy(x) for name, x in tensors.items()}
    judges.load_state_dict(state, strict=True)
    judges.train()
    first_scale = judges["msd"].discriminators[0]
    buffers = {name: x.clone() for name, x in first_scale.named_buffers()}
    after_one: dict[str, np.ndarray] = {}

    def as_before(*_: Any) -> None:
        for name, x in first_scale.named_buffers():
            after_one[name] = x.clone().numpy()
            x.copy_(buffers[name])

    first_scale.register_forward_pre_hook(as_before)
    config = cases.VOCODER
    shapes = oracle_vocoder.shapes(config)
    generator = oracle_vocoder.load(config, cases_vocoder.weights(config, shapes), dtype="float64")
    for parameter in generator.parameters():
        parameter.requires_grad_(True)
    size = cases.MEL["n_fft"], config["model_in_dim"], cases.MEL["sample_rate"]
    size += (int(np.prod(config["upsample_rates"])), cases.MEL["n_fft"], cases.MEL["fmin"])

    wave = torch.from_numpy(cases.inputs()["wave"])
    mel = mels.mel_spectrogram(wave, *size, cases.MEL["fmax"])
    made = generator(mel.mT)
    outputs = {"mel": mel, "made": made}
    real, fake = wave[:, None], made[:, None]
    losses = []
    for judge in judges.values():
        real_scores, fake_scores, _, _ = judge(real, fake.detach())
        losses.append(models.discriminator_loss(real_scores, fake_scores)[0])
    outputs["discriminator"] = sum(losses)

    in_loss = [mels.mel_spectrogram(x, *size, cases.LOSS_FMAX) for x in (wave, made)]
    outputs["mel_error"] = torch.nn.functional.l1_loss(*in_loss)
    terms: dict[str, Any] = {"fooling_loss": 0.0, "twice_feature_loss": 0.0}
    for name, judge in judges.items():
        _, scores, real_layers, fake_layers = judge(real, fake)
        terms["fooling_loss"] += models.generator_loss(scores)[0]
        terms["twice_feature_loss"] += models.feature_loss(real_layers, fake_layers)
        outputs |= {f"{name}_{i}": x for i, x in enumerate(scores)}
    outputs |= terms | {"generator": sum(terms.values()) + 45 * outputs["mel_error"]}

    arrays = {name: x.detach().numpy() for name, x in outputs.items()}
    networks = {"generator": (generator, ("mean", "scale")), "discriminator": (judges, ())}
    for name, (network, left) in networks.items():
        parameters = {k: x for k, x in network.named_parameters() if k not in left}
        gradients = torch.autograd.grad(outputs[name], list(parameters.values()), retain_graph=True)
        named = {k: g.numpy() for k, g in zip(parameters, gradients, strict=True)}
        arrays[f"{name}_gradient"] = probe(named)
    moved = {name: x for name, x in after_one.items() if name.endswith("weight_u")}
    arrays["spectral_u"] = np.concatenate([moved[name] for name in sorted(moved)])
    return arrays
