"""Figures as text: as many digits as their intervals bear, or six."""

import math
import unicodedata

from ldm_jax.eval.metrics.estimate import Estimate

DIGITS = 6  # of a figure without an interval


def value_text(estimate: Estimate) -> str:
    """The figure, with the digits that its interval bears: the interval's half has two."""
    return _fixed(estimate.value, _decimals(estimate))


def interval_text(estimate: Estimate) -> str:
    """The interval as "LOW to HIGH", with the digits of the figure; "" where there is none."""
    if estimate.low is None or estimate.high is None:
        return ""
    decimals = _decimals(estimate)
    return f"{_fixed(estimate.low, decimals)} to {_fixed(estimate.high, decimals)}"


def number_text(value: float) -> str:
    """Six significant digits, without an exponent where a person would write none."""
    if not math.isfinite(value):
        return str(value)
    if value == 0 or 1e-4 <= abs(value) < 1e9:
        rounded = float(f"{value:.{DIGITS}g}")
        decimals = max(0, DIGITS - 1 - math.floor(math.log10(abs(rounded)))) if rounded else 0
        text = f"{rounded:.{decimals}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return f"{value:.{DIGITS - 1}e}"


def _decimals(estimate: Estimate) -> int | None:
    """Digits behind the point; None where there is no interval, or one without width."""
    if estimate.low is None or estimate.high is None:
        return None
    half = (estimate.high - estimate.low) / 2
    if not (math.isfinite(half) and half > 0):
        return None
    return min(12, max(0, 1 - math.floor(math.log10(half))))


def _fixed(value: float, decimals: int | None) -> str:
    """With so many decimals, unless nothing but zeros would be left of something."""
    if decimals is None or not math.isfinite(value):
        return number_text(value)
    if not value and decimals > DIGITS:  # the rounding of a computation that gives 0
        return "0"
    text = f"{value:.{decimals}f}"
    if value and not text.strip("-0."):
        return f"{value:.1e}"
    return text


def shown_width(text: str) -> int:
    """Columns of a terminal that a text takes: two for a wide character, none for an accent on the one before."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def padded(text: str, width: int, *, right: bool = False) -> str:
    """With spaces up to `width` columns, before it where `right`."""
    space = " " * max(0, width - shown_width(text))
    return space + text if right else text + space


def shortened(text: str, width: int, ellipsis: str = "…") -> str:
    """At most `width` columns, with a sign where something was left out."""
    if shown_width(text) <= width:
        return text
    while text and shown_width(text) > width - shown_width(ellipsis):
        text = text[:-1]
    return text + ellipsis
