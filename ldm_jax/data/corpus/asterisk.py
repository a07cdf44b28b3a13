"""Telephone prompts of Asterisk in five languages, each read by one professional voice."""

import functools
import gzip
import pathlib
import re
from collections.abc import Iterator

from ldm_jax.data.corpus import g722
from ldm_jax.data.corpus.recordings import Collector, Description, Found, audio_files, sound

VOICES = {
    "en": "a woman with an American accent speaking a telephone voice prompt in English",
    "es": "a woman speaking a telephone voice prompt in Spanish",
    "fr": "a woman speaking a telephone voice prompt in French",
    "it": "a man speaking a telephone voice prompt in Italian",
    "ru": "a woman speaking a telephone voice prompt in Russian",
}


def prompts(language: str) -> Collector:
    """The collector of a language's packages (the recordings and, beside them, the texts)."""
    return functools.partial(_collect, language=language)


def _collect(folder: pathlib.Path, *, language: str) -> Iterator[Found]:
    texts = {}
    for path in sorted(folder.glob("usr/share/doc/*/core-sounds-*.txt.gz")):
        texts.update(read_texts(gzip.decompress(path.read_bytes()).decode(errors="replace")))
    files = audio_files(folder)
    waves = g722.decode([path.read_bytes() for path, _ in files])
    for (_, name), wave in zip(files, waves, strict=True):
        yield name, wave, describe(name, texts, language)


def read_texts(text: str) -> dict[str, str]:
    """{"digits/1": "one", ...} of lines "digits/1: one"; a line that begins with ";" is a comment."""
    lines = (re.match(r"\s*([\w/-]+)\s*:\s*(.+)$", line) for line in text.splitlines())
    return {line[1]: line[2].strip() for line in lines if line}


def describe(name: str, texts: dict[str, str], language: str) -> Description | None:
    """A prompt with its text; a text in brackets describes a sound, elsewhere it is a note to the reader."""
    prompt = re.sub(r"^.*/sounds/[^/]+/", "", name).removesuffix(".g722")
    text = texts.get(prompt)
    if not text or prompt.startswith("silence/"):
        return None
    if text.startswith("["):
        if language != "en":
            return None
        heard = re.sub(r"this is (a |an )?", "", text.strip("[]")).strip()
        return sound(heard if "monkeys" in heard else f"a telephone tone: {heard}", 2)
    return Description(
        kind="speech",
        caption=VOICES[language],
        quality=3,
        transcript=re.sub(r"\s*\[[^\]]*\]", "", text),
        language=language,
        speaker=f"asterisk-{language}",
    )
