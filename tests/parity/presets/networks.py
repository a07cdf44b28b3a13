"""The peers' networks with our random weights, in the widths of `tests.eval.preset_weights`."""

import contextlib
import sys
import types
from unittest import mock

import numpy as np
import torch
from torch import nn

from tests.eval import preset_weights


def load(module, tensors):
    """All of `tensors` into a module, which may have more: front ends, counters."""
    wanted = {name: torch.from_numpy(np.asarray(x)) for name, x in tensors.items()}
    missing, unexpected = module.load_state_dict(wanted, strict=False)
    assert not unexpected, unexpected
    fixed = ("stft", "melW", "num_batches_tracked", "position_ids", "relative_position_index")
    fixed += ("pproc", "attn_mask", "logmel", "tscam", "head", "transform", "device_proxy")
    assert all(any(part in name for part in fixed) for name in missing), missing
    return module.eval()


def narrow_vggish(module):
    """A torchvggish network, its layers replaced by narrower ones of the same kinds."""
    layers, last = [], 1
    for stage, features in enumerate(preset_weights.VGGISH):
        for _ in range(1 if stage < 2 else 2):
            layers += [nn.Conv2d(last, features, 3, padding=1), nn.ReLU(inplace=True)]
            last = features
        layers.append(nn.MaxPool2d(2, 2))
    module.features = nn.Sequential(*layers)
    hidden = preset_weights.VGGISH_HIDDEN
    module.embeddings = nn.Sequential(
        nn.Linear(last * 6 * 4, hidden), nn.ReLU(True), nn.Linear(hidden, hidden), nn.ReLU(True),
        nn.Linear(hidden, preset_weights.VGGISH_OUT), nn.ReLU(True),
    )  # fmt: skip
    return load(module, preset_weights.vggish())


def narrow_cnn14(module, block):
    """A PANNs network, its blocks (of the class `block`) replaced by narrower ones."""
    last = 1
    for i, features in enumerate(preset_weights.CNN14):
        setattr(module, f"conv_block{i + 1}", block(last, features))
        last = features
    module.fc1 = nn.Linear(last, last)
    module.fc_audioset = nn.Linear(last, 527)
    return load(module, preset_weights.cnn14())


def cnn14_of(models, **kwargs):
    """Cnn14 of a tool's module `models` with our network, where its constructor would download weights."""
    with (
        mock.patch.object(models.os, "system"),
        mock.patch.object(models.os, "makedirs"),
        mock.patch.object(models.torch, "load", return_value={"model": {}}),
        mock.patch.object(models.Cnn14, "load_state_dict"),
    ):
        module = models.Cnn14(**kwargs)
    return narrow_cnn14(module, models.ConvBlock)


def stub(name, **attributes):
    """A module under a name that is imported and never used."""
    parts = name.split(".")
    for i in range(len(parts)):
        sys.modules.setdefault(".".join(parts[: i + 1]), types.ModuleType(parts[i]))
    for key, value in attributes.items():
        setattr(sys.modules[name], key, value)


@contextlib.contextmanager
def in_process():
    """torch's data loaders without worker processes."""
    before = torch.utils.data.DataLoader.__init__

    def init(self, *args, num_workers=0, **kwargs):
        before(self, *args, num_workers=0, **kwargs)

    torch.utils.data.DataLoader.__init__ = init
    try:
        yield
    finally:
        torch.utils.data.DataLoader.__init__ = before


def summary(waves):
    """(sum, mean of absolutes, number of samples) of each wave."""
    return np.array(
        [[float(np.sum(w, dtype=np.float64)), float(np.abs(w).mean()), len(w)] for w in waves]
    )


def torchaudio_by_soundfile():
    """torchaudio's reading without torchcodec; the numbers are the same."""
    import soundfile
    import torchaudio

    def read(path, **_):
        wave, rate = soundfile.read(str(path), dtype="float32", always_2d=True)
        return torch.from_numpy(wave.T.copy()), rate

    torchaudio.load = read


def torchvision_without_operators():
    """Lets a torchvision be imported whose compiled operators, made for CUDA, do not load; no tool calls them here."""
    try:
        import torchvision  # noqa: F401
    except ImportError:
        return
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        torchvision_without_operators.kept = library  # it would go with its last reference


def old_sqrtm():
    """scipy.linalg.sqrtm with the argument `disp`, which SciPy 1.18 dropped."""
    import scipy.linalg

    new = scipy.linalg.sqrtm
    scipy.linalg.sqrtm = lambda x, disp=True: new(x) if disp else (new(x), 0.0)


def torchvggish(clone):
    """The package of a clone of harritaylor/torchvggish, which has no __init__ of its own."""
    package = types.ModuleType("torchvggish")
    package.__path__ = [f"{clone}/torchvggish"]
    sys.modules["torchvggish"] = package
    from torchvggish.vggish import VGGish

    return VGGish
