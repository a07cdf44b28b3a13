"""Which clips of the two sides belong together."""

import collections
import dataclasses
import pathlib

from ldm_jax.data.sources.files import printable
from ldm_jax.eval.clips.clip import Clip, ClipSet, by_file, by_name, content_hash
from ldm_jax.eval.report.record import Problem


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pairing:
    """Two sides, with those that belong together called by the same name.

    Attributes:
        generated: all clips that are judged, by name; with what the reference's say of them, where their own
            side says nothing.
        reference: all clips of the other side, by name.
        names: on both sides, sorted.
        share: of the names of the one or the other side that are on both, the smaller, from 0 to 1.
        refusal: why the sides may not be compared in pairs, in one sentence; "" where they may.
        problems: clips without partner, and such that are the same file as their reference.
    """

    generated: tuple[Clip, ...]
    reference: tuple[Clip, ...]
    names: tuple[str, ...]
    share: float
    refusal: str
    problems: tuple[Problem, ...]


def pair(generated: ClipSet, reference: ClipSet, *, least: float = 0.0) -> Pairing:
    """Pairs by name, then by the aliases of either side.

    What compares sets as wholes uses all clips. A reference that several clips mean is there once for each.

    Args:
        generated: the clips that are judged.
        reference: what they are held against.
        least: pairs are refused unless `share` is above it; audioldm_eval has 0.99.

    Raises:
        OSError: a file cannot be read.
    """
    known = {alias: clips[0] for alias, clips in reference.aliases.items() if len(clips) == 1}
    known |= {clip.name: clip for clip in reference.clips}
    others: dict[pathlib.Path, list[str]] = collections.defaultdict(list)
    for alias, clips in generated.aliases.items():
        for clip in clips:
            others[clip.path].append(alias)
    found: dict[str, Clip] = {}
    for clip in generated.clips:
        for name in (clip.name, *others[clip.path]):
            if name in known:
                found[clip.name] = dataclasses.replace(known[name], name=clip.name)
                break
    meant = {(clip.path, clip.start) for clip in found.values()}
    left = [clip for clip in reference.clips if (clip.path, clip.start) not in meant]
    problems = [
        Problem(file=printable(str(clip.path)), why=_alone(other), dropped=False)
        for clips, other in (
            ([clip for clip in generated.clips if clip.name not in found], reference),
            (left, generated),
        )
        for clip in clips
    ]
    filled = [_filled(clip, found.get(clip.name)) for clip in generated.clips]
    held = by_name([*found.values(), *left])
    share = min(len(found) / max(1, len(side)) for side in (filled, held))
    return Pairing(
        generated=by_name(filled),
        reference=held,
        names=tuple(sorted(found)),
        share=share,
        refusal=""
        if share > least
        else _refusal(generated, reference, len(found), len(held), least),
        problems=by_file([*problems, *_copies(filled, held)]),
    )


def _alone(other: ClipSet) -> str:
    return f"no clip of its name in {other.source}: left out where clips are compared in pairs"


def _filled(clip: Clip, partner: Clip | None) -> Clip:
    if partner is None:
        return clip
    return dataclasses.replace(
        clip,
        captions=clip.captions or partner.captions,
        transcript=clip.transcript or partner.transcript,
    )


def _refusal(
    generated: ClipSet, reference: ClipSet, shared: int, references: int, least: float
) -> str:
    if not shared:
        mine, theirs = generated.clips[0].name, reference.clips[0].name
        return (
            f"{generated.source} and {reference.source} have no name in common: clips are paired by their names"
            f" without suffix, and these are such as {mine!r} and {theirs!r}"
        )
    return (
        f"only {shared} names are both among the {len(generated.clips)} of {generated.source} and among the"
        f" {references} of {reference.source}; more than {least:.0%} of either side are expected for pairs"
    )


def _copies(generated: list[Clip], reference: tuple[Clip, ...]) -> list[Problem]:
    """Clips whose file is byte for byte one of the references', under whatever name."""
    sizes: dict[int, list[pathlib.Path]] = collections.defaultdict(list)
    for path in dict.fromkeys(clip.path for clip in reference):
        sizes[path.stat().st_size].append(path)
    mine = [clip for clip in generated if clip.path.stat().st_size in sizes]
    alike = {clip.path.stat().st_size for clip in mine}
    hashes = {
        _file_hash(path): path for size, paths in sizes.items() if size in alike for path in paths
    }
    return [
        Problem(
            file=printable(str(clip.path)),
            why=f"byte for byte the reference {printable(str(hashes[own]))}",
            dropped=False,
        )
        for clip in mine
        if (own := _file_hash(clip.path)) in hashes
    ]


def _file_hash(path: pathlib.Path) -> str:
    return content_hash(Clip(name="", path=path))
