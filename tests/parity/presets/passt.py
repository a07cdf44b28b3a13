"""hear21passt 0.0.26 (PyPI) without a download, as narrow as `tests.eval.preset_weights` has it."""

import functools

import torch

from tests.eval import preset_weights
from tests.parity.presets import networks


def get_basic_model(mode):
    """hear21passt.base.get_basic_model with our network; its real-valued STFT is made of the complex one."""
    networks.stub("timm.models.hub", download_cached_file=None)
    networks.stub("timm.models._hub", download_cached_file=None)
    from hear21passt.models.passt import PaSST
    from hear21passt.models.preprocess import AugmentMelSTFT
    from hear21passt.wrapper import PasstBasicWrapper

    mel = AugmentMelSTFT(
        n_mels=128, sr=32_000, win_length=800, hopsize=320, n_fft=1024, freqm=48, timem=192,
        htk=False, fmin=0.0, fmax=None, norm=1, fmin_aug_range=10, fmax_aug_range=2000,
    )  # fmt: skip
    width, depth = preset_weights.PASST
    net = PaSST(
        stride=10, embed_dim=width, depth=depth, num_heads=width // 64, distilled=True, img_size=(128, 998)
    )  # fmt: skip
    return PasstBasicWrapper(mel=mel, net=networks.load(net, preset_weights.passt()), mode=mode)


def old_stft():
    """torch.stft with `return_complex=False`, which torch no longer has."""
    new = torch.stft

    @functools.wraps(new)
    def stft(*args, return_complex=None, **kwargs):
        found = new(*args, return_complex=True, **kwargs)
        return found if return_complex else torch.view_as_real(found)

    torch.stft = stft
