"""torchvggish, panns_inference and torchlibrosa, as they are on PyPI."""

import functools
import importlib
import importlib.util
import itertools
import pathlib
import sys
import types
from unittest import mock

import numpy as np
import torch
import torchlibrosa
from torch import nn
from torchvggish import torchvggish, vggish_input

from ldm_jax.audio.panns_features import PANNS, PannsSettings
from ldm_jax.models.cnn14 import Cnn14
from ldm_jax.models.vggish import VGGish


@functools.cache
def panns_models() -> types.ModuleType:
    """`panns_inference.models`; the package itself, when it is imported, downloads a list of classes."""
    spec = importlib.util.find_spec("panns_inference")
    assert spec is not None
    assert spec.origin is not None
    package = types.ModuleType("panns_inference")
    package.__path__ = [str(pathlib.Path(spec.origin).parent)]
    with mock.patch.dict(sys.modules, {"panns_inference": package}):
        return importlib.import_module("panns_inference.models")


def cnn14(module: Cnn14, settings: PannsSettings | None) -> nn.Module:
    """The published class; smaller if `module` is, and without a front end if there are no settings for it."""
    models = panns_models()
    bare = settings is None
    settings = settings or PANNS[16_000]
    net = models.Cnn14(
        sample_rate=settings.sample_rate,
        window_size=settings.n_fft,
        hop_size=settings.hop,
        mel_bins=64,
        fmin=50,
        fmax=int(settings.fmax),
        classes_num=module.num_classes,
    )
    if module.features != Cnn14.features:
        for i, (last, features) in enumerate(
            zip((1, *module.features), module.features, strict=False), 1
        ):
            setattr(net, f"conv_block{i}", models.ConvBlock(last, features))
        net.fc1 = nn.Linear(module.features[-1], module.features[-1])
        net.fc_audioset = nn.Linear(module.features[-1], module.num_classes)
    if bare:
        net.spectrogram_extractor = net.logmel_extractor = nn.Identity()
    return net.eval()


def vggish(module: VGGish) -> nn.Module:
    """The published class without its last relu, as FAD's tools use it; smaller if `module` is."""
    net = torchvggish.VGG(torchvggish.make_layers(), postprocess=False)
    if module.features != VGGish.features:
        last, channels = 1, dict(zip((64, 128, 256, 512), module.features, strict=True))
        for place, layer in enumerate(net.features):
            if isinstance(layer, nn.Conv2d):
                features = channels[layer.out_channels]
                net.features[place] = nn.Conv2d(last, features, 3, padding=1)
                last = features
        widths = (24 * last, module.hidden, module.hidden, module.out_features)
        for place, (before, after) in zip((0, 2, 4), itertools.pairwise(widths), strict=True):
            net.embeddings[place] = nn.Linear(before, after)
    net.embeddings = nn.Sequential(*list(net.embeddings)[:-1])
    return net.eval()


def shapes(net: nn.Module) -> dict[str, tuple[int, ...]]:
    """Of its tensors, but those of the front end and counters."""
    return {
        name: tuple(x.shape)
        for name, x in net.state_dict().items()
        if "extractor" not in name and x.is_floating_point()
    }


def fill(net: nn.Module, tensors: dict[str, np.ndarray], dtype: torch.dtype) -> nn.Module:
    """The network with these weights, all of it in `dtype`."""
    missing, unexpected = net.load_state_dict(
        {name: torch.from_numpy(x) for name, x in tensors.items()}, strict=False
    )
    assert not unexpected
    assert all("extractor" in name or "num_batches" in name for name in missing)
    return net.to(dtype)


def run_cnn14(net: nn.Module, x: np.ndarray) -> dict[str, np.ndarray]:
    """Embedding and logits of one clip: of its wave, or, without a front end, of its spectrogram."""
    logits = []
    shaped = torch.from_numpy(x)[None] if x.ndim == 1 else torch.from_numpy(x)[None, None]
    hook = net.fc_audioset.register_forward_hook(lambda _, __, out: logits.append(out))
    with torch.inference_mode():
        out = net(shaped.to(net.fc1.weight.dtype))
    hook.remove()
    return {"embedding": out["embedding"].numpy(), "logits": logits[0].numpy()}


def run_vggish(net: nn.Module, examples: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return net(torch.from_numpy(examples).to(next(net.parameters()).dtype)[:, None]).numpy()


def vggish_examples(wave: np.ndarray) -> np.ndarray:
    """(examples, 96, 64), float64."""
    return vggish_input.waveform_to_examples(wave, 16_000, return_tensor=False)


def panns_log_mel(wave: np.ndarray, settings: PannsSettings) -> np.ndarray:
    """(frames, 64) by torchlibrosa's layers: sums in float64, their matrices float32."""
    transform = torchlibrosa.stft.Spectrogram(
        n_fft=settings.n_fft, hop_length=settings.hop, win_length=settings.n_fft
    )
    mel = torchlibrosa.stft.LogmelFilterBank(
        sr=settings.sample_rate,
        n_fft=settings.n_fft,
        n_mels=64,
        fmin=50,
        fmax=settings.fmax,
        top_db=None,
    )
    with torch.inference_mode():
        return mel.double()(transform.double()(torch.from_numpy(wave)[None]))[0, 0].numpy()
