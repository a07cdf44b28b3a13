"""Trials whose right answer is known: they tell who listens."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from ldm_jax.eval.listening.questions import Question, Scale
from ldm_jax.eval.listening.sound import Sound
from ldm_jax.eval.listening.spoken import DIGITS, speak

Kind = Literal["instruction", "noise", "mismatch", "repeat"]
KINDS: tuple[Kind, ...] = ("instruction", "noise", "mismatch", "repeat")
ANSWERS = {5: (2, 4), 100: (20, 80)}  # that instructions ask for; rows take turns
NOISE_SECONDS = 4.0
RATE = 16_000
REPEAT_TRIALS = 4  # a row needs so many before one of them can come again unnoticed


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """One clip that a rater is asked about.

    Attributes:
        clip: its number.
        text: the number of the item whose caption or transcript is shown.
        check: what is known of the answer: {} nothing; else {"kind": ...} and, of an instruction, the "answer", and
            of a repeat, the trial "of" the row that comes again.
    """

    clip: int
    text: int
    check: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def check_sounds(kinds: Sequence[Kind], scale: Scale, *, seed: int) -> dict[str, Sound]:
    """Sounds of the checks that need their own: "noise", and "instruction 2" for each answer.

    Raises:
        ValueError: espeak-ng is not there for instructions.
    """
    made: dict[str, tuple[np.ndarray, int]] = {}
    if "noise" in kinds:
        generator = np.random.default_rng([seed, 4])
        wave = 0.1 * generator.standard_normal((round(NOISE_SECONDS * RATE), 1))
        ramp = np.minimum(1, np.arange(len(wave)) / 800)
        made["noise"] = ((wave * (ramp * ramp[::-1])[:, None]).astype(np.float32), RATE)
    if "instruction" in kinds:
        for answer in ANSWERS[scale]:
            word = DIGITS[answer] if scale == 5 else str(answer)
            said = f"This is a check, and not a sound to be judged. Please answer every question with {word}. {word}."
            made[f"instruction {answer}"] = speak(said)
    return {
        name: Sound(wave=wave, rate=rate, loudness=0.0, gain=0.0)
        for name, (wave, rate) in made.items()
    }


def with_checks(
    row: Sequence[Trial],
    kinds: Sequence[Kind],
    *,
    number: int,
    special: Mapping[str, int],
    texts: Sequence[str],
    clips: Sequence[tuple[int, int]],
    scale: Scale,
    generator: np.random.Generator,
) -> tuple[Trial, ...]:
    """The row with one check of each kind at places that cannot be foreseen, none of them first.

    Args:
        row: the trials that are rated.
        kinds: which checks.
        number: of the row.
        special: numbers of the checks' own clips, by the names of `check_sounds`.
        texts: what is shown, by number; a mismatch needs two that differ.
        clips: (clip, text) of all that are compared, from which a mismatch is made.
        scale: of the answers.
        generator: decides places.
    """
    trials = list(row)

    def insert(trial: Trial) -> None:
        trials.insert(int(generator.integers(1, len(trials) + 1)), trial)

    def any_text() -> int:
        return int(generator.integers(len(texts)))

    if "noise" in kinds:
        insert(Trial(clip=special["noise"], text=any_text(), check={"kind": "noise"}))
    if "instruction" in kinds:
        answer = ANSWERS[scale][number % len(ANSWERS[scale])]
        known = {"kind": "instruction", "answer": answer}
        insert(Trial(clip=special[f"instruction {answer}"], text=any_text(), check=known))
    if "mismatch" in kinds:
        heard = {trial.clip for trial in row}
        fresh = [pair for pair in clips if pair[0] not in heard] or list(clips)
        clip, own = fresh[int(generator.integers(len(fresh)))]
        others = [text for text in range(len(texts)) if texts[text] != texts[own]]
        wrong = others[int(generator.integers(len(others)))]
        insert(Trial(clip=clip, text=wrong, check={"kind": "mismatch"}))
    if "repeat" in kinds and len(row) >= REPEAT_TRIALS:
        usual = [place for place, trial in enumerate(trials) if not trial.check]
        first = usual[int(generator.integers(len(usual) // 2))]
        late = int(generator.integers(max(first + 2, 2 * len(trials) // 3), len(trials) + 1))
        known = {"kind": "repeat", "of": first}  # which lies before it, so that its place stays
        trials.insert(late, dataclasses.replace(trials[first], check=known))
    return tuple(trials)


def applicable(
    kinds: Sequence[Kind], questions: Sequence[Question], texts: Sequence[str]
) -> tuple[Kind, ...]:
    """Those checks that can be failed: noise may match a text, and a mismatch may sound well."""
    names = {question.name for question in questions}
    usable: list[Kind] = []
    for kind in kinds:
        if kind == "noise" and not names & {"ovl", "mos"}:
            continue
        if kind == "mismatch" and ("rel" not in names or len(set(texts)) < 2):
            continue
        usable.append(kind)
    return tuple(usable)


def passed(
    check: Mapping[str, Any],
    ratings: Mapping[str, float],
    *,
    before: Mapping[str, float] | None,
    scale: Scale,
) -> bool:
    """Whether the ratings of a check are as one who listens gives them.

    An instruction: every answer is the one asked for (within 5 of 100). Noise: its quality is in the lower two
    fifths. A mismatch: it is not in the upper two. A repeat: no answer is more than two fifths from the first one.
    """
    unit = 1 if scale == 5 else 20
    match check["kind"]:
        case "instruction":
            slack = 0 if scale == 5 else 5
            return all(abs(rating - check["answer"]) <= slack for rating in ratings.values())
        case "noise":
            return all(ratings[name] <= 2 * unit for name in ("ovl", "mos") if name in ratings)
        case "mismatch":
            return ratings["rel"] <= 3 * unit
        case "repeat":
            assert before is not None
            return all(abs(ratings[name] - before[name]) <= 2 * unit for name in ratings)
        case other:
            raise ValueError(f"the key has a check {other!r} that this version does not know")
