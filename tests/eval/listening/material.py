"""Clips of made-up systems, and raters who answer by rule."""

import csv
import json

import numpy as np
import soundfile

RATE = 16_000
SYSTEMS = ("zebra", "okapi", "lemur")  # words that stand nowhere else
CAPTIONS = (
    "a deep tone",
    "a <b>high</b> tone & more",
    "an </script> tone",
    'a tone of "five" \' hundred',
    "un son é",
)


def tone(hertz, seconds, *, level=0.1, rate=RATE, channels=1):
    time = np.arange(round(seconds * rate)) / rate
    return np.repeat(level * np.sin(2 * np.pi * hertz * time)[:, None], channels, axis=1)


def write_systems(root, *, systems=SYSTEMS, captions=CAPTIONS, seconds=0.5):
    """Folders of tones, each system at a level of its own, and a table of captions; (folders, table)."""
    folders = {}
    for number, name in enumerate(systems):
        folders[name] = root / name
        folders[name].mkdir(parents=True)
        for item in range(len(captions)):
            wave = tone(
                200 + 100 * item + 30 * number, seconds + 0.1 * item, level=0.05 + 0.1 * number
            )
            soundfile.write(folders[name] / f"clip{item}.wav", wave, RATE)
    table = root / "captions.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("file", "caption"))
        rows.writerows((f"clip{item}.wav", caption) for item, caption in enumerate(captions))
    return folders, table


def arguments_of(folders, table):
    """The command line that names them."""
    given = [part for name, folder in folders.items() for part in ("--system", f"{name}={folder}")]
    return [*given, "--captions", str(table)]


def right_answer(check, question, scale):
    """What one who listens says of a check; None where that depends on an earlier answer."""
    low, high = (1, 5) if scale == 5 else (0, 100)
    return {
        "instruction": check.get("answer"),
        "noise": low,
        "mismatch": low if question == "rel" else high,
    }.get(check["kind"])


def result_of(key, row, *, rater="", rating, fail=(), until=None, session=None):
    """A result as the page writes it, of a rater who rates by `rating(system, item, question)`.

    Args:
        key: of the test, as in its file.
        row: whose trials.
        rater: as in the link.
        rating: of clips; checks are passed, but for those of a kind in `fail`.
        fail: kinds of checks.
        until: trials that were rated; None is all.
        session: of the browser.
    """
    answers = []
    trials = key["rows"][row]
    for number, trial in enumerate(trials[:until]):
        clip, check = key["clips"][trial["clip"]], trial.get("check")
        if not check:
            ratings = {q: rating(clip["system"], clip["item"], q) for q in key["questions"]}
        elif check["kind"] == "repeat":
            ratings = dict(answers[check["of"]]["ratings"])
        else:
            ratings = {q: right_answer(check, q, key["scale"]) for q in key["questions"]}
        if check and check["kind"] in fail:
            top, bottom = (5, 1) if key["scale"] == 5 else (100, 0)
            ratings = {
                q: bottom if value > top / 2 and check["kind"] != "mismatch" else top
                for q, value in ratings.items()
            }
        answers.append({"trial": number, "clip": trial["clip"], "text": trial["text"], "ratings": ratings,
                        "heard": True, "plays": 1, "seconds": 6.0})  # fmt: skip
    whole = len(answers) == len(trials)
    return {
        "format": key["format"], "test": key["test"], "title": key["title"], "rater": rater,
        "session": session or f"session-{rater}-{row}", "row": row, "started": "2026-01-01T10:00:00.000Z",
        "finished": f"2026-01-01T11:00:{row:02d}.000Z" if whole else None, "device": "headphones", "comment": "",
        "answers": answers,
    }  # fmt: skip


def write_result(path, result):
    path.write_text(json.dumps(result))
    return path
