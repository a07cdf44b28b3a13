"""The same test as files for webMUSHRA (Schoeffler et al., Journal of Open Research Software 6, 2018)."""

import dataclasses
import hashlib
import html
import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import soundfile
from tqdm import tqdm

from ldm_jax.audio.files import whole_file
from ldm_jax.audio.resampling import resample
from ldm_jax.eval.listening.key import WEBMUSHRA_FORMAT
from ldm_jax.eval.listening.material import Item
from ldm_jax.eval.listening.questions import Question
from ldm_jax.eval.listening.sound import Sound, matched

# The usual rate of devices: webMUSHRA wants the device's, and one rate, length and number of channels a page.
RATE = 48_000
MOST_CONDITIONS, MOST_SECONDS = (
    12,
    12.0,
)  # of a strict MUSHRA page, the hidden reference and anchors counted


@dataclasses.dataclass(frozen=True, kw_only=True)
class Export:
    """How it is written.

    Attributes:
        questions: of pages with one clip; () makes MUSHRA pages.
        reference: the system that is the reference of MUSHRA pages.
        title: raters read it.
        intro: paragraphs that raters read first.
        loudness: LUFS.
        seconds: clips are cut there; None leaves them whole.
        seed: of the order in which clips get their names.
    """

    questions: tuple[Question, ...]
    reference: str | None = None
    title: str = "Listening test"
    intro: tuple[str, ...] = ()
    loudness: float = -23.0
    seconds: float | None = None
    seed: int = 0


def export(items: Sequence[Item], folder: pathlib.Path, settings: Export) -> tuple[str, ...]:
    """Writes `configs/ID.yaml` and its sounds, to be copied into webMUSHRA, and the key beside the folder.

    MUSHRA pages have webMUSHRA's own hidden reference and anchors of 3.5 and 7 kHz. Others have one clip and all
    questions, from 1 to 5. Clips are called c001 ... in an order that is drawn.

    Returns:
        What is to be said of it, in lines.

    Raises:
        ValueError: no such reference, or clips that webMUSHRA would refuse, in one sentence.
        OSError: a file cannot be read or written.
    """
    systems = list(items[0].clips)
    _check(items, systems, folder, settings)
    judged = [name for name in systems if name != settings.reference]
    count = len(items) * len(judged)
    numbers = np.random.default_rng([settings.seed, 6]).permutation(count).reshape(len(items), -1)
    named = f"{settings}{[item.name for item in items]}{systems}"  # every choice makes another test
    identity = "test_" + hashlib.sha256(named.encode()).hexdigest()[:8]
    place = f"configs/{identity}"
    pages: list[Any] = []
    known: dict[str, Any] = {}
    remarks: list[str] = []
    for index, item in enumerate(tqdm(items, unit="item", desc="sounds", disable=None)):
        sounds, said = matched(item, target=settings.loudness, seconds=settings.seconds)
        remarks += said
        waves = _alike(sounds, together=not settings.questions)
        ids = {f"c{numbers[index, i]:03d}": name for i, name in enumerate(judged)}
        for clip, name in ids.items():
            _write(folder / place / f"{clip}.wav", waves[name])
        made, trials = _pages(item, index, ids, place, settings)
        pages += made
        for trial, stimuli in trials.items():
            known[trial] = {"item": item.name, "stimuli": stimuli}
        if not settings.questions:
            assert settings.reference is not None
            _write(folder / place / f"r{index:03d}.wav", waves[settings.reference])
    config = _config(identity, pages, f"{place}/{_loud(items, settings)}", settings)
    with whole_file(folder / "configs" / f"{identity}.yaml") as temporary:
        temporary.write_text(_yaml(config), encoding="utf-8")
    key = {
        "format": WEBMUSHRA_FORMAT,
        "test": identity,
        "title": settings.title,
        "questions": [question.name for question in settings.questions] or ["mushra"],
        "scale": 5 if settings.questions else 100,
        "systems": systems,
        "reference": settings.reference or "",
        "pages": known,
    }
    key_path = folder.with_name(f"{folder.name}.key.json")
    with whole_file(key_path) as temporary:
        temporary.write_text(json.dumps(key, indent=1) + "\n")
    return (
        *(f"note: {remark}" for remark in remarks),
        f"{folder}: {len(known)} pages for webMUSHRA; copy `configs` into it and open ?config={identity}.yaml",
        f"{key_path}: which clip is whose. Keep it from raters; the analysis of results/{identity}/*.csv needs it.",
    )


def _check(
    items: Sequence[Item], systems: Sequence[str], folder: pathlib.Path, settings: Export
) -> None:
    if folder.exists():
        raise ValueError(f"{folder} is there already; give a new folder, or remove it first")
    if settings.reference is not None and settings.reference not in systems:
        raise ValueError(
            f"--reference is {settings.reference!r}; the systems are {', '.join(systems)}"
        )
    if not settings.questions and settings.reference is None:
        raise ValueError(
            "mushra compares with a reference: give --reference NAME, which is one of the systems"
        )
    if not settings.questions and len(systems) < 2:
        raise ValueError("mushra needs another system beside the reference")
    if not settings.questions and len(systems) > MOST_CONDITIONS - 2:
        raise ValueError(
            f"there are {len(systems)} systems; webMUSHRA takes {MOST_CONDITIONS} with two anchors on a page"
        )
    for item in items:
        if any(question.text == "caption" for question in settings.questions) and not item.caption:
            raise ValueError(
                f"{item.name} has no caption, and rel asks how well it is met: give --captions TABLE"
            )


def _loud(items: Sequence[Item], settings: Export) -> str:
    """The first page's sound, by which the volume is set."""
    return "r000.wav" if not settings.questions else "c000.wav"


def _alike(sounds: Mapping[str, Sound], *, together: bool) -> dict[str, np.ndarray]:
    """At 48 kHz; on a common page of the same length too, silence filled in at the end.

    Raises:
        ValueError: a clip on a MUSHRA page that is longer than webMUSHRA allows.
    """
    waves = {name: resample(s.wave.T, s.rate, RATE).T for name, s in sounds.items()}
    if not together:
        return waves
    length = max(map(len, waves.values()))
    if length > MOST_SECONDS * RATE:
        raise ValueError(
            f"a clip has {length / RATE:.1f} s; webMUSHRA takes {MOST_SECONDS:g} s: give --seconds {MOST_SECONDS:g}"
        )
    return {name: np.pad(w, ((0, length - len(w)), (0, 0))) for name, w in waves.items()}


def _write(path: pathlib.Path, wave: np.ndarray) -> None:
    samples = np.rint(np.clip(wave, -1, 1).astype(np.float64) * 32767).astype(np.int16)
    with whole_file(path) as temporary:
        soundfile.write(temporary, samples, RATE, format="WAV", subtype="PCM_16")


def _pages(
    item: Item, index: int, ids: Mapping[str, str], place: str, settings: Export
) -> tuple[list[dict[str, Any]], dict[str, dict[str, str]]]:
    """(webMUSHRA's pages of an item, system by clip for each trial)."""
    if not settings.questions:
        page = {
            "type": "mushra",
            "id": f"item{index:03d}",
            "name": settings.title,
            "content": "Rate how close each sound comes to the reference.",
            "showWaveform": False,
            "enableLooping": True,
            "randomize": True,
            "showConditionNames": False,
            "reference": f"{place}/r{index:03d}.wav",
            "createAnchor35": True,
            "createAnchor70": True,
            "stimuli": {clip: f"{place}/{clip}.wav" for clip in ids},
        }
        return [page], {page["id"]: dict(ids)}
    pages, trials = [], {}
    about = {question.text for question in settings.questions}
    shown = item.caption if "caption" in about else item.transcript if "transcript" in about else ""
    told = [f"<b>{html.escape(shown)}</b>"] if shown else []
    told += [
        f"{question.ask} ({'first' if number == 0 else 'second' if number == 1 else 'last'} scale)"
        if len(settings.questions) > 1
        else question.ask
        for number, question in enumerate(settings.questions)
    ]
    for clip, system in ids.items():
        trials[f"trial_{clip}"] = {clip: system}
        scales = [
            [
                {"value": i + 1, "label": f"{i + 1} {label}"}
                for i, label in enumerate(question.labels)
            ]
            for question in settings.questions
        ]
        pages.append(
            {
                "type": "likert_single_stimulus",
                "id": f"trial_{clip}",
                "name": settings.title,
                "content": "<br>".join(told),
                "showWaveform": False,
                "mustRate": True,
                "mustPlayback": "ended",
                "stimuli": {clip: f"{place}/{clip}.wav"},
                "response": scales,
            }
        )
    return pages, trials


def _config(identity: str, pages: list[Any], loud: str, settings: Export) -> dict[str, Any]:
    intro = settings.intro or (
        "You will hear sounds, and say of each what you think of it.",
        "Put on headphones, and go where it is quiet.",
    )
    welcome = "".join(f"<p>{html.escape(line)}</p>" for line in intro)
    return {
        "testname": settings.title,
        "testId": identity,
        "bufferSize": 2048,
        "stopOnErrors": True,
        "showButtonPreviousPage": True,
        "remoteService": "service/write.php",
        "pages": [
            {"type": "generic", "id": "welcome", "name": settings.title, "content": welcome},
            {"type": "volume", "id": "volume", "name": "Volume", "content": "Choose a comfortable volume.",
             "stimulus": loud, "defaultVolume": 0.5},
            ["random", *pages],
            {"type": "finish", "name": "Thank you", "content": "Please send your answers.", "showResults": False,
             "writeResults": True,
             "questionnaire": [{"type": "text", "label": "Your name or number", "name": "rater"}]},
        ],
    }  # fmt: skip


def _yaml(value: Any, depth: int = 0) -> str:
    """Block YAML; texts are quoted as in JSON, which YAML reads alike."""
    pad = "    " * depth
    if isinstance(value, dict):
        lines = [f"{pad}{name}:{_after(each, depth)}" for name, each in value.items()]
    else:
        lines = [f"{pad}-{_after(each, depth)}" for each in value]
    return "".join(lines)


def _after(value: Any, depth: int) -> str:
    if isinstance(value, dict | list | tuple):
        return "\n" + _yaml(value, depth + 1)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} cannot be written as YAML")
    return f" {json.dumps(value)}\n"
