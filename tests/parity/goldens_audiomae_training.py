"""Writes tests/golden/audiomae_training_*.npz from the authors' code; see `goldens_audiomae` for where it comes from.

Loss and gradients in training mode, dropout as `training_goldens.wave`.
"""

import os
import pathlib
from typing import Any
from unittest import mock

import numpy as np
import torch

from tests import cases_audiomae, golden, training_goldens
from tests import cases_audiomae_training as cases
from tests.parity.goldens_audiomae import build, official

FIXED = ("pos_embed", "decoder_pos_embed")


def _dropout(x: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    del inplace
    return x * torch.from_numpy(training_goldens.wave(tuple(x.shape), p if training else 0.0))


def write() -> None:
    """Writes the files where the authors' code is at hand."""
    if not (source := os.environ.get("AUDIOMAE_SOURCE")):
        print("AUDIOMAE_SOURCE is not set: tests/golden/audiomae_training_*.npz stay as they are")
        return
    models_mae = official(pathlib.Path(source))
    for name, module in cases.NETWORKS.items():
        # The class takes the logarithms of its window offsets in float32, whatever runs later.
        with mock.patch.object(torch.Tensor, "float", torch.Tensor.double):
            model: Any = build(models_mae, module).double()
        shapes = {key: tuple(x.shape) for key, x in model.state_dict().items()}
        tensors = cases_audiomae.tensors(shapes)
        model.load_state_dict({k: torch.from_numpy(x) for k, x in tensors.items()}, strict=True)
        inputs = cases_audiomae.inputs(module.img_size, module.patch_size)
        fbank, noise = (torch.from_numpy(inputs[key]) for key in ("fbank", "noise"))
        ratio = 1 - (inputs["keep_ids"].shape[1] + 0.5) / noise.shape[1]
        with (
            mock.patch.object(torch, "rand", return_value=noise),
            mock.patch.object(torch.nn.functional, "dropout", _dropout),
        ):
            latent, mask, restore, _ = model.train().forward_encoder(fbank[:, None], ratio)
            pred = model.forward_decoder(latent, restore)[0]
        outputs: dict[str, np.ndarray] = {}
        for kind, normed in (("normed", True), ("plain", False)):
            loss = model.forward_loss(fbank[:, None], pred, mask, norm_pix_loss=normed)
            seen = model.forward_loss(fbank[:, None], pred, 1 - mask, norm_pix_loss=normed)
            model.zero_grad()
            loss.backward(retain_graph=True)
            gradients = {
                key: x.grad.numpy() for key, x in model.named_parameters() if key not in FIXED
            }
            outputs |= {
                kind: loss.detach().numpy(),
                f"{kind}_visible": seen.detach().numpy(),
                f"{kind}_gradients": training_goldens.packed(gradients),
            }
        golden.save(f"audiomae_training_{name}", shapes=shapes, outputs=outputs)


if __name__ == "__main__":
    write()
