"""What raters answered, set against the key."""

import dataclasses
import datetime
import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ldm_jax.eval.listening.checks import passed
from ldm_jax.eval.listening.key import Key
from ldm_jax.eval.listening.making import FORMAT
from ldm_jax.eval.listening.questions import bounds
from ldm_jax.eval.listening.webmushra_results import read_csv


class Rating(NamedTuple):
    """One answer."""

    item: str
    system: str
    question: str
    value: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """One rater's answers.

    Attributes:
        rater: who, as the link said, or else the session.
        session: made by the browser; the same in every copy of one result.
        source: the file.
        ratings: of the systems.
        rated: trials with all their answers, checks included.
        trials: that were to be rated.
        checks: (kind, whether it was passed) of each attention check that was answered.
        limit: the share of checks that may be failed, where a standard says it; None is the analysis's own.
        finished: when, as the browser wrote it; "" if never.
        device: what they listened with.
        minutes: on the clips' pages; None unknown.
        comment: in their words.
    """

    rater: str
    session: str
    source: str
    ratings: tuple[Rating, ...]
    rated: int
    trials: int
    checks: tuple[tuple[str, bool], ...] = ()
    limit: float | None = None
    finished: str = ""
    device: str = ""
    minutes: float | None = None
    comment: str = ""


def read_results(
    paths: Sequence[pathlib.Path], key: Key
) -> tuple[tuple[Result, ...], tuple[str, ...]]:
    """(one result a rater, what was left out and why).

    The same result in two files counts once, in its fuller state. Of two results under one rater's name the one that
    was finished first counts.

    Args:
        paths: JSON files of the page, CSV files of webMUSHRA, or folders of either.
        key: of the test.

    Raises:
        ValueError: a path is not there, or no file has a result of this test.
        OSError: a file cannot be read.
    """
    results: list[Result] = []
    problems: list[str] = []
    for path in _files(paths):
        try:
            if path.suffix.lower() == ".csv":
                found, remarks = read_csv(path, key)
                results += [
                    Result(**each, ratings=tuple(Rating(*r) for r in ratings))
                    for each, ratings in found
                ]
                problems += remarks
            elif one := _read_json(path, key):
                results.append(one)
        except ValueError as error:
            problems.append(f"{path} is left out: {error}")
    kept, doubles = _one_each(results)
    if not kept:
        why = f": {problems[0]}" if problems else ""
        raise ValueError(f"there is no result of test {key.test} ({key.title}){why}")
    return kept, (*problems, *doubles)


def _files(paths: Iterable[pathlib.Path]) -> Iterable[pathlib.Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(p for p in path.iterdir() if p.suffix.lower() in (".json", ".csv"))
        elif path.exists():
            yield path
        else:
            raise ValueError(f"{path} is not there")


def _read_json(path: pathlib.Path, key: Key) -> Result | None:
    """The result in a file; None for a key.

    Raises:
        ValueError: the end of a sentence that says what is wrong.
    """
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise ValueError("it is not whole, or no JSON") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ValueError("it is not a result of a listening test")
    if "systems" in found:
        return None
    if found.get("test") != key.test:
        title = str(found.get("title", ""))[:60]
        raise ValueError(
            f"it is of another test, {found.get('test')} ({title}); the key is of {key.test}"
        )
    try:
        return _result(found, key, str(path))
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"it was changed or cut ({type(error).__name__}: {error})") from None


def _result(found: Mapping[str, Any], key: Key, source: str) -> Result:
    row = key.rows[_index(found["row"], len(key.rows))]
    answers: dict[int, Mapping[str, float]] = {}
    seconds = 0.0
    for answer in found["answers"]:
        trial = _index(answer["trial"], len(row))
        if answer["clip"] != row[trial]["clip"]:
            raise ValueError(f"its trial {trial} is not the clip of its row in the key")
        answers[trial] = _checked(answer["ratings"], key, trial)
        seconds += float(answer.get("seconds", 0))
    whole = {t: r for t, r in answers.items() if r.keys() == set(key.questions)}
    ratings, checks = [], []
    for trial, given in sorted(answers.items()):
        check = row[trial].get("check")
        if not check:
            clip = key.clips[row[trial]["clip"]]
            ratings += [Rating(clip["item"], clip["system"], q, v) for q, v in given.items()]
        elif trial in whole and (check["kind"] != "repeat" or check["of"] in whole):
            before = whole.get(check.get("of"))
            checks.append((check["kind"], passed(check, given, before=before, scale=key.scale)))
    return Result(
        rater=" ".join(str(found.get("rater") or f"session {found['session']}").split())[:80],
        session=str(found["session"]),
        source=source,
        ratings=tuple(ratings),
        rated=len(whole),
        trials=len(row),
        checks=tuple(checks),
        finished=_moment(found.get("finished")),
        device=str(found.get("device", "")),
        minutes=seconds / 60,
        comment=str(found.get("comment", "")),
    )


def _index(value: Any, length: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < length:
        raise ValueError(f"it has row or trial {value!r}, but the key has {length}")
    return value


def _checked(ratings: Mapping[str, Any], key: Key, trial: int) -> dict[str, float]:
    low, high = bounds(key.scale)
    for name, value in ratings.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if name not in key.questions or not number or not low <= value <= high:
            raise ValueError(
                f"its trial {trial} answers {name!r} with {value!r}; {low} to {high} is expected"
            )
    return {name: float(value) for name, value in ratings.items()}


def _moment(written: Any) -> str:
    try:
        return datetime.datetime.fromisoformat(str(written)).isoformat() if written else ""
    except ValueError:
        return ""


def _one_each(results: Sequence[Result]) -> tuple[tuple[Result, ...], list[str]]:
    problems = []
    sessions: dict[str, Result] = {}
    for one in results:
        before = sessions.setdefault(one.session, one)
        if before is not one:
            fuller, other = (one, before) if one.rated > before.rated else (before, one)
            sessions[one.session] = fuller
            problems.append(
                f"{other.source} is left out: {fuller.source} holds the same session of {one.rater}"
            )
    raters: dict[str, Result] = {}
    for one in sorted(sessions.values(), key=_order):
        before = raters.setdefault(one.rater, one)
        if before is not one:
            problems.append(
                f"{one.source} is left out: {before.source} is of the same rater {one.rater}, and was finished first"
            )
    return tuple(sorted(raters.values(), key=_by_number)), problems


def _order(one: Result) -> tuple[bool, str, str]:
    return one.rated < one.trials, one.finished or "9", one.source


def _by_number(one: Result) -> tuple[bool, int, str]:
    number = int(one.rater) if one.rater.isdecimal() else 0
    return not one.rater.isdecimal(), number, one.rater
