"""The numbers of the report, from the journals: nothing is decoded again."""

import collections
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ldm_jax.data.prepare.journal import WHY, LeftOut, Written

Rows = Mapping[str, Sequence[Written]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Histogram:
    """How many values lie in each of the bins between consecutive edges.

    Attributes:
        title, unit: for the axis.
        edges: one more than counts; values beyond them count in the outermost bins.
        counts: of values.
        median: of all values; NaN without any.
        logarithmic: whether the edges are.
    """

    title: str
    unit: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    median: float
    logarithmic: bool


def histogram(
    title: str, unit: str, values: Iterable[float], edges: np.ndarray, *, logarithmic: bool
) -> Histogram:
    """The histogram of `values`, without the empty bins at both ends."""
    array = np.fromiter(values, float)
    counts, _ = np.histogram(np.clip(array, edges[0], edges[-1]), edges)
    filled = np.flatnonzero(counts)
    first, last = (int(filled[0]), int(filled[-1])) if len(filled) else (0, 0)
    return Histogram(
        title=title,
        unit=unit,
        edges=tuple(edges[first : last + 2].tolist()),
        counts=tuple(counts[first : last + 1].tolist()),
        median=float(np.median(array)) if len(array) else float("nan"),
        logarithmic=logarithmic,
    )


def histograms(rows: Rows, sample_rate: int) -> list[Histogram]:
    """Of length, loudness and peak, and of the length of captions and transcripts, over all splits."""
    every = [row for split in rows.values() for row in split]
    seconds = 2.0 ** np.arange(-10, 13.25, 0.25)
    letters = 2.0 ** np.arange(0, 17.5, 0.5)
    levels = np.arange(-100.0, 1.0, 2.0)
    captions = (length for row in every for length in row.captions)
    transcripts = (row.transcript for row in every if row.transcript)
    lengths = (row.samples / sample_rate for row in every)
    peaks = (20 * np.log10(row.peak) for row in every)
    loudness = (row.loudness for row in every)
    return [
        histogram("length", "s", lengths, seconds, logarithmic=True),
        histogram("loudness", "dBFS", loudness, levels, logarithmic=False),
        histogram("peak", "dBFS", peaks, levels, logarithmic=False),
        histogram("caption", "characters", captions, letters, logarithmic=True),
        histogram("transcript", "characters", transcripts, letters, logarithmic=True),
    ]


def summarize(rows: Rows, omissions: Sequence[LeftOut], sample_rate: int) -> dict[str, Any]:
    """Counts and hours: `splits`, each with its kinds; `left_out` by reason; and counts of what the source has."""
    every = [row for split in rows.values() for row in split]
    cut = [row.cut_off for row in every if row.cut_off]
    return {
        "rows": len(every),
        "hours": _hours(every, sample_rate),
        "splits": {
            split: _amount(part, sample_rate)
            | {"kinds": {kind or "unknown": _amount(of, sample_rate)
                         for kind, of in _grouped(part, lambda row: row.kind).items()}}
            for split, part in rows.items()
        },
        "left_out": {
            why: count
            for why in WHY
            if (count := sum(omission.why == why for omission in omissions))
        },
        "captions_a_row": _counts(every, lambda row: len(row.captions)),
        "rows_with_transcript": sum(row.transcript > 0 for row in every),
        "languages": _counts(every, lambda row: row.language),
        "source_rates": _counts(every, lambda row: row.rate),
        "source_channels": _counts(every, lambda row: row.channels),
        "at_full_scale": sum(row.peak >= 0.9999 for row in every),
        "cut_off": {"rows": len(cut), "seconds": sum(cut) / sample_rate},
    }  # fmt: skip


def _amount(rows: Sequence[Written], sample_rate: int) -> dict[str, Any]:
    return {
        "rows": len(rows),
        "hours": _hours(rows, sample_rate),
        "bytes": sum(row.size for row in rows),
    }


def _hours(rows: Sequence[Written], sample_rate: int) -> float:
    return sum(row.samples for row in rows) / sample_rate / 3600


def _grouped(rows: Sequence[Written], key: Callable[[Written], Any]) -> dict[Any, list[Written]]:
    groups = collections.defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return dict(sorted(groups.items()))


def _counts(rows: Sequence[Written], key: Callable[[Written], Any]) -> dict[str, int]:
    """Ordered by number or name."""
    return {str(value): len(of) for value, of in _grouped(rows, key).items()}
