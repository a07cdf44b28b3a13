"""Results of webMUSHRA: mushra.csv and lss.csv, as its service/write.php makes them."""

import csv
import pathlib
from collections.abc import Mapping
from typing import Any

from ldm_jax.eval.listening.key import Key
from ldm_jax.eval.listening.questions import bounds

HIDDEN = "reference"
# ITU-R BS.1534-3, 4.1.2: a rater who rates the hidden reference below 90 in more than 15 % of the trials is left out.
REFERENCE_AT_LEAST = 90
REFERENCE_LIMIT = 0.15

Found = list[tuple[dict[str, Any], list[tuple[str, str, str, float]]]]


def read_csv(path: pathlib.Path, key: Key) -> tuple[Found, list[str]]:
    """(fields of a result and its (item, system, question, value) ratings, a pair a rater; what was left out).

    A rater is a session_uuid where there is one, as for MUSHRA, or else the answer to the questionnaire's "rater".

    Raises:
        ValueError: the end of a sentence that says what is wrong with the file.
    """
    if not key.pages:
        raise ValueError("it is of webMUSHRA, but the key is of a page")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    mushra = bool(rows) and "rating_score" in rows[0]
    if not rows or not (mushra or any(name.startswith("stimuli_rating") for name in rows[0])):
        raise ValueError("it has none of webMUSHRA's rows for mushra or likert_single_stimulus")
    by_rater: dict[str, list[Mapping[str, str]]] = {}
    strangers = 0
    for number, row in enumerate(rows, start=2):
        if row.get("session_test_id") != key.test:
            strangers += 1
            continue
        rater = row.get("session_uuid") or row.get("rater")
        if not rater:
            raise ValueError(
                f"line {number} does not tell the rater: no session_uuid, and no answer to 'rater'"
            )
        by_rater.setdefault(rater, []).append(row)
    remarks = [f"{path}: {strangers} lines of other tests are left out"] if strangers else []
    found: Found = []
    for rater, theirs in by_rater.items():
        fields = {"rater": theirs[0].get("rater") or rater, "session": rater, "source": str(path)}
        read = _mushra(theirs, key) if mushra else _single(theirs, key)
        found.append(({**fields, **read[0]}, read[1]))
    return found, remarks


def _mushra(rows: list[Mapping[str, str]], key: Key) -> tuple[dict[str, Any], list[Any]]:
    ratings, checks = [], []
    for row in rows:
        page = _page(row, key)
        stimulus, score = row["rating_stimulus"], _number(row["rating_score"], key)
        system = page["stimuli"].get(
            stimulus, stimulus
        )  # reference, anchor35 and anchor70 are webMUSHRA's own
        if system == HIDDEN:
            checks.append(("reference", score >= REFERENCE_AT_LEAST))
            system = key.reference or HIDDEN
        ratings.append((page["item"], system, "mushra", score))
    seen = len({row["trial_id"] for row in rows})
    known = {
        "rated": seen,
        "trials": len(key.pages),
        "checks": tuple(checks),
        "limit": REFERENCE_LIMIT,
    }
    return known, ratings


def _single(rows: list[Mapping[str, str]], key: Key) -> tuple[dict[str, Any], list[Any]]:
    columns = sorted(name for name in rows[0] if name.startswith("stimuli_rating"))
    if len(columns) != len(key.questions):
        raise ValueError(
            f"it has {len(columns)} ratings a line; the key has {len(key.questions)} questions"
        )
    ratings = []
    for row in rows:
        page = _page(row, key)
        if row["stimuli"] not in page["stimuli"]:
            raise ValueError(f"its stimulus {row['stimuli']!r} is not in the key")
        for question, column in zip(key.questions, columns, strict=True):
            if row[column].strip() != "NA":
                value = _number(row[column], key)
                ratings.append((page["item"], page["stimuli"][row["stimuli"]], question, value))
    return {"rated": len(rows), "trials": len(key.pages)}, ratings


def _page(row: Mapping[str, str], key: Key) -> Mapping[str, Any]:
    if row["trial_id"] not in key.pages:
        raise ValueError(f"its trial {row['trial_id']!r} is not in the key")
    return key.pages[row["trial_id"]]


def _number(written: str, key: Key) -> float:
    low, high = bounds(key.scale)
    try:
        value = float(written)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise ValueError(f"it has a rating {written!r}; {low} to {high} is expected")
    return value
