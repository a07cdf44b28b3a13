"""Which clips are compared: the same captions as several systems sound them."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from ldm_jax.eval.clips import Clip, ClipSet, read_side


@dataclasses.dataclass(frozen=True, kw_only=True)
class Item:
    """One caption, or one sentence, as every system sounds it.

    Attributes:
        name: of its clips.
        caption: what they should sound like; "" unknown.
        transcript: what is said in them; "" unknown.
        clips: by system.
    """

    name: str
    caption: str
    transcript: str
    clips: Mapping[str, Clip]


def gather(
    systems: Mapping[str, pathlib.Path], *, captions: pathlib.Path | None = None
) -> tuple[tuple[Item, ...], tuple[str, ...]]:
    """(the items that every system has, by name; what was left out and why, in sentences).

    Clips of the same name are of one item. Where no name is in all systems, clips of the same caption are, if each
    system has every caption once. A caption comes from the table, else from the first system that knows one.

    Args:
        systems: folders or manifests by the system's name, see `read_side`.
        captions: a table of captions, for all systems.

    Raises:
        ValueError: a folder without clips, or systems without a common item.
        OSError: something cannot be read.
    """
    sides = {}
    for name, path in systems.items():
        sides[name] = _read(path, captions)
    problems = [
        f"{name}: {one.file}: {one.why}"
        for name, side in sides.items()
        for one in side.problems
        if one.dropped and one.file != str(captions)  # a table may speak of more than these clips
    ]
    found = {name: {clip.name: clip for clip in side.clips} for name, side in sides.items()}
    shared = _in_all(found)
    if not shared and (by_caption := _by_caption(sides)):
        found, shared = by_caption, _in_all(by_caption)
    if not shared:
        told = ", ".join(f"{name} has {next(iter(side))!r}" for name, side in found.items())
        raise ValueError(
            f"no clip is in all systems: clips are paired by their names without suffix, and {told}"
        )
    for name, side in found.items():
        if alone := sorted(side.keys() - set(shared)):
            problems.append(
                f"{name}: {len(alone)} of its clips, not in all systems, left out, such as {alone[0]!r}"
            )
    items = tuple(
        _item(name, {system: side[name] for system, side in found.items()}) for name in shared
    )
    return items, tuple(problems)


def drawn(items: Sequence[Item], count: int | None, *, seed: int) -> tuple[Item, ...]:
    """`count` of them, in their order; all where it is None.

    Raises:
        ValueError: there are fewer.
    """
    if count is None:
        return tuple(items)
    if not 1 <= count <= len(items):
        raise ValueError(f"--items is {count}, but {len(items)} items are in all systems")
    chosen = np.random.default_rng([seed, 1]).permutation(len(items))[:count]
    return tuple(items[index] for index in sorted(chosen))


def _read(path: pathlib.Path, captions: pathlib.Path | None) -> ClipSet:
    return read_side(path, captions=captions if path.is_dir() else None)


def _in_all(found: Mapping[str, Mapping[str, Clip]]) -> list[str]:
    first, *others = (set(side) for side in found.values())
    return sorted(first.intersection(*others))


def _by_caption(sides: Mapping[str, ClipSet]) -> dict[str, dict[str, Clip]]:
    """The clips by caption; {} where a clip has none, or where a system sounds one twice."""
    found = {}
    for name, side in sides.items():
        clips = {clip.captions[0]: clip for clip in side.clips if clip.captions}
        if len(clips) < len(side.clips):
            return {}
        found[name] = clips
    return found


def _item(name: str, clips: Mapping[str, Clip]) -> Item:
    captions = [clip.captions[0] for clip in clips.values() if clip.captions]
    transcripts = [clip.transcript for clip in clips.values() if clip.transcript]
    return Item(
        name=name,
        caption=captions[0] if captions else "",
        transcript=transcripts[0] if transcripts else "",
        clips=clips,
    )
