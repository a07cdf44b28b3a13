"""What decides the bytes of a prepared dataset, beside its source."""

import dataclasses
from typing import Any, Literal

Codec = Literal["flac", "opus"]
OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How clips become rows.

    Attributes:
        rate: of the stored audio, in Hz.
        codec: "flac" keeps every 16-bit sample; "opus" takes an eighth of the room, loses detail and encodes slowly.
        channels: how several become one: "mean", or "first" as in the published training code.
        max_seconds: longer clips are cut into consecutive pieces of this length, the last as long as remains. Clips
            with a transcript, which belongs to the whole, are left out instead.
        min_seconds: shorter clips and remainders are left out.
        validation, test: share of the clips for these splits, of those whose source says nothing of splits.
        require: leave out clips that have no "caption" or no "transcript".
        kind: leave out clips of another kind, and those whose source does not say.
        limit: only the first so many clips of the source.
        shard_clips: clips of the source in one file of the dataset; None is 128, or so many that 256 files a
            split do.

    Raises:
        ValueError: a value out of its range.
    """

    rate: int = 16_000
    codec: Codec = "flac"
    channels: Literal["mean", "first"] = "mean"
    max_seconds: float = 30.0
    min_seconds: float = 0.1
    validation: float = 0.03
    test: float = 0.03
    require: Literal["", "caption", "transcript"] = ""
    kind: Literal["", "sound", "music", "speech"] = ""
    limit: int | None = None
    shard_clips: int | None = None

    def __post_init__(self) -> None:
        if not 1_000 <= self.rate <= 655_350:  # what FLAC can hold
            raise ValueError(f"the rate must be from 1,000 to 655,350 Hz, not {self.rate}")
        if self.codec == "opus" and self.rate not in OPUS_RATES:
            rates = ", ".join(map(str, OPUS_RATES))
            raise ValueError(f"Opus stores audio at {rates} Hz, not at {self.rate}; FLAC can")
        if not 0 < self.max_seconds <= 3600:
            raise ValueError(f"max-seconds must be above 0, up to 3600, not {self.max_seconds}")
        if not 0 <= self.min_seconds <= self.max_seconds:
            raise ValueError(
                f"min-seconds must be from 0 to max-seconds ({self.max_seconds}), not {self.min_seconds}"
            )
        if not (self.validation >= 0 and self.test >= 0 and self.validation + self.test <= 1):
            raise ValueError(
                "validation and test are shares of the clips, from 0 to 1 together, "
                f"not {self.validation} and {self.test}"
            )
        for name in ("limit", "shard_clips"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name.replace('_', '-')} must be 1 or more, not {value}")

    @property
    def max_samples(self) -> int:
        """Of one row."""
        return max(1, round(self.max_seconds * self.rate))

    def differences(self, other: dict[str, Any]) -> list[str]:
        """What stands otherwise in `other`, as "rate 16000, now 24000"."""
        mine = dataclasses.asdict(self)
        return [
            f"{name.replace('_', '-')} was {other.get(name)}, now {value}"
            for name, value in mine.items()
            if other.get(name) != value
        ]
