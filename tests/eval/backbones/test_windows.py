"""Stretches of long clips, as stable-audio-metrics cuts them (src/passt_kld.py, `return_probabilities`)."""

import numpy as np
import pytest

from ldm_jax.eval.backbones.windows import overlapping

WINDOW, STEP = 100, 50


@pytest.mark.parametrize(
    ("samples", "starts", "last"),
    [
        (10, [0], 10),  # too little to be filled up
        (15, [0], 15),
        (16, [0], 100),
        (100, [0], 100),
        (101, [0, 50], 100),
        (150, [0, 50], 100),
        (151, [0, 50, 100], 100),
        (237, [0, 50, 100, 150], 100),
    ],
)
def test_stretches(samples, starts, last):
    wave = np.arange(1.0, samples + 1)
    parts = overlapping(wave, window=WINDOW, step=STEP)
    assert [int(part[0]) - 1 for part in parts] == starts
    assert [len(part) for part in parts] == [*[WINDOW] * (len(starts) - 1), last]
    for start, part in zip(starts, parts, strict=True):
        there = wave[start : start + WINDOW]
        np.testing.assert_array_equal(part[: len(there)], there)
        assert not part[len(there) :].any()
