r"""Writes tests/golden/vae_training_*.npz from the authors' code, kept elsewhere.

    git clone https://github.com/haoheliu/AudioLDM-training-finetuning /tmp/AudioLDM-training  # at 702a638
    git clone https://github.com/CompVis/taming-transformers /tmp/taming                        # at 3ba01b2
    pip install --no-deps --target /tmp/torchvision torchvision==0.15.2
    AUDIOLDM_TRAINING_SOURCE=/tmp/AudioLDM-training TAMING_SOURCE=/tmp/taming \
        PYTHONPATH=/tmp/torchvision .venv-parity/bin/python -m tests.parity.goldens vae_training

Without these variables the files stay as they are. `LPIPSWithDiscriminator` is asked as its trainer asks it, about what
diffusers' AutoencoderKL makes of the same weights. Its networks are the published classes, only narrower, and nothing
is downloaded. LPIPS is in evaluation mode, without dropout.
"""

import contextlib
import importlib
import importlib.util
import os
import pathlib
import sys
import types
import warnings
from typing import Any
from unittest import mock

import numpy as np
import torch

from ldm_jax.models import lpips
from tests import cases_vae_training as cases
from tests.golden import save
from tests.parity import oracle_vae


def write() -> None:
    """Writes the files if the sources are at hand."""
    training, taming = (
        os.environ.get(f"{name}_SOURCE") for name in ("AUDIOLDM_TRAINING", "TAMING")
    )
    if not training or not taming:
        print("AUDIOLDM_TRAINING_SOURCE, TAMING_SOURCE: tests/golden/vae_training_* stay")
        return
    root = pathlib.Path(training) / "audioldm_train"
    with mock.patch.object(sys, "path", [taming, *sys.path]), _narrow():
        losses = _load("contperceptual", root / "losses/contperceptual.py")
        distributions = _load("distributions", root / "modules/diffusionmodules/distributions.py")
        for name, case in cases.CASES.items():
            arguments = {**cases.DEFAULTS, **case}
            step = arguments.pop("step")
            loss = losses.LPIPSWithDiscriminator(**arguments)
            shapes = {
                **{f"vae.{k}": x for k, x in oracle_vae.shapes(cases.VAE).items()},
                **{
                    f"loss.{k}": tuple(x.shape)
                    for k, x in loss.state_dict().items()
                    if not k.endswith(("num_batches_tracked", "shift", "scale", "logvar"))
                },
            }
            outputs = run(loss, distributions, cases.weights(shapes), step)
            save(f"vae_training_{name}", shapes=shapes, outputs=outputs)


@contextlib.contextmanager
def _narrow() -> Any:
    """taming's modules with fewer channels and without downloads."""
    import torchvision
    from torchvision.models import vgg

    def vgg16(pretrained: bool) -> Any:
        widths = [x if x == "M" else x // cases.LPIPS_NARROWING for x in vgg.cfgs["D"]]
        return types.SimpleNamespace(features=vgg.make_layers(widths))

    with mock.patch.object(torchvision.models, "vgg16", vgg16), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = importlib.import_module("taming.modules.losses.lpips")
        perceptual = importlib.import_module("taming.modules.losses.vqperceptual")
        build, patches = peer.LPIPS.__init__, perceptual.NLayerDiscriminator

        def narrow_lpips(self: Any) -> None:
            build(self)
            for level, width in enumerate(self.chns):
                last = torch.nn.Conv2d(width // cases.LPIPS_NARROWING, 1, 1, bias=False)
                getattr(self, f"lin{level}").model[-1] = last

        def narrow_patches(**arguments: Any) -> Any:
            return patches(ndf=cases.PATCHGAN_FEATURES, **arguments)

        with (
            mock.patch.object(peer.LPIPS, "__init__", narrow_lpips),
            mock.patch.object(peer.LPIPS, "load_from_pretrained", return_value=None),
            mock.patch.object(perceptual, "NLayerDiscriminator", narrow_patches),
        ):
            yield


def _load(name: str, path: pathlib.Path) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(
    loss: Any, distributions: Any, tensors: dict[str, np.ndarray], step: int
) -> dict[str, np.ndarray]:
    """Both losses, their figures, and probes of their gradients."""
    vae = oracle_vae.load(cases.VAE, cases.part(tensors, "vae."), dtype="float64")
    state = {k: torch.from_numpy(x) for k, x in cases.part(tensors, "loss.").items()}
    left = loss.double().load_state_dict(state, strict=False)
    assert not left.unexpected_keys
    for name, values in (("shift", lpips.SHIFT), ("scale", lpips.SCALE)):  # not as float32 has them
        getattr(loss.perceptual_loss.scaling_layer, name).copy_(
            torch.tensor(values, dtype=torch.float64)[None, :, None, None]
        )
    loss.train()
    loss.perceptual_loss.eval()
    for parameter in vae.parameters():
        parameter.requires_grad_(True)
    inputs = {name: torch.from_numpy(x) for name, x in cases.inputs().items()}
    mel = inputs["mel"][:, None]

    posterior = distributions.DiagonalGaussianDistribution(vae.quant_conv(vae.encoder(mel)))
    latents = posterior.mean + posterior.std * inputs["noise"].movedim(-1, 1)
    made = vae.decoder(vae.post_quant_conv(latents))
    asked = {
        "inputs": mel,
        "reconstructions": made,
        "posteriors": posterior,
        "global_step": step,
        "last_layer": vae.decoder.conv_out.weight,
    }
    total, log = loss(optimizer_idx=0, **asked)
    of_discriminator, more = loss(optimizer_idx=1, **asked)
    outputs = {"generator": total, "discriminator": of_discriminator, "made": made}
    outputs |= {k.removeprefix("train/"): x for k, x in {**log, **more}.items()}
    outputs |= {"lpips": loss.perceptual_loss(mel, made), "scores": loss.discriminator(made)}
    arrays = {name: torch.as_tensor(x).detach().numpy() for name, x in outputs.items()}
    networks = {"generator": (total, vae), "discriminator": (of_discriminator, loss.discriminator)}
    for name, (value, network) in networks.items():
        parameters = dict(network.named_parameters())
        gradients = torch.autograd.grad(value, list(parameters.values()), retain_graph=True)
        named = {k: g.numpy() for k, g in zip(parameters, gradients, strict=True)}
        arrays[f"{name}_gradient"] = cases.probe(named)
    return arrays
