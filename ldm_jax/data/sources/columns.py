"""What the columns of a table mean, told by their names."""

import functools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ldm_jax.data.clip import Kind, Split

# Of several that a table has, the first is taken.
# fmt: off
FILE = (
    "file_name", "filename", "file", "path", "filepath", "file_path", "audio_path", "audio_filepath",
    "audio_file", "audio_filename", "audio_file_path", "audio", "wav", "wav_path", "wav_file", "location",
    "fname", "relpath", "rel_path", "relative_path", "clip_name", "audio_name", "uniq_id", "audio_id",
    "youtube_id", "ytid", "yt_id", "video_id", "track_id", "clip_id", "segment_id", "sid", "utt_id", "clip",
    "sound", "id", "key", "name",
)
TEXT = (
    "text", "texts", "description", "descriptions", "sentence", "sentences", "prompt", "prompts", "annotation",
)
TRANSCRIPT = ("transcript", "transcription", "transcripts", "text_tn", "normalized_text", "lyrics")
LABELS = (
    "labels", "label", "tags", "tag", "tag_list", "categories", "category", "classes", "class", "genres",
    "genre", "keywords",
)
SPLIT = ("split", "set", "subset", "partition")
START = ("start", "start_time", "start_s", "start_sec", "start_seconds", "begin", "begin_time", "begin_s", "offset")
END = ("end", "end_time", "end_s", "end_sec", "end_seconds", "stop")
SECONDS = ("seconds", "duration", "length", "dur", "duration_s", "duration_sec", "duration_seconds")
KIND = ("kind",)
LANGUAGE = ("language", "lang", "locale")
SPEAKER = ("speaker", "speaker_id", "speaker_name", "client_id")
LICENCE = ("licence", "license")
ORIGIN = ("origin", "source_package", "source", "dataset", "collection")
QUALITY = ("caption_quality", "quality")
GROUP = ("group", "group_id", "recording", "recording_id")
# fmt: on

SPLITS: Mapping[str, Split] = {
    **dict.fromkeys(("train", "training", "development"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
KINDS: Mapping[str, Kind] = {"sound": "sound", "music": "music", "speech": "speech"}
# GigaSpeech's marks for punctuation, which copies of it keep in the text.
PUNCTUATION = {"<COMMA>": ",", "<PERIOD>": ".", "<QUESTIONMARK>": "?", "<EXCLAMATIONPOINT>": "!"}
_WORD = re.compile("[a-z]+")
_NOT_A_CAPTION = re.compile(
    r"(^num_|^n_|_(id|ids|quality|source|model|score|type|length|count|lang)$|captions_per)"
)


class Columns(NamedTuple):
    """Which column of a table holds what; () or "" where none does."""

    files: tuple[str, ...]
    captions: tuple[str, ...]
    transcript: str
    labels: str
    split: str
    start: str
    end: str
    seconds: str
    kind: str
    language: str
    speaker: str
    licence: str
    origin: str
    quality: str
    group: str


class CellError(ValueError):
    """A cell holds something else than its column's name says."""


@functools.lru_cache(maxsize=256)
def columns(names: tuple[str, ...], *, spoken: bool | None = None) -> Columns:
    """The meaning of the columns of these names.

    Captions are all columns whose name holds "caption", or else those like "text" or "sentence", unless such
    a text is what is spoken: by default where there is a column of speakers, or the file is an
    "audio_filepath" (as in NeMo's manifests).

    Args:
        names: of the columns, in any case, with spaces, dashes or underscores.
        spoken: whether a text that is not called a caption is what is spoken; None tells it as above.
    """
    known = {re.sub(r"[\s\-]+", "_", str(name).strip().lower()): name for name in reversed(names)}

    def first(wanted: Sequence[str]) -> str:
        return next((known[name] for name in wanted if name in known), "")

    captions = [
        name for key, name in known.items() if "caption" in key and not _NOT_A_CAPTION.search(key)
    ][::-1]
    transcript, texts = first(TRANSCRIPT), [known[name] for name in TEXT if name in known]
    if spoken is None:
        spoken = bool(first(SPEAKER)) or "audio_filepath" in known
    if spoken and not transcript and texts:
        transcript, texts = texts[0], texts[1:]
    if spoken:
        texts = []
    return Columns(
        files=tuple(known[name] for name in FILE if name in known),
        captions=tuple(captions or texts),
        transcript=transcript,
        labels=first(LABELS),
        split=first(SPLIT),
        start=first(START),
        end=first(END),
        seconds=first(SECONDS),
        kind=first(KIND),
        language=first(LANGUAGE),
        speaker=first(SPEAKER),
        licence=first(LICENCE),
        origin=first(ORIGIN),
        quality=first(QUALITY),
        group=first(GROUP),
    )


def reference(cells: Mapping[str, Any], meaning: Columns) -> str:
    """What the row says of where its sound is; "" where it says nothing."""
    for name in meaning.files:
        cell = cells.get(name)
        cell = cell.get("path") if isinstance(cell, dict) else cell
        if cell is not None and str(cell).strip():
            return str(cell)
    return ""


def fields(cells: Mapping[str, Any], meaning: Columns) -> dict[str, Any]:
    """The fields of a `Clip` that the row knows; `start` and `seconds` only where a start is given.

    Raises:
        CellError: a time is no number of seconds, or ends before it begins.
    """
    known: dict[str, Any] = {"captions": texts([cells.get(name) for name in meaning.captions])}
    if meaning.transcript:
        known["transcript"] = plain_text(first_text(cells.get(meaning.transcript)))
    if meaning.labels:
        known["labels"] = labels(cells.get(meaning.labels))
    if meaning.kind:
        known["kind"] = KINDS.get(first_text(cells.get(meaning.kind)).lower(), "")
    if meaning.split:
        known["split"] = split_named(first_text(cells.get(meaning.split)))
    for field in ("language", "speaker", "licence", "origin", "group"):
        if column := getattr(meaning, field):
            known[field] = first_text(cells.get(column))
    if meaning.quality and first_text(cells.get(meaning.quality)) in ("0", "1", "2", "3"):
        known["quality"] = int(first_text(cells[meaning.quality]))
    return {name: value for name, value in known.items() if value} | times(cells, meaning)


def times(cells: Mapping[str, Any], meaning: Columns) -> dict[str, float]:
    """`start` and, where it is given, `seconds`."""
    start = _number(cells, meaning.start) if meaning.start else None
    if start is None:
        return {}
    end, seconds = _number(cells, meaning.end), _number(cells, meaning.seconds)
    if end is not None:
        seconds = end - start
    if seconds is None:
        return {"start": start}
    if seconds <= 0:
        raise CellError(f"{seconds:g} s long")
    return {"start": start, "seconds": seconds}


def texts(cells: Any) -> tuple[str, ...]:
    """All texts in cells that hold one or a list, without repeats and empty ones."""
    found: dict[str, None] = {}
    for cell in cells:
        for text in cell if isinstance(cell, list | tuple) else (cell,):
            if isinstance(text, str) and text.strip():
                found[text.strip()] = None
    return tuple(found)


def first_text(cell: Any) -> str:
    """The text of a cell, or the first of a list of texts; "" for what is no text or number."""
    cell = cell[0] if isinstance(cell, list) and cell else cell
    return str(cell).strip() if isinstance(cell, str | int | float) else ""


def labels(cell: Any) -> tuple[str, ...]:
    """A list, the keys of a dictionary, or text parted by ";" or "|" or else by ",".

    Lists as Python writes them ("['a', 'b']") are read too.
    """
    if isinstance(cell, dict):
        return tuple(map(str, cell))
    if isinstance(cell, list | tuple):
        return tuple(str(label).strip() for label in cell if str(label).strip())
    text = "" if cell is None else str(cell).strip()
    if text.startswith("[") and text.endswith("]"):
        return tuple(part[0] or part[1] for part in re.findall(r"'([^']*)'|\"([^\"]*)\"", text))
    delimiter = next((mark for mark in ";|," if mark in text), ",")
    return tuple(part.strip() for part in text.split(delimiter) if part.strip())


def plain_text(text: str) -> str:
    """A transcript whose marks for punctuation, if it has any, are punctuation."""
    if "<" in text:
        for mark, sign in PUNCTUATION.items():
            text = text.replace(f" {mark}", sign).replace(mark, sign)
    return text


def split_named(name: str) -> Split | None:
    """The split that a name like "train", "val" or "test-clean" means, by its first word."""
    word = _WORD.search(name.lower())
    return SPLITS.get(word[0]) if word else None


def split_of_path(path: str) -> Split | None:
    """The split of a file in a folder that is called exactly as one, the outermost counting."""
    return next((SPLITS[part] for part in path.lower().split("/")[:-1] if part in SPLITS), None)


def _number(cells: Mapping[str, Any], name: str) -> float | None:
    cell = cells.get(name)
    if cell is None or not str(cell).strip():
        return None
    try:
        number = float(cell)
    except (TypeError, ValueError):
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise CellError(f"{name} is {cell!r}, not a number of seconds")
    return number
