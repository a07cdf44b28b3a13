"""Which clips the page shows, and what it says of the whole dataset."""

import collections
import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from ldm_jax.data.clip import Clip, Omission
from ldm_jax.data.prepare.statistics import Histogram, histogram
from ldm_jax.data.prepared import Prepared, open_prepared
from ldm_jax.data.show.cards import Card, clip_card, row_card
from ldm_jax.data.sources import Source, open_source

NAMED_OMISSIONS = 20
SHOWN = ("length", "loudness")  # of a prepared dataset's histograms
SECONDS = 2.0 ** np.arange(-10, 13.25, 0.25)
LEVELS = np.arange(-100.0, 1.0, 2.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
    """The head of the page.

    Attributes:
        title: the dataset's name.
        clips: in it, or in the split that is shown.
        facts: (term, value) pairs.
        kinds: clips by kind.
        histograms: of lengths and levels.
        counted: of which clips the histograms are.
        omissions: some of what is left out.
    """

    title: str
    clips: int
    facts: tuple[tuple[str, str], ...]
    kinds: dict[str, int]
    histograms: tuple[Histogram, ...]
    counted: str
    omissions: tuple[Omission, ...] = ()


def look(
    dataset: str | os.PathLike[str],
    *,
    split: str | None = None,
    count: int = 24,
    seed: int = 0,
    layout: str | None = None,
) -> tuple[Summary, list[Card]]:
    """Draws clips of a prepared dataset or of any source; the same ones for the same seed, in their order.

    Args:
        dataset: a folder, file or name.
        split: the only one to draw from; None is all.
        count: how many, or all there are.
        seed: of the draw.
        layout: of a source; see `open_source`.

    Raises:
        ValueError: nothing is there, or no such split.
        OSError: it cannot be read.
    """
    prepared = None if layout else _prepared(dataset)
    if prepared is not None:
        return _of_prepared(prepared, split, count, seed)
    return _of_source(open_source(dataset, layout=layout), split, count, seed)


def _prepared(dataset: str | os.PathLike[str]) -> Prepared | None:
    try:
        return open_prepared(pathlib.Path(dataset))
    except ValueError:
        return None


def _of_prepared(
    prepared: Prepared, split: str | None, count: int, seed: int
) -> tuple[Summary, list[Card]]:
    splits = [split] if split else list(prepared.splits)
    rows = {name: prepared.rows(name) for name in splits}
    ends = np.cumsum([len(of) for of in rows.values()])
    cards = []
    for place in drawn(int(ends[-1]), count, seed):
        which = int(np.searchsorted(ends, place, side="right"))
        before = int(ends[which - 1]) if which else 0
        cards.append(row_card(rows[splits[which]][place - before], splits[which]))
    report = prepared.report
    amounts = {name: report["splits"][name] for name in splits}
    kinds: collections.Counter[str] = collections.Counter()
    for amount in amounts.values():
        kinds.update({kind: of["rows"] for kind, of in amount["kinds"].items()})
    left_out = sum(report["left_out"].values())
    facts = (
        *((name, f"{of['rows']:,} clips, {hours(of['hours'])}") for name, of in amounts.items()),
        ("audio", f"{prepared.codec.upper()}, {prepared.sample_rate:,} Hz"),
        ("made from", report["source"]),
        ("left out", f"{left_out:,} clips, told of in report.html" if left_out else ""),
    )
    shapes = {shape["title"]: _read(shape) for shape in report["histograms"]}
    summary = Summary(
        title=prepared.name,
        clips=int(ends[-1]),
        facts=tuple(fact for fact in facts if fact[1]),
        kinds=dict(kinds),
        histograms=tuple(shapes[title] for title in SHOWN if title in shapes),
        counted="all clips of all splits",
    )
    return summary, cards


def hours(count: float) -> str:
    """As "12.3 h", or "4.5 min" below an hour."""
    return f"{count:,.1f} h" if count >= 1 else f"{60 * count:.1f} min"


def _read(shape: dict[str, Any]) -> Histogram:
    """A histogram of `report.json`."""
    fields: dict[str, Any] = {**shape, **{name: tuple(shape[name]) for name in ("edges", "counts")}}
    return Histogram(**fields)


def _of_source(
    source: Source, split: str | None, count: int, seed: int
) -> tuple[Summary, list[Card]]:
    """One pass over the source, which need not fit into memory: a reservoir sample."""
    generator = np.random.default_rng(seed)
    kept: list[tuple[int, Clip]] = []
    kinds: collections.Counter[str] = collections.Counter()
    splits: collections.Counter[str] = collections.Counter()
    omissions: list[Omission] = []
    total = left_out = 0
    for item in source:
        if isinstance(item, Omission):
            left_out += 1
            omissions += [item] if left_out <= NAMED_OMISSIONS else []
            continue
        splits[item.split or "no split"] += 1
        if split and item.split != split:
            continue
        kinds[item.kind or "unknown"] += 1
        if total < count:
            kept.append((total, item))
        elif (place := int(generator.integers(total + 1))) < count:
            kept[place] = (total, item)
        total += 1
    if split and not total:
        raise ValueError(f"{source.name} has no split {split!r}; there are {', '.join(splits)}")
    cards = [clip_card(clip) for _, clip in sorted(kept, key=lambda pair: pair[0])]
    facts = (
        *((name, f"{number:,} clips") for name, number in splits.items()),
        ("layout", source.layout),
        ("left out", f"{left_out:,} clips" if left_out else ""),
    )
    read = [card for card in cards if not card.problem]
    summary = Summary(
        title=source.name,
        clips=total,
        facts=tuple(fact for fact in facts if fact[1]),
        kinds=dict(kinds),
        histograms=_shapes(read),
        counted="the clips on this page",
        omissions=tuple(omissions),
    )
    return summary, cards


def drawn(total: int, count: int, seed: int) -> list[int]:
    """`count` different numbers below `total`, or all, in order."""
    if count >= total:
        return list(range(total))
    chosen = np.random.default_rng(seed).choice(total, count, replace=False)
    return sorted(chosen.tolist())


def _shapes(cards: Sequence[Card]) -> tuple[Histogram, ...]:
    if not cards:
        return ()
    lengths = [card.seconds for card in cards]
    loudness = [
        10 * np.log10(max(float(np.mean(np.square(card.wave, dtype=np.float64))), 1e-12))
        for card in cards
    ]
    return (
        histogram("length", "s", lengths, SECONDS, logarithmic=True),
        histogram("loudness", "dBFS", loudness, LEVELS, logarithmic=False),
    )
