import math

import pytest

from ldm_jax.eval.metrics.estimate import Estimate
from ldm_jax.eval.report.numbers import (
    interval_text,
    number_text,
    padded,
    shortened,
    shown_width,
    value_text,
)


def texts(value, low=None, high=None):
    estimate = Estimate(value=value, low=low, high=high, clips=10)
    return value_text(estimate), interval_text(estimate)


@pytest.mark.parametrize(
    ("numbers", "shown"),
    [
        ((1.9083123, 1.788, 2.028), ("1.91", "1.79 to 2.03")),
        ((19.5712, 18.67, 20.47), ("19.57", "18.67 to 20.47")),
        ((0.24681, 0.2428, 0.2508), ("0.2468", "0.2428 to 0.2508")),
        ((1234.5, 1000.0, 1500.0), ("1234", "1000 to 1500")),
        ((7.3271484375, 7.32714, 7.32716), ("7.327148", "7.327140 to 7.327160")),
        ((13.031904121806413,), ("13.0319", "")),
        ((-0.5, -1.0, 0.0), ("-0.50", "-1.00 to 0.00")),
        # Nothing but zeros would be left of the value.
        ((4e-7, -0.01, 0.01), ("4.0e-07", "-0.010 to 0.010")),
        ((-1.2e-13, 0.0, 0.5), ("-1.2e-13", "0.00 to 0.50")),
        ((0.0, -0.01, 0.01), ("0.000", "-0.010 to 0.010")),
        # An interval without width, or that is none.
        ((0.5, 0.5, 0.5), ("0.5", "0.5 to 0.5")),
        ((math.nan, math.nan, math.nan), ("nan", "nan to nan")),
        ((math.inf, 1.0, math.inf), ("inf", "1 to inf")),
    ],
)
def test_digits_of_figures(numbers, shown):
    assert texts(*numbers) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (2.0, "2"),
        (0.1 + 0.2, "0.3"),
        (1 / 3, "0.333333"),
        (0.00012345678, "0.000123457"),
        (1.5e-5, "1.50000e-05"),
        (273.5563965, "273.556"),
        (123456789.0, "123457000"),
        (-9.9999999, "-10"),
        (2.5e12, "2.50000e+12"),
    ],
)
def test_numbers_without_an_interval(value, shown):
    assert number_text(value) == shown


def test_columns_of_a_terminal():
    assert shown_width("abc") == 3
    assert shown_width("雨の音") == 6
    assert shown_width("cafe\u0301") == 4
    assert padded("雨", 4) == "雨  "
    assert padded("雨", 4, right=True) == "  雨"
    assert shortened("雨の音", 5) == "雨の…"
    assert shortened("abcdef", 4, "...") == "a..."
    assert shortened("abc", 3) == "abc"


def test_nothing_is_no_row_of_zeros():
    nothing = Estimate(value=0.0, low=0.0, high=3.7e-17, clips=14)
    assert (value_text(nothing), interval_text(nothing)) == ("0", "0 to 3.7e-17")
