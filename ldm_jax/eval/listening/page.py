"""The page that raters open, as one file or as a folder."""

import base64
import importlib.resources
import json
import pathlib

import numpy as np

from ldm_jax.audio.files import whole_file
from ldm_jax.data.show.escaping import text
from ldm_jax.eval.listening.making import ListeningTest

SCRIPTS = (
    "rater.js",
    "player.js",
    "trial.js",
    "end.js",
    "page.js",
)  # in the order in which they run
SUFFIXES = {"audio/flac": ".flac", "audio/ogg": ".ogg"}


def write_page(test: ListeningTest, path: pathlib.Path) -> int:
    """Writes one HTML file with every sound in it; its bytes.

    Sounds stand in it by number, in base64; those of an item are filled up with blanks to one length.
    """
    coded = [base64.b64encode(sound).decode() for sound in (*test.sounds, test.volume)]
    longest: dict[str, int] = {}
    items = [clip.get("item", "") for clip in test.key["clips"]]
    for item, each in zip(items, coded, strict=False):
        longest[item] = max(longest.get(item, 0), len(each))
    coded[: len(items)] = [
        each.ljust(longest[item]) for item, each in zip(items, coded, strict=False)
    ]
    names = [*map(str, range(len(test.sounds))), "volume"]
    sounds = "".join(
        f'<script type="text/plain" id="sound-{name}">{each}</script>\n'
        for name, each in zip(names, coded, strict=True)
    )
    content = html(test, sounds=sounds).encode()
    with whole_file(path) as temporary:
        temporary.write_bytes(content)
    return len(content)


def write_folder(test: ListeningTest, folder: pathlib.Path) -> int:
    """Writes `index.html`, and the sounds beside it in `sounds/`, for a web server or as it lies; their bytes.

    Raises:
        ValueError: the folder holds something already.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is there already; give a new folder, or remove it first")
    suffix = SUFFIXES[test.page["type"]]
    names = [*map(str, range(len(test.sounds))), "volume"]
    for name, sound in zip(names, (*test.sounds, test.volume), strict=True):
        with whole_file(folder / "sounds" / f"{name}{suffix}") as temporary:
            temporary.write_bytes(sound)
    content = html(test, folder=f"sounds/NAME{suffix}").encode()
    with whole_file(
        folder / "index.html"
    ) as temporary:  # last: a page is never there without its sounds
        temporary.write_bytes(content)
    return len(content) + sum(map(len, test.sounds)) + len(test.volume)


def html(test: ListeningTest, *, sounds: str = "", folder: str = "") -> str:
    """The page, with its sounds or with where they lie."""
    static = importlib.resources.files("ldm_jax.eval.listening") / "static"
    style, body, *scripts = (
        (static / name).read_text(encoding="utf-8") for name in ("page.css", "page.html", *SCRIPTS)
    )
    page = {**test.page, "folder": folder, "minutes": int(np.ceil(test.minutes))}
    # "<" would let a caption end the script.
    data = json.dumps(page, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")
    return "".join(
        (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark"><meta name="robots" content="noindex">',
            '<link rel="icon" href="data:,">',
            f"<title>{text(test.page['title'])}</title><style>{style}</style></head><body>",
            body,
            f'<script type="application/json" id="test">{data}</script>\n',
            sounds,
            f"<script>{''.join(scripts)}</script></body></html>\n",
        )
    )
