"""Word and character error rates: what a recogniser hears, against what was to be said."""

import dataclasses
import functools
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float

from ldm_jax.eval.metrics.bootstrap import ratio_interval
from ldm_jax.eval.metrics.checks import vectors
from ldm_jax.eval.metrics.estimate import Bootstrap, Estimate
from ldm_jax.eval.metrics.state import State

Normaliser = Callable[[str], str]


def unchanged(text: str) -> str:
    """As it is, but for white space, of which words take no notice."""
    return " ".join(text.split())


def basic(text: str) -> str:
    """Lower case; apostrophes are left out, other marks and symbols are spaces.

    "Don't - STOP, now!" is "dont stop now".
    """
    text = unicodedata.normalize("NFKC", text).lower()
    text = re.sub("['\u2019\u02bc]", "", text)
    kept = (c if unicodedata.category(c)[0] in "LMN" else " " for c in text)
    return unchanged("".join(kept))


def whisper_english(text: str) -> str:
    """As OpenAI's EnglishTextNormalizer: contractions in full, numbers in digits, American spelling, no "um".

    Raises:
        ImportError: whisper-normalizer is not installed.
    """
    return unchanged(_whisper_normalizer()(text))


@functools.cache
def _whisper_normalizer() -> Normaliser:
    try:
        from whisper_normalizer.english import EnglishTextNormalizer
    except ImportError as error:
        raise ImportError(
            "the normaliser 'whisper-english' needs whisper-normalizer: pip install 'ldm_jax[wer]'"
        ) from error
    return EnglishTextNormalizer()


NORMALISERS: Mapping[str, Normaliser] = {
    "none": unchanged,
    "basic": basic,
    "whisper-english": whisper_english,
}


def error_counts(
    spoken: str,
    heard: str,
    *,
    unit: Literal["word", "character"] = "word",
    normalise: Normaliser = basic,
) -> Float[np.ndarray, "1 4"]:
    """A row of (substitutions, deletions, insertions, length of what was to be said).

    The first three are those of an alignment with the fewest of them (Levenshtein's).

    Args:
        spoken: what was to be said; may be empty, then all that is heard is inserted.
        heard: what a recogniser made of it.
        unit: what is counted. Characters include the spaces between words.
        normalise: both texts first; rates under different normalisers cannot be compared.

    Raises:
        ImportError: rapidfuzz is not installed.
    """
    try:
        from rapidfuzz.distance import Levenshtein
    except ImportError as error:
        raise ImportError("error rates need rapidfuzz: pip install 'ldm_jax[wer]'") from error
    wanted, found = (_units(normalise(text), unit) for text in (spoken, heard))
    kinds = [edit.tag for edit in Levenshtein.editops(wanted, found)]
    edits = [kinds.count(kind) for kind in ("replace", "delete", "insert")]
    return np.array([[*edits, len(wanted)]], np.float64)


def _units(text: str, unit: Literal["word", "character"]) -> Sequence[str]:
    return text.split() if unit == "word" else text


@dataclasses.dataclass(frozen=True, kw_only=True)
class ErrorRate:
    """(substitutions + deletions + insertions) / length, each summed over all clips: WER or CER.

    The generated side holds the rows of `error_counts`. With the sums before the division long sentences weigh more
    than short ones, unlike in a mean of rates.
    """

    def compute(self, state: State, *, bootstrap: Bootstrap | None = None) -> Estimate:
        """The rate; details: the share of "substitutions", "deletions" and "insertions", and the "length".

        Raises:
            ValueError: see `checks`; also nothing was to be said, or rows that are not of `error_counts`.
        """
        rows = vectors(state.generated, "generated", least=1)
        if rows.shape[1] != 4:
            raise ValueError(f"rows of width {rows.shape[1]}; expected those of error_counts")
        names = sorted(state.generated)
        counts = np.stack([state.generated[name].sum(axis=0, dtype=np.float64) for name in names])
        errors, lengths = counts[:, :3].sum(axis=1), counts[:, 3]
        if not (length := lengths.sum()):
            raise ValueError(f"the transcripts of all {len(names)} clips are empty")
        low, high = ratio_interval(errors, lengths, bootstrap)
        kinds = ("substitutions", "deletions", "insertions")
        shares = counts[:, :3].sum(axis=0) / length
        return Estimate(
            value=float(errors.sum() / length),
            clips=len(names),
            low=low,
            high=high,
            details=dict(zip(kinds, shares.tolist(), strict=True)) | {"length": float(length)},
        )
