"""What is published, and what is known of it."""

import dataclasses
import os
import urllib.parse
from collections.abc import Mapping

HUB = "https://huggingface.co"
_VGGISH = "https://github.com/harritaylor/torchvggish/releases/download/v0.1"
_PANNS = "https://zenodo.org/records/3987831/files"
_PASST = "https://github.com/kkoutini/PaSST/releases/download/v0.0.1-audioset"
_MUSICNN = "https://files.pythonhosted.org/packages/1b/6f/38229e7d99c438e11114bbfa39c8c39185458c398011d0b6d7d7c7401617"
LAION = "lukewys/laion_clap"
ROBERTA = "roberta-base"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Published:
    """One file that others have published.

    Attributes:
        file: its name.
        url: where it is from.
        size: in bytes; None where it is not known.
        sha256: in hexadecimal; "" where it is not known.
        repository: of the Hub, where it is from there.
        inner: SHA-256 of what is read of it, where it holds more than one network's weights.
    """

    file: str
    url: str
    size: int | None = None
    sha256: str = ""
    repository: str = ""
    inner: str = ""

    @property
    def address(self) -> str:
        """The `url`, at the mirror of the Hub that HF_ENDPOINT names if there is one."""
        mirror = os.environ.get("HF_ENDPOINT", "").rstrip("/")
        return mirror + self.url.removeprefix(HUB) if mirror and self.repository else self.url


def _released(base: str, file: str, size: int | None, sha256: str) -> Published:
    url = f"{base}/{urllib.parse.quote(file)}"
    return Published(file=file, url=url, size=size, sha256=sha256)


def _hub(repository: str, file: str, size: int | None = None, sha256: str = "") -> Published:
    url = f"{HUB}/{repository}/resolve/main/{file}"
    return Published(file=file, url=url, size=size, sha256=sha256, repository=repository)


def _musicnn(inner: str) -> Published:
    """In the wheel of the package are the folders of several networks."""
    return Published(
        file="musicnn-0.1.0-py3-none-any.whl",
        url=f"{_MUSICNN}/musicnn-0.1.0-py3-none-any.whl",
        size=29_292_476,
        sha256="f38a4890c648c1ddbb141c5d96d2b0a8cfcd36746002d896989f7b88beb65cfa",
        inner=inner,
    )


# HTSAT-base has 2,352,471,003 bytes with its optimiser, HTSAT-tiny 1,863,587,645.
PUBLISHED: Mapping[str, Published] = {
    "vggish": _released(
        _VGGISH,
        "vggish-10086976.pth",
        None,
        "10086976245803799d9194e9a73d9b6c1549c71d1b80106f5cade5608a561f4b",
    ),
    "cnn14_8k": _released(_PANNS, "Cnn14_8k_mAP=0.416.pth", None, ""),
    "cnn14_16k": _released(
        _PANNS,
        "Cnn14_16k_mAP=0.438.pth",
        358_668_570,
        "e2ee543a27919542c2ea03eabaa70b24dcd4e6c8e05621de6b67a94e4c5058e6",
    ),
    "cnn14_32k": _released(
        _PANNS,
        "Cnn14_mAP=0.431.pth",
        327_428_481,
        "0dc499e40e9761ef5ea061ffc77697697f277f6a960894903df3ada000e34b31",
    ),
    "passt": _released(
        _PASST,
        "passt-s-f128-p16-s10-ap.476-swa.pt",
        344_665_734,
        "302903fa8c4aee817b11dc982da0b29aaf8d11a3e722420476d0a12c9db70c2c",
    ),
    "musicnn:MTT_musicnn": _musicnn(
        "041f3935e981a65cea739842d30c188d3a7d2adf4410955c8668eb3de4a5acab"
    ),
    "musicnn:MSD_musicnn": _musicnn(
        "8579734ee6388f799ed0def4bbd0d1fdcbeaf213ef2a9dc860917bd76a303de6"
    ),
    "clap:630k-audioset-best": _hub(
        LAION,
        "630k-audioset-best.pt",
        1_863_587_645,
        "8053c9775516af2f4902e1e8281e356cc1bf7a85e8b761908170767b77c3f037",
    ),
    "clap:630k-audioset-fusion-best": _hub(LAION, "630k-audioset-fusion-best.pt"),
    "clap:music_audioset_epoch_15_esc_90.14": _hub(
        LAION,
        "music_audioset_epoch_15_esc_90.14.pt",
        2_352_471_003,
        "fae3e9c087f2909c28a09dc31c8dfcdacbc42ba44c70e972b58c1bd1caf6dedd",
    ),
    "clap:music_speech_audioset_epoch_15_esc_89.98": _hub(
        LAION,
        "music_speech_audioset_epoch_15_esc_89.98.pt",
        2_352_471_003,
        "51c68f12f9d7ea25fdaaccf741ec7f81e93ee594455410f3bca4f47f88d8e006",
    ),
    "clap:630k-best": _hub(LAION, "630k-best.pt"),
    "clap:630k-fusion-best": _hub(LAION, "630k-fusion-best.pt"),
    "clap:music_speech_epoch_15_esc_89.25": _hub(LAION, "music_speech_epoch_15_esc_89.25.pt"),
    "roberta": _hub(ROBERTA, "tokenizer.json"),
}

# What a name alone means.
DEFAULTS: Mapping[str, str] = {"musicnn": "musicnn:MTT_musicnn"}

# CLAP as transformers' folders. `laion/larger_clap_music` is not among them: its text tower is broken.
TWINS = (
    "laion/clap-htsat-unfused",
    "laion/clap-htsat-fused",
    "laion/larger_clap_general",
    "laion/larger_clap_music_and_speech",
)
