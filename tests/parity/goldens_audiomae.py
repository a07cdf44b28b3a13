r"""Writes tests/golden/audiomae_*.npz and kaldi.npz from the authors' code, kept elsewhere.

    git clone https://github.com/facebookresearch/AudioMAE /tmp/AudioMAE     # at bd60e29
    pip download --no-deps torchaudio==2.11.0 && unzip torchaudio-*.whl -d /tmp/torchaudio
    pip install --no-deps --target /tmp/timm timm==1.0.31 torchvision==0.15.2
    AUDIOMAE_SOURCE=/tmp/AudioMAE TORCHAUDIO_SOURCE=/tmp/torchaudio PYTHONPATH=/tmp/timm \
        .venv-parity/bin/python -m tests.parity.goldens_audiomae

(timm imports torchvision; 0.15.2 does so without its compiled operators.) Without these variables
the files stay as they are. The published class fixes its Swin decoder to 16 blocks of 16 heads on a
64 x 8 grid; for the tiny cases only these numbers are changed. timm's Block has since lost an
argument (`qk_scale`, always None), and the authors' Swin block lies in their `timm_patch`.
"""

import contextlib
import functools
import importlib
import importlib.util
import inspect
import io
import os
import pathlib
import sys
import types
import warnings
from typing import Any
from unittest import mock

import numpy as np
import torch

from tests import cases_audiomae as cases
from tests import cases_kaldi, golden


def write() -> None:
    """Writes the files whose sources are at hand."""
    if source := os.environ.get("AUDIOMAE_SOURCE"):
        _write_audiomae(pathlib.Path(source))
    else:
        print("AUDIOMAE_SOURCE is not set: tests/golden/audiomae_*.npz stay as they are")
    if source := os.environ.get("TORCHAUDIO_SOURCE"):
        _write_kaldi(pathlib.Path(source))
    else:
        print("TORCHAUDIO_SOURCE is not set: tests/golden/kaldi.npz stays as it is")


def official(source: pathlib.Path) -> types.ModuleType:
    """The authors' `models_mae`, importable beside today's timm and NumPy."""
    from timm.models import vision_transformer

    def block(dim, heads, ratio, *, qkv_bias, qk_scale, norm_layer):
        assert qk_scale is None
        return vision_transformer.Block(dim, heads, ratio, qkv_bias=qkv_bias, norm_layer=norm_layer)

    swin = _load("timm.models.swin_transformer", source / "timm_patch/swin_transformer.py")
    helpers = types.ModuleType("util.misc")
    helpers.concat_all_gather = None  # type: ignore[attr-defined]  # of a loss that is switched off
    modules = {"timm.models.swin_transformer": swin, "util.misc": helpers}
    with (
        mock.patch.dict(sys.modules, modules),
        mock.patch.object(vision_transformer, "Block", block),
        mock.patch.object(sys, "path", [str(source), *sys.path]),
    ):
        return _load("models_mae", source / "models_mae.py")


def _load(name: str, path: pathlib.Path) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        spec.loader.exec_module(module)
    return module


def build(models_mae: types.ModuleType, module: Any) -> torch.nn.Module:
    """The published class of the size of `module`."""
    swin = functools.partial(_resized, models_mae.SwinTransformerBlock, module)
    with (
        mock.patch.object(models_mae, "SwinTransformerBlock", swin),
        mock.patch.object(np, "float", float, create=True),
    ):
        model = models_mae.MaskedAutoencoderViT(
            img_size=module.img_size,
            patch_size=module.patch_size,
            in_chans=1,
            embed_dim=module.embed_dim,
            depth=module.depth,
            num_heads=module.heads,
            decoder_embed_dim=module.decoder_dim,
            decoder_depth=module.decoder_depth,
            decoder_num_heads=module.decoder_heads,
            mlp_ratio=module.mlp_ratio,
            norm_layer=functools.partial(torch.nn.LayerNorm, eps=1e-6),
            audio_exp=True,
            contextual_depth=module.depth - 1 - module.averaged_blocks,
            decoder_mode=int(module.decoder == "swin"),
        )
    model.decoder_blocks = model.decoder_blocks[: module.decoder_depth]
    return model.eval()


def _resized(swin: type, module: Any, **arguments: Any) -> torch.nn.Module:
    assert set(arguments) <= set(inspect.signature(swin).parameters)
    return swin(**{**arguments, "num_heads": module.decoder_heads, "feat_size": module.grid})


def run(
    model: Any, tensors: dict[str, np.ndarray], inputs: dict[str, np.ndarray], dtype: torch.dtype
) -> dict[str, np.ndarray]:
    """What the published class answers; the outputs of `oracle_audiomae.run`."""
    model = model.to(dtype)
    for buffer in model.buffers():
        assert buffer.dtype == dtype
    model.load_state_dict(
        {k: torch.from_numpy(x).to(dtype) for k, x in tensors.items()}, strict=True
    )
    fbank = torch.from_numpy(inputs["fbank"]).to(dtype)[:, None]
    noise = torch.from_numpy(inputs["noise"]).to(dtype)
    ratio = 1 - (inputs["keep_ids"].shape[1] + 0.5) / noise.shape[1]
    with torch.no_grad(), mock.patch.object(torch, "rand", return_value=noise):
        features = model.forward_encoder_no_mask(fbank)[:, 1:]
        latent, mask, restore, _ = model.forward_encoder(fbank, ratio)
        pred = model.forward_decoder(latent, restore)[0]
        losses = [model.forward_loss(fbank, pred, mask, norm_pix_loss=f) for f in (True, False)]
    np.testing.assert_array_equal(restore.numpy(), inputs["restore_ids"])
    np.testing.assert_array_equal(mask.numpy(), inputs["mask"])
    out = dict(zip(("loss", "loss_plain"), losses, strict=True))
    out |= {"features": features, "latent": latent, "pred": pred}
    return {name: x.numpy() for name, x in out.items()}


def _write_audiomae(source: pathlib.Path) -> None:
    models_mae = official(source)
    for name in cases.CASES:
        module = cases.module(name)
        model = build(models_mae, module)
        state = model.state_dict()
        tables = {key: state[key].numpy().copy() for key in ("pos_embed", "decoder_pos_embed")}
        shapes = {key: tuple(x.shape) for key, x in state.items()}
        tiny = cases.inputs(module.img_size, module.patch_size)
        # The class takes the logarithms of its window offsets in float32, whatever runs later.
        with mock.patch.object(torch.Tensor, "float", torch.Tensor.double):
            model = build(models_mae, module)
        outputs = run(model, cases.tensors(shapes), tiny, torch.float64)
        golden.save(f"audiomae_{name}", shapes=shapes, outputs={**outputs, **tables})


def _write_kaldi(source: pathlib.Path) -> None:
    with mock.patch.dict(sys.modules, {"torchaudio": types.ModuleType("torchaudio")}):
        kaldi = _load("kaldi", source / "torchaudio/compliance/kaldi.py")
    outputs = {}
    torch.set_default_dtype(torch.float64)
    try:
        for name, options in cases_kaldi.CASES.items():
            outputs[name] = kaldi.fbank(
                torch.from_numpy(cases_kaldi.wave())[None],
                htk_compat=True,
                sample_frequency=options.get("sample_rate", 16_000),
                use_energy=False,
                window_type="hanning",
                num_mel_bins=options["bins"],
                dither=0.0,
                frame_length=options.get("frame_ms", 25.0),
                frame_shift=options.get("shift_ms", 10.0),
                low_freq=options.get("low_hz", 20.0),
            ).numpy()
    finally:
        torch.set_default_dtype(torch.float32)
    golden.save("kaldi", shapes={}, outputs=outputs)


if __name__ == "__main__":
    write()
