"""Finding out how a source is laid out, and reading it."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ldm_jax.data.clip import Clip, Omission, Split
from ldm_jax.data.sources import (
    audiocaps,
    audioldm,
    audioset,
    clotho,
    fma,
    folder,
    gigaspeech,
    ljspeech,
    msd,
    musiccaps,
    parquet,
    tfds,
    vggsound,
    wavcaps,
    webdataset,
)
from ldm_jax.data.sources.files import printable
from ldm_jax.data.sources.place import Names, Place, look_over


class Layout(NamedTuple):
    """How a set lies on disk.

    Attributes:
        description: one line for a person.
        looks_like: whether a place is laid out so.
        clips: what it holds.
        origin: the name of the set, for clips that know no other; "" is the source's.
    """

    description: str
    looks_like: Callable[[Place], bool]
    clips: Callable[[Place], Iterator[Clip | Omission]]
    origin: str = ""


# In the order in which they are tried.
LAYOUTS = {
    "tfds": Layout(
        "a TFDS dataset prepared as array_record, by folder or NAME[/CONFIG][:VERSION]",
        tfds.looks_like,
        tfds.clips,
    ),
    "audioldm": Layout(
        "dataset_root.json of AudioLDM's training code", audioldm.looks_like, audioldm.clips
    ),
    "gigaspeech": Layout(
        "GigaSpeech: GigaSpeech.json and audio/, or segments with *_metadata.csv",
        gigaspeech.looks_like,
        gigaspeech.clips,
        "GigaSpeech",
    ),
    "fma": Layout("FMA: fma_metadata/tracks.csv and fma_*/000/", fma.looks_like, fma.clips, "FMA"),
    "clotho": Layout(
        "Clotho: clotho_captions_*.csv and folders of splits",
        clotho.looks_like,
        clotho.clips,
        "Clotho",
    ),
    "musiccaps": Layout(
        "MusicCaps: musiccaps-public.csv and clips of its videos",
        musiccaps.looks_like,
        musiccaps.clips,
        "MusicCaps",
    ),
    "audiocaps": Layout(
        "AudioCaps: train.csv, val.csv, test.csv and clips of their videos",
        audiocaps.looks_like,
        audiocaps.clips,
        "AudioCaps",
    ),
    "wavcaps": Layout(
        "WavCaps: *_final.json and flac files by part", wavcaps.looks_like, wavcaps.clips, "WavCaps"
    ),
    "vggsound": Layout(
        "VGGSound: vggsound.csv and clips of its videos",
        vggsound.looks_like,
        vggsound.clips,
        "VGGSound",
    ),
    "audioset": Layout(
        "AudioSet: *_segments.csv, class_labels_indices.csv and clips of their videos",
        audioset.looks_like,
        audioset.clips,
        "AudioSet",
    ),
    "msd": Layout(
        "Million Song Dataset: ECALS or LP-MusicCaps-MSD annotations and previews by track",
        msd.looks_like,
        msd.clips,
        "Million Song Dataset",
    ),
    "ljspeech": Layout(
        "LJSpeech and its like: metadata.csv of name|text|text and wavs/",
        ljspeech.looks_like,
        ljspeech.clips,
    ),
    "parquet": Layout(
        "Parquet with audio files in a column, as of Hugging Face",
        parquet.looks_like,
        parquet.clips,
    ),
    "webdataset": Layout(
        "WebDataset: tar archives of audio with .json or .txt",
        webdataset.looks_like,
        webdataset.clips,
    ),
    "folder": Layout(
        "a folder of audio; captions from CSV, TSV, JSON(L) or Parquet tables, .txt or .json files beside, or names",
        lambda place: bool(place.files.audio or place.given),
        folder.clips,
    ),
}


@dataclasses.dataclass(frozen=True)
class Source:
    """What `open_source` found. Iterating gives its clips and what it cannot give, in the same order each time.

    Attributes:
        name: of the folder, of the file without its suffix, or of the dataset.
        layout: how it lies on disk, a key of `layouts()`.
        split: what every clip's split is, whatever the source says; None leaves it.
        place: where it lies.
    """

    name: str
    layout: str
    place: Place = dataclasses.field(repr=False)
    split: Split | None = None

    def __iter__(self) -> Iterator[Clip | Omission]:
        """Clips, each with a name of its own (a second one of a name gets "~2" behind it), and omissions.

        Raises:
            ValueError: the layout's files are not what they should be as a whole.
            OSError: one without which nothing can be read cannot be.
        """
        layout = LAYOUTS[self.layout]
        seen: dict[str, int] = {}
        for clip in layout.clips(self.place):
            if isinstance(clip, Omission):
                yield clip
                continue
            if half := _half_character(clip):
                reason = f"its text has half a character, {half}"
                yield Omission(name=printable(clip.name), reason=reason)
                continue
            changes: dict[str, object] = {}
            if (number := seen.get(clip.name, 0) + 1) > 1:
                while (name := f"{clip.name}~{number}") in seen:
                    number += 1
                changes["name"] = name
                seen[name] = 1
            seen[clip.name] = number
            if not clip.origin:
                changes["origin"] = layout.origin or self.name
            if self.split:
                changes["split"] = self.split
            yield dataclasses.replace(clip, **changes) if changes else clip


def _half_character(clip: Clip) -> str:
    """What no UTF-8 can hold, and JSON may: a surrogate alone; "" where there is none."""
    words = (clip.transcript, clip.language, clip.speaker, clip.licence, clip.origin, clip.group)
    text = "".join((clip.name, *clip.captions, *clip.labels, *words))
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"\\u{ord(text[error.start]):04x}"
    return ""


def layouts() -> dict[str, str]:
    """Each layout's name and what it is, in a line, in the order in which they are tried."""
    return {name: layout.description for name, layout in LAYOUTS.items()}


def open_source(
    where: str | os.PathLike[str],
    *,
    layout: str | None = None,
    captions: str | os.PathLike[str] | None = None,
    audio: str | os.PathLike[str] | None = None,
    split: Split | None = None,
    spoken: bool | None = None,
    names: Names = "none",
    sample_rate: int | None = None,
    subset: str | None = None,
    exclude: str | os.PathLike[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
) -> Source:
    """A source of clips: what lies at `where`, looked over once and not yet read.

    Args:
        where: a folder; a table, archive, Parquet or audio file; or the name of a prepared TFDS dataset.
        layout: a key of `layouts()`; None finds it out.
        captions: a table, or a folder of tables, where they do not lie in `where`.
        audio: the folder of the audio, where it is not `where`.
        split: puts every clip into this split, whatever the source says.
        spoken: whether texts that are not called captions are transcripts; None as of `columns.columns`.
        names: makes captions of names of "file"s, or of the "path" with its folders, where there is no other.
        sample_rate: of samples whose dataset does not tell it, in Hz.
        subset: of GigaSpeech, as in "M"; or one dataset of a `dataset_root.json`.
        exclude: a JSON file of names that WavCaps should leave out.
        data_dir: of TFDS datasets; default $TFDS_DATA_DIR, or ~/tensorflow_datasets.

    Raises:
        ValueError: it is not there, it has nothing that sounds, or `layout` is unknown.
        OSError: it cannot be read.
    """
    if layout is not None and layout not in LAYOUTS:
        raise ValueError(f"{layout!r} is no layout; known are {', '.join(LAYOUTS)}")
    path = pathlib.Path(where).expanduser()
    name = path.absolute().stem if path.is_file() else path.absolute().name
    if not path.exists():
        path = tfds.named_folder(str(where), _given(data_dir))
        name, layout = str(where).partition(":")[0], layout or "tfds"
    place = look_over(
        path,
        captions=_given(captions),
        audio=_given(audio),
        spoken=spoken,
        names=names,
        sample_rate=sample_rate,
        subset=subset,
        exclude=_given(exclude),
    )
    found = layout or next((key for key, known in LAYOUTS.items() if known.looks_like(place)), None)
    if found is None:
        raise ValueError(
            f"{path} has nothing that sounds: no audio, archive, Parquet or TFDS dataset"
        )
    return Source(name=name, layout=found, place=place, split=split)


def _given(path: str | os.PathLike[str] | None) -> pathlib.Path | None:
    if path is None:
        return None
    found = pathlib.Path(path).expanduser()
    if not found.exists():
        raise ValueError(f"{path} is not there")
    return found
