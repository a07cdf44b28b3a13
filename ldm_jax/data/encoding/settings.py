"""What is encoded and how, and where it lies.

Beside a prepared dataset, in `encodings/KEY/`:

    encoding.json                     what this is; written last, so that it vouches for all the rest
    captions.json                     every distinct caption; number 0 is the empty one
    t5-00000.npy ...                  (tokens, width) float16, caption after caption without padding
    t5_lengths-00000.npy ...          (captions,) int32: tokens of each
    clap_text-00000.npy ...           (captions, width) float32
    SPLIT/windows.npy                 (windows, 3) int64: row, first sample, samples
    SPLIT/captions.npy                numbers of the captions of row after row
    SPLIT/caption_offsets.npy         where each row's begin in it
    SPLIT/latents-00000.npy ...       (windows, time, frequency, 2 channels) float16: means, then deviations
    SPLIT/loa-00000.npy ...           (windows, tokens, width) float16
    SPLIT/clap_audio-00000.npy ...    (windows, width) float32

KEY is a hash of the dataset's fingerprint, the settings and the networks' weights.
"""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

FORMAT = 1
WINDOWED = ("latents", "loa", "clap_audio")  # an entry a window of sound
TEXTUAL = ("t5", "clap_text")  # an entry a caption
WHAT = (*WINDOWED, *TEXTUAL)
DTYPES = {"latents": "float16", "loa": "float16", "t5": "float16"}  # float32 else
T5_LENGTH = 128  # tokens, the limit of AudioLDM 2's training


class EncodingError(ValueError):
    """An encoding that is missing, stale or cannot be made; the message is one sentence that says what to do."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What is encoded and how; another value of any field is another encoding.

    Attributes:
        what: of `WHAT`, kept in its order.
        seconds: length of a window.
        shortest: what is left of a clip behind its last whole window becomes a window, padded, if it lasts this many
            seconds or is the whole clip.
        loa: "pooled" stores AudioMAE's features pooled 8 x 8, the published evaluation's tokens for sound and music;
            "grid" all of them, for speech and for training that draws its pooling.
        padding: of a window that sounds for less than `seconds`: "end" puts zeros behind, "repeat" repeats it but for
            speech, as `data.segments.Shaping`.
        clap_padding: of a window that sounds for less than 10 s; see `clap_features`.
        dtype: the networks' compute type.
        shard: windows, or captions, in a file.

    Raises:
        ValueError: an unknown name, or a number out of range.
    """

    what: tuple[str, ...] = WHAT
    seconds: float = 10.24
    shortest: float = 1.0
    loa: str = "pooled"
    padding: str = "end"
    clap_padding: str = "repeatpad"
    dtype: str = "float32"
    shard: int = 1024

    def __post_init__(self) -> None:
        if unknown := [name for name in self.what if name not in WHAT]:
            raise ValueError(f"{unknown[0]!r} cannot be encoded; there are {', '.join(WHAT)}")
        if not self.what:
            raise ValueError(f"nothing to encode; there are {', '.join(WHAT)}")
        if self.loa not in ("pooled", "grid"):
            raise ValueError(f"loa is {self.loa!r}; it can be 'pooled' or 'grid'")
        if self.padding not in ("end", "repeat"):
            raise ValueError(f"padding is {self.padding!r}; it can be 'end' or 'repeat'")
        if self.clap_padding not in ("repeatpad", "repeat", "pad"):
            raise ValueError(
                f"clap_padding is {self.clap_padding!r}; it can be 'repeatpad', 'repeat' or 'pad'"
            )
        if self.dtype not in ("float32", "bfloat16"):
            raise ValueError(f"dtype is {self.dtype!r}; it can be 'float32' or 'bfloat16'")
        if not (self.seconds > 0 and self.shortest >= 0 and self.shard > 0):
            raise ValueError("seconds and shard must be positive, shortest at least 0")
        object.__setattr__(self, "what", tuple(name for name in WHAT if name in self.what))

    @property
    def windowed(self) -> tuple[str, ...]:
        """Those of `what` that have an entry a window."""
        return tuple(name for name in self.what if name in WINDOWED)

    @property
    def textual(self) -> tuple[str, ...]:
        """Those of `what` that have an entry a caption."""
        return tuple(name for name in self.what if name in TEXTUAL)

    def to_json(self) -> dict[str, Any]:
        """Plain values, equal for equal settings."""
        return {**dataclasses.asdict(self), "what": list(self.what)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Settings":
        """What `to_json` described."""
        return cls(**{**values, "what": tuple(values["what"])})


def key(fingerprint: str, settings: Settings, networks: Mapping[str, str]) -> str:
    """The name of an encoding's folder: 12 hexadecimal digits."""
    identity = {
        "format": FORMAT,
        "fingerprint": fingerprint,
        "settings": settings.to_json(),
        "networks": dict(networks),
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]


def shard_path(folder: pathlib.Path, name: str, index: int) -> pathlib.Path:
    """The file of one shard."""
    return folder / f"{name}-{index:05}.npy"


def shard_count(entries: int, size: int) -> int:
    """How many shards hold `entries`."""
    return -(-entries // size)
