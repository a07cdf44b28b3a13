"""What is to be done: the clips of a source, each in a split, the splits in shards of a fixed order."""

import collections
import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Iterable, Iterator

from ldm_jax.data.clip import Clip, Omission, Split
from ldm_jax.data.prepare.journal import LeftOut
from ldm_jax.data.prepare.settings import Settings
from ldm_jax.data.prepare.splits import SPLITS, assign_splits, straddling_groups

FORMAT = 1  # goes up when the same clips and settings begin to give other bytes
LEAST_CLIPS, MOST_SHARDS = 128, 256  # all may stay open while rows are read in random order


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shard:
    """One file of the dataset and the clips that go into it."""

    split: Split
    index: int
    of: int
    clips: tuple[Clip, ...]
    settings: Settings

    @functools.cached_property
    def key(self) -> str:
        """BLAKE2b, 128 bits in hexadecimal, of all that decides the shard's bytes but for the sound itself.

        It leaves out where the sound lies, so that a source may be moved.
        """
        digest = hashlib.blake2b(digest_size=16)
        what = [FORMAT, self.split, self.index, self.of, dataclasses.asdict(self.settings)]
        digest.update(json.dumps(what).encode())
        for clip in self.clips:
            fields = {field: getattr(clip, field) for field in _FIELDS}
            digest.update(json.dumps(fields).encode())
        return digest.hexdigest()

    @property
    def suffix(self) -> str:
        """As in "00003-of-00017"."""
        return f"{self.index:05d}-of-{self.of:05d}"


_FIELDS = [field.name for field in dataclasses.fields(Clip) if field.name != "audio"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """All shards in the order in which they are finished, and what is left out from the outset.

    Attributes:
        shards: those of the test split first, then validation, then train.
        omissions: of the source, and of clips that need not be read to be left out.
        straddling: groups that the source puts into more than one split.
    """

    shards: tuple[Shard, ...]
    omissions: tuple[LeftOut, ...]
    straddling: tuple[str, ...]

    @property
    def clips(self) -> int:
        """How many are to be read."""
        return sum(len(shard.clips) for shard in self.shards)

    @functools.cached_property
    def key(self) -> str:
        """Of all shards."""
        keys = "".join(shard.key for shard in self.shards)
        return hashlib.blake2b(keys.encode(), digest_size=16).hexdigest()


def make_plan(source: Iterable[Clip | Omission], settings: Settings) -> Plan:
    """Goes through the source once, without reading any sound."""
    clips: list[Clip] = []
    omissions: list[LeftOut] = []
    for item in _sorted_out(source, settings):
        (clips if isinstance(item, Clip) else omissions).append(item)  # type: ignore[arg-type]
    splits = assign_splits(clips, validation=settings.validation, test=settings.test)
    members: dict[Split, list[Clip]] = collections.defaultdict(list)
    for clip, split in zip(clips, splits, strict=True):
        members[split].append(clip)
    return Plan(
        shards=tuple(
            shard for split in SPLITS for shard in _shards(split, members[split], settings)
        ),
        omissions=tuple(omissions),
        straddling=tuple(straddling_groups(clips, splits)),
    )


def _shards(split: Split, clips: list[Clip], settings: Settings) -> list[Shard]:
    size = settings.shard_clips or max(LEAST_CLIPS, math.ceil(len(clips) / MOST_SHARDS))
    count = math.ceil(len(clips) / size)
    return [
        Shard(
            split=split,
            index=index,
            of=count,
            clips=tuple(clips[index * size : (index + 1) * size]),
            settings=settings,
        )
        for index in range(count)
    ]


def _sorted_out(source: Iterable[Clip | Omission], settings: Settings) -> Iterator[Clip | LeftOut]:
    names: set[str] = set()
    for item in source:
        if isinstance(item, Omission):
            yield LeftOut(name=_storable(item.name), reason=_storable(item.reason), why="source")
            continue
        if settings.limit is not None and len(names) == settings.limit:
            return
        clip = _storable_clip(item)
        if clip.name in names:
            yield LeftOut(name=clip.name, why="name", reason="the first clip of this name is kept")
            continue
        names.add(clip.name)
        if settings.require == "caption" and not clip.captions:
            yield LeftOut(name=clip.name, why="caption", reason="no caption, as --require asks")
        elif settings.require == "transcript" and not clip.transcript:
            yield LeftOut(
                name=clip.name, why="transcript", reason="no transcript, as --require asks"
            )
        elif settings.kind and clip.kind != settings.kind:
            kind = clip.kind or "of no known kind"
            yield LeftOut(name=clip.name, why="kind", reason=f"{kind}, not {settings.kind}")
        else:
            yield clip


def _storable_clip(clip: Clip) -> Clip:
    """The clip with text that UTF-8 can hold, and without captions that say nothing."""
    texts = {field: getattr(clip, field) for field in _FIELDS}
    clean = {
        field: _storable(text) if isinstance(text, str) else tuple(map(_storable, text))
        for field, text in texts.items()
        if isinstance(text, str | tuple)
    }
    captions = tuple(caption for caption in clean["captions"] if caption.strip())
    return dataclasses.replace(clip, **{**clean, "captions": captions})


def _storable(text: str) -> str:
    """The text with lone surrogates, which stand for bytes of file names that were not UTF-8, written out."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
