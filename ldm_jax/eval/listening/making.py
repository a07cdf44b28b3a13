"""A whole test: what raters get, and the key that tells which system they heard."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from ldm_jax.eval.listening.assignment import latin_rows
from ldm_jax.eval.listening.checks import Kind, Trial, applicable, check_sounds, with_checks
from ldm_jax.eval.listening.loudness import integrated_loudness
from ldm_jax.eval.listening.material import Item
from ldm_jax.eval.listening.questions import Question, Scale
from ldm_jax.eval.listening.sound import PEAK, Codec, Sound, encode, matched
from ldm_jax.eval.listening.spoken import speak

FORMAT = "ldm_jax listening test 1"
# Clips that a rater hears if nobody says how many: a quarter of an hour with clips of 10 s.
LENGTH = 60
SECONDS_TO_ANSWER = 5.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How a test is made.

    Attributes:
        questions: asked of every clip.
        title: raters read it.
        intro: paragraphs that raters read first; () is a text that fits any test.
        scale: 5 for answers from 1 to 5, 100 for answers from 0 to 100.
        length: clips that a rater hears, checks not counted; None is all, or 60 if that is less.
        checks: kinds of attention checks, one of each for every rater.
        loudness: LUFS.
        seconds: clips are cut there; None leaves them whole.
        listen: the part of a clip that must have been heard before it can be rated.
        codec: "flac", or "opus" for half the size at 16 kHz and a fifth at 48 kHz.
        post: an address that gets each result as JSON, beside the rater's own copy.
        seed: of everything that is drawn.
    """

    questions: tuple[Question, ...]
    title: str = "Listening test"
    intro: tuple[str, ...] = ()
    scale: Scale = 5
    length: int | None = None
    checks: tuple[Kind, ...] = ("instruction", "noise", "mismatch", "repeat")
    loudness: float = -23.0
    seconds: float | None = None
    listen: float = 1.0
    codec: Codec = "flac"
    post: str = ""
    seed: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class ListeningTest:
    """What is to be written.

    Attributes:
        page: what the page knows: texts, questions, and for every row its (clip, text) pairs. No system.
        sounds: files by the clip's number.
        volume: the file by which raters set their volume.
        key: what the analysis needs beside the results.
        minutes: that a rater will take, about.
        remarks: what was done to clips by rule, in sentences.
    """

    page: Mapping[str, Any]
    sounds: tuple[bytes, ...]
    volume: bytes
    key: Mapping[str, Any]
    minutes: float
    remarks: tuple[str, ...]


def make(items: Sequence[Item], settings: Settings) -> ListeningTest:
    """Matches the loudness, draws the rows, numbers the clips so that a number tells nothing.

    Raises:
        ValueError: an item without the text that a question is about, more clips for a rater than there are, or
            audio that cannot be used; in one sentence.
        OSError: a file cannot be read.
    """
    if not items:
        raise ValueError("there is no item to be rated")
    texts = _texts(items, settings.questions)
    kinds = applicable(settings.checks, settings.questions, [shown for shown in texts if shown])
    systems = tuple(items[0].clips)
    special = check_sounds(kinds, settings.scale, seed=settings.seed)
    count = len(items) * len(systems) + len(special)
    numbers = np.random.default_rng([settings.seed, 3]).permutation(count).tolist()
    pairs = [(item, system) for item in range(len(items)) for system in range(len(systems))]
    number_of = dict(zip(pairs, numbers, strict=False))
    special_numbers = dict(zip(special, numbers[len(pairs) :], strict=True))
    rows = _rows(settings, kinds, texts, len(systems), number_of, special_numbers)
    sounds, clips, seconds, remarks = _sounds(items, settings, number_of)
    for name, number in special_numbers.items():
        sounds[number] = encode({"": _levelled(special[name], settings.loudness)}, settings.codec)[
            ""
        ]
        clips[number] = {"check": name}
    page = _page(settings, texts, rows)
    files = tuple(sounds[number] for number in range(count))
    page["test"] = _identity(page, files)
    known = [clips[number] for number in range(count)]
    length = max(map(len, rows))
    return ListeningTest(
        page=page,
        sounds=files,
        volume=_volume(settings),
        key=_key(page, settings, items, known, rows),
        minutes=length * (seconds / len(pairs) + SECONDS_TO_ANSWER) / 60,
        remarks=remarks,
    )


def _page(
    settings: Settings, texts: Sequence[str], rows: Sequence[Sequence[Trial]]
) -> dict[str, Any]:
    """What raters' browsers get to know: no system, no file, no check."""
    return {
        "format": FORMAT,
        "title": settings.title,
        "intro": list(settings.intro),
        "questions": [
            {"name": q.name, "ask": q.ask, "labels": q.labels, "text": q.text}
            for q in settings.questions
        ],
        "scale": settings.scale,
        "listen": settings.listen,
        "post": settings.post,
        "type": "audio/flac" if settings.codec == "flac" else "audio/ogg",
        "texts": texts,
        "rows": [[[trial.clip, trial.text] for trial in row] for row in rows],
    }


def _key(
    page: Mapping[str, Any],
    settings: Settings,
    items: Sequence[Item],
    clips: Sequence[Mapping[str, Any]],
    rows: Sequence[Sequence[Trial]],
) -> dict[str, Any]:
    """What turns a page's results into ratings of systems."""
    return {
        "format": FORMAT,
        "test": page["test"],
        "title": settings.title,
        "questions": [question.name for question in settings.questions],
        "scale": settings.scale,
        "seed": settings.seed,
        "loudness": settings.loudness,
        "systems": list(items[0].clips),
        "items": [item.name for item in items],
        "clips": clips,
        "rows": [
            [
                {"clip": t.clip, "text": t.text, **({"check": t.check} if t.check else {})}
                for t in row
            ]
            for row in rows
        ],
    }


def _texts(items: Sequence[Item], questions: Sequence[Question]) -> list[str]:
    """What is shown beside each item's clips: its caption, its transcript, or nothing."""
    about = {question.text for question in questions}
    if {"caption", "transcript"} <= about:
        raise ValueError("rel is asked about captions and mos about spoken texts: make two tests")
    if "caption" in about:
        for item in items:
            if not item.caption:
                raise ValueError(
                    f"{item.name} has no caption, and rel asks how well it is met: give --captions TABLE"
                )
        return [item.caption for item in items]
    return [item.transcript if "transcript" in about else "" for item in items]


def _rows(
    settings: Settings,
    kinds: Sequence[Kind],
    texts: Sequence[str],
    systems: int,
    number_of: Mapping[tuple[int, int], int],
    special: Mapping[str, int],
) -> list[tuple[Trial, ...]]:
    length = min(LENGTH, len(number_of)) if settings.length is None else settings.length
    square = latin_rows(items=len(texts), systems=systems, length=length, seed=settings.seed)
    generator = np.random.default_rng([settings.seed, 5])
    clips = [(number, item) for (item, _), number in number_of.items()]
    return [
        with_checks(
            [Trial(clip=number_of[pair], text=pair[0]) for pair in row],
            kinds,
            number=number,
            special=special,
            texts=texts,
            clips=clips,
            scale=settings.scale,
            generator=generator,
        )
        for number, row in enumerate(square)
    ]


def _sounds(
    items: Sequence[Item], settings: Settings, number_of: Mapping[tuple[int, int], int]
) -> tuple[dict[int, bytes], dict[int, dict[str, Any]], float, tuple[str, ...]]:
    """(files by number, what the key says of them, seconds in all, remarks)."""
    files, clips, seconds = {}, {}, 0.0
    remarks: list[str] = []
    rates: dict[str, set[str]] = {}
    for index, item in enumerate(tqdm(items, unit="item", desc="sounds", disable=None)):
        sounds, said = matched(item, target=settings.loudness, seconds=settings.seconds)
        remarks += said
        encoded = encode(sounds, settings.codec)
        for system, (name, sound) in enumerate(sounds.items()):
            number = number_of[index, system]
            files[number] = encoded[name]
            loudness = round(sound.loudness, 2) if math.isfinite(sound.loudness) else None
            clips[number] = {
                "system": name,
                "item": item.name,
                "file": str(item.clips[name].path),
                "loudness": loudness,
                "gain": round(sound.gain, 2),
            }
            seconds += len(sound.wave) / sound.rate
            rates.setdefault(name, set()).add(f"{sound.rate:,} Hz")
    told = {name: " and ".join(sorted(each)) for name, each in rates.items()}
    if len(set(told.values())) > 1:
        each = ", ".join(f"{name} {rate}" for name, rate in told.items())
        remarks.append(f"the systems have different sample rates, which raters may hear: {each}")
    return files, clips, seconds, tuple(remarks)


def _levelled(sound: Sound, target: float) -> Sound:
    gain = target - integrated_loudness(sound.wave, sound.rate)
    wave = np.clip(sound.wave * np.float32(10 ** (gain / 20)), -PEAK, PEAK)
    return dataclasses.replace(sound, wave=wave)


def _volume(settings: Settings) -> bytes:
    """Speech, or noise where nothing speaks, as loud as the clips."""
    try:
        wave, rate = speak(
            "This is how loud the sounds will be. Choose a comfortable volume, and leave it there."
        )
    except ValueError:
        return encode(
            {"": check_sounds(["noise"], 5, seed=settings.seed)["noise"]}, settings.codec
        )[""]
    sound = Sound(wave=wave, rate=rate, loudness=0.0, gain=0.0)
    return encode({"": _levelled(sound, settings.loudness)}, settings.codec)[""]


def _identity(page: Mapping[str, Any], files: Sequence[bytes]) -> str:
    """Twelve digits that change with anything that raters see or hear."""
    digest = hashlib.sha256(json.dumps(page, sort_keys=True).encode())
    for file in files:
        digest.update(hashlib.sha256(file).digest())
    return digest.hexdigest()[:12]
