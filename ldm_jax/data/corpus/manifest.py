"""The rows of the corpus: one a sound or a spoken line, one for each 10.24 s of music, in `manifest.jsonl`."""

import hashlib
import json
import pathlib
import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Float

from ldm_jax.audio.files import whole_file
from ldm_jax.data.corpus.captions import SEGMENT, music_caption, music_tags
from ldm_jax.data.corpus.packages import Package
from ldm_jax.data.corpus.recordings import Description, stem
from ldm_jax.data.corpus.waves import RATE

SOFT = 0.005  # a segment of music whose root mean square is not above this is left out
SHORT = 1.0  # seconds; a segment has to be longer

Row = dict[str, Any]


def split_of(description: Description, *, package: str, file: str) -> str:
    """3 % test, 3 % valid, the rest train, by a hash of what belongs together.

    That is a sentence, whoever says it, and otherwise the files of a package whose names differ in digits and
    separators alone: `footstep_01` to `footstep_20`, or a track of music with all its segments.
    """
    group = f"{package}/{re.sub(r'[0-9_. -]+', '', stem(file)).lower()}"
    if description.kind == "speech" and description.transcript:
        group = description.transcript.lower()
    share = int(hashlib.sha1(group.encode()).hexdigest()[:6], 16) % 100
    return "test" if share < 3 else "valid" if share < 6 else "train"


def path_of(description: Description, *, package: str, file: str, hashed: str) -> str:
    """Where a recording lies below the corpus's folder: `KIND/PACKAGE/NAME-HASH.opus`."""
    name = stem(file)[:40].replace(" ", "_")
    return f"{description.kind}/{package}/{name}-{hashed[:6]}.opus"


def rows_of(
    wave: Float[np.ndarray, " samples"],
    description: Description,
    *,
    package: Package,
    file: str,
    hashed: str,
    source_rate: int,
) -> list[Row]:
    """The rows of one recording; more than one for music alone."""
    row = {
        "path": path_of(description, package=package.name, file=file, hashed=hashed),
        "kind": description.kind,
        "caption": description.caption,
        "transcript": description.transcript,
        "language": description.language,
        "speaker": description.speaker,
        "start": 0.0,
        "duration": round(len(wave) / RATE, 3),
        "source_package": package.name,
        "licence": package.licence,
        "caption_quality": description.quality,
        "source_rate": source_rate,
        "split": split_of(description, package=package.name, file=file),
    }
    if description.kind != "music":
        return [row]
    rows = [row | part for part in _segments(wave, description.caption, f"{package.name}/{hashed}")]
    return rows or [row]


def _segments(wave: Float[np.ndarray, " samples"], place: str, track: str) -> Iterator[Row]:
    """What rows of a track have of their own: every full 10.24 s, or the whole of a shorter one."""
    size = round(SEGMENT * RATE)
    for number in range(max(1, len(wave) // size)):
        part = wave[number * size : (number + 1) * size]
        if len(part) <= SHORT * RATE or np.sqrt(np.mean(np.square(part))) <= SOFT:
            continue
        row: Row = {
            "start": round(number * SEGMENT, 2),
            "duration": round(len(part) / RATE, 2),
        }
        if tags := music_tags().get((track, number)):
            row["caption"] = music_caption(tags.likely, place)
            row["tags"] = dict(tags.probabilities)
        yield row


def write_lines(path: pathlib.Path, entries: Iterable[Row]) -> None:
    """Writes a JSON object a line, whole or not at all."""
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)


def read_lines(path: pathlib.Path) -> list[Row]:
    """The objects of such a file."""
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]
