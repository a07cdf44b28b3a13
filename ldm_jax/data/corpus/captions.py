"""Captions of music, from what a tagger heard in each stretch of 10.24 s.

The tags are musicnn's (Pons and Serra, "musicnn: pre-trained convolutional neural networks for music audio
tagging", 2019; the MagnaTagATune model): 50 words with a probability each. They were computed once; `music_tags.tsv`
holds them by the content hash of a track, so that building the corpus needs no network. A track that is not
there (another version of a package) keeps the caption of its package.
"""

import dataclasses
import functools
import importlib.resources
from collections.abc import Mapping, Sequence

SEGMENT = 10.24  # seconds
# Words of the tagger by what they say. A caption takes at most 1, 2 and 3 of the first three, the likeliest first.
MANNERS = ("slow", "fast", "soft", "loud", "quiet", "weird")
GENRES = (
    "classical", "techno", "electronic", "rock", "ambient", "pop", "indian", "opera", "new age", "dance", "country",
    "metal",
)  # fmt: skip
INSTRUMENTS = (
    "guitar", "strings", "drums", "piano", "violin", "synth", "harpsichord", "flute", "sitar", "choir", "harp", "cello",
)  # fmt: skip
VOICES = (
    "vocal", "vocals", "singing", "female", "male", "female vocal", "male vocal", "female voice", "male voice", "voice",
    "woman", "man", "choral", "choir",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tags:
    """What the tagger heard in a segment.

    Attributes:
        likely: tags of a probability of at least 0.18, likeliest first; the caption is made of them.
        probabilities: of the six likeliest tags.
    """

    likely: tuple[str, ...]
    probabilities: Mapping[str, float]


def music_caption(likely: Sequence[str], place: str) -> str:
    """`likely` as "slow classical music with piano and violin", with `place` (where it is from) behind it."""
    manner = [tag for tag in likely if tag in MANNERS][:1]
    genres = [tag for tag in likely if tag in GENRES][:2]
    instruments = [tag for tag in likely if tag in INSTRUMENTS][:3]
    if "classic" in likely and "classical" not in genres:
        genres = ["classical", *genres]
    caption = " ".join([*manner, *genres, "music"])
    if instruments:
        *others, last = instruments
        caption += " with " + (", ".join(others) + " and " if others else "") + last
    elif "beat" in likely or "beats" in likely:
        caption += " with a beat"
    if any(tag in VOICES for tag in likely):
        caption += (" and" if instruments else " with") + " vocals"
    return f"{caption}, {place}"


@functools.cache
def music_tags() -> Mapping[tuple[str, int], Tags]:
    """{(package and hash of the track, number of the segment): its tags} of the whole corpus."""
    table = importlib.resources.files("ldm_jax.data.corpus") / "music_tags.tsv"
    return dict(read_tags(table.read_text(encoding="utf-8")))


def read_tags(text: str) -> list[tuple[tuple[str, int], Tags]]:
    """The entries of a table of tags.

    A line is a track: package, hash, and behind a tab each of its segments, as in `3:techno55,drums25|rock9`: its
    number, and tags with their probability in hundredths, likeliest first; "|" stands before those below 0.18. Behind
    the sixth only such stand as the caption needs, and without a probability.
    """
    entries = []
    for line in text.splitlines():
        package, hashed, *segments = line.split("\t")
        for segment in segments:
            number, _, tags = segment.partition(":")
            likely = [_tag(text) for text in tags.partition("|")[0].split(",") if text]
            others = [_tag(text) for text in tags.partition("|")[2].split(",") if text]
            entry = Tags(
                likely=tuple(name for name, _ in likely),
                probabilities={name: p for name, p in likely + others if p is not None},
            )
            entries.append(((f"{package}/{hashed}", int(number)), entry))
    return entries


def _tag(text: str) -> tuple[str, float | None]:
    name = text.rstrip("0123456789")
    return name, int(text[len(name) :]) / 100 if name != text else None
