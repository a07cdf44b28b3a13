"""Whose the recordings are: `ATTRIBUTION.md`, and the licence texts and credits of every package beside it."""

import dataclasses
import gzip
import pathlib
import re

from ldm_jax.data.corpus.fetching import TEXTS
from ldm_jax.data.corpus.recordings import audio_files, is_audio

HEAD = """# Attribution

The recordings of this folder come from the Debian packages below. They were changed: mixed down to one channel at
16 kHz, ends of sounds and of speech trimmed of silence, very soft and very loud ones levelled, encoded as Opus.
Captions are made by rule from the names and texts in the packages; captions of music from tags that musicnn (ISC
licence) computed.

Each row of `manifest.jsonl` names its package, and its licence in short. Where a package says more, its table below has
owner and licence by file of the source package; a later line goes before an earlier one, so that `*` is about files
that no other line names, programs among them. Whoever passes on recordings under CC-BY or CC-BY-SA has to name authors,
licence and changes: this file and the folder `licences/` do so, and have to go along. Adaptations of recordings under
CC-BY-SA are to be under the same licence.
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stanza:
    """Files of a source package with one owner and licence, as `debian/copyright` has them."""

    files: tuple[str, ...]
    copyright: str
    licence: str
    source: str = ""


def read_copyright(text: str) -> list[Stanza]:
    """The stanzas of a `debian/copyright` file about files; none where it is free text.

    The format is that of https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/.
    """
    stanzas = []
    if not text.startswith("Format"):
        return []
    for paragraph in re.split(r"\n[ \t]*\n", text):
        fields = {
            match[1].lower(): " ".join(match[2].split())
            for match in re.finditer(r"^([\w-]+):(.*(?:\n[ \t].*)*)", paragraph, re.MULTILINE)
        }
        first = re.search(r"^License:[ \t]*(.*)", paragraph, re.MULTILINE)
        if "files" in fields and "copyright" in fields:
            stanza = Stanza(
                files=tuple(fields["files"].split()),
                copyright=fields["copyright"],
                licence=first[1].strip() if first else "",
                source=fields.get("source", ""),
            )
            stanzas.append(stanza)
    return stanzas


def about_audio(stanza: Stanza) -> bool:
    """Whether a stanza is about all files, or names audio or a folder of it; Debian's own files are not."""
    folder = re.compile(r"(.*(sound|audio|music|wav|samples).*|[a-z]{2}-)?\*", re.IGNORECASE)
    return any(
        is_audio(pattern) or folder.fullmatch(pattern)  # "fr-*" are a language's prompts
        for pattern in stanza.files
        if not pattern.startswith("debian/")
    )


def notes(package: str, unpacked: pathlib.Path) -> dict[str, str]:
    """{file name: text} of a package's copyright file and of notes that lie with its recordings."""
    documents = unpacked / "usr/share/doc" / package
    folders = {parent for path, _ in audio_files(unpacked) for parent in path.parents} | {documents}
    texts = {}
    for path in sorted(unpacked.rglob("*")):
        if path.is_dir() or path.parent not in folders:
            continue
        if is_audio(path.name) or not TEXTS.search(path.name):
            continue
        data = path.read_bytes()
        if path.suffix == ".gz" and data:
            data = gzip.decompress(data)
        place = path.relative_to(documents if path.parent == documents else unpacked)
        if data:
            name = place.as_posix().removesuffix(".gz").replace("/", "_")
            texts[name] = data.decode(errors="replace")
    return texts


def section(package: str, *, version: str, licence: str, clips: int, texts: dict[str, str]) -> str:
    """A package's part of `ATTRIBUTION.md`."""
    copyright_text = texts.get("copyright", "")
    stanzas = [stanza for stanza in read_copyright(copyright_text) if about_audio(stanza)]
    source = re.search(
        r"^Source:\s*(\S+)|downloaded from[\s`]*(\S+?)'?\.?$", copyright_text, re.MULTILINE
    )
    lines = [
        f"## {package} {version}",
        "",
        f"{clips} file{'s' * (clips != 1)}; licence on their rows: {licence}.",
        "",
        f"Licence and owners: `licences/{package}/copyright` (in Debian `/usr/share/doc/{package}/copyright`).",
    ]
    if source:
        lines.append(f"From {source[1] or source[2]}.")
    others = [name for name in texts if name != "copyright"]
    if others:
        lines.append(
            "Notes of the authors: "
            + ", ".join(f"`licences/{package}/{name}`" for name in others)
            + "."
        )
    if stanzas:
        lines += ["", "| files | owner | licence | source |", "|---|---|---|---|"]
        for stanza in stanzas:
            cells = (" ".join(stanza.files), stanza.copyright, stanza.licence, stanza.source)
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"
