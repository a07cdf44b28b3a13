"""The command's shares against direct sums, and its picture against the curves."""

import re

import numpy as np
import pytest

from ldm_jax.diffusion import densities, schedules
from ldm_jax.train import draw_weightings
from tests.diffusion.test_weightings import SHARES_OF_25_STEPS

SCHEDULE = schedules.scaled_linear()
SNR = SCHEDULE.alphas_cumprod / (1 - SCHEDULE.alphas_cumprod)


def printed(text):
    """The printed percentages: a list of rows for each block."""
    blocks = [block.splitlines()[2:] for block in text.strip().split("\n\n")]
    return [
        np.array([[float(x) for x in re.findall(r"([\d.]+) %", row)] for row in rows])
        for rows in blocks
    ]


def test_printed_shares(capsys):
    """p w e over each band, written out from the definitions."""
    command = ["min_snr:gamma=3", "snr", "bsa:gamma=8,reading=smooth", "--prediction", "v"]
    command += ["--density", "laplace:width=2", "--edges", "-3", "0", "1.5"]
    assert draw_weightings.main(command) == 0
    drawn, equal, best = printed(capsys.readouterr().out)

    weights = np.stack([np.minimum(SNR, 3), SNR, 1 + 8 * SNR / (SNR + 8)])
    probability = densities.laplace(SCHEDULE, width=2)
    band = (np.log(SNR)[:, None] >= [-3, 0, 1.5]).sum(1)

    def shares(amounts):
        totals = np.stack([amounts[:, band == number].sum(1) for number in range(4)])
        return 100 * totals / totals.sum(0)

    np.testing.assert_allclose(drawn, shares(probability[None]), atol=0.0051)
    np.testing.assert_allclose(equal, shares(probability * weights), atol=0.0051)
    np.testing.assert_allclose(best, shares(probability * weights / (1 + SNR)), atol=0.0051)


def test_v_spends_its_loss_as_it_is_drawn(capsys):
    """Weighted SNR + 1, the best denoiser of normal latents has the same loss at every level."""
    assert draw_weightings.main(["snr_plus_one"]) == 0
    drawn, _, best = printed(capsys.readouterr().out)
    np.testing.assert_array_equal(drawn, best)


def test_shares_of_a_students_levels(capsys):
    """Figures that were computed once by hand, and the sum written out for another number of steps."""
    tango = "scaled_linear:beta_start=0.00085,beta_end=0.012"
    assert (
        draw_weightings.main([*SHARES_OF_25_STEPS, "--schedule", tango, "--students", "25", "100"])
        == 0
    )
    text = capsys.readouterr().out
    of_25, of_100 = printed(text)[-2:]
    for column, shares in zip(of_25.T, SHARES_OF_25_STEPS.values(), strict=True):
        np.testing.assert_allclose(column, shares, rtol=0.05, atol=0.051)
        assert abs(column[0] - shares[0]) <= 0.0051
    assert "SNR below 1 (17)" in text
    assert "SNR above 5 (3)" in text

    schedule = schedules.scaled_linear(beta_start=0.00085, beta_end=0.012)
    snr = schedule.alphas_cumprod[9::10] / (1 - schedule.alphas_cumprod[9::10])
    weights = np.clip(snr, 1, 5)
    bsa = [weights[-1], weights[snr < 1].sum(), weights[snr > 5].sum()] / weights.sum()
    np.testing.assert_allclose(
        of_100[:, list(SHARES_OF_25_STEPS).index("bsa")], 100 * bsa, atol=0.0051
    )


def test_picture(tmp_path, capsys):
    path = tmp_path / "weightings.png"
    command = ["truncated", "debiased", "--prediction", "v", "-o", str(path)]
    assert draw_weightings.main(command) == 0
    assert str(path) in capsys.readouterr().out
    assert path.read_bytes().startswith(b"\x89PNG")

    arguments = draw_weightings.parser().parse_args(command)
    weight, density = draw_weightings.figure(draw_weightings.objectives_of(arguments)).axes
    curve = weight.lines[0]
    np.testing.assert_allclose(curve.get_xdata(), np.log(SNR), rtol=1e-9)
    np.testing.assert_allclose(curve.get_ydata(), np.maximum(SNR, 1) / (SNR + 1), rtol=1e-12)
    # The effective density is one: with the widths that timesteps have on this axis it adds up to 1.
    for curve in density.lines[:2]:
        x, y = curve.get_data()
        np.testing.assert_allclose((y * np.abs(np.gradient(x))).sum(), 1, rtol=1e-9)


def test_a_schedule_that_ends_in_pure_noise(tmp_path, capsys):
    command = ["uniform", "--prediction", "v", "--zero-terminal-snr", "-o", str(tmp_path / "a.png")]
    assert draw_weightings.main(command) == 0
    np.testing.assert_allclose(printed(capsys.readouterr().out)[1].sum(), 100, atol=0.04)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["snr", "--zero-terminal-snr"], "error: The weighting snr weighs the error of eps"),
        (["min_snr:gama=5"], "error: The weighting 'min_snr' has only gamma"),
        (["min_snr:gamma"], "name:option=value,..., but got 'min_snr:gamma'"),
        (["snr", "--density", "beta"], "error: The density must be one of uniform"),
        (["snr", "--schedule", "sigmoid"], "error: The noise schedule must be one of"),
        (
            ["snr", "--schedule", "linear:betas=2"],
            "'linear' has only beta_start, beta_end, train_steps",
        ),
        (["snr", "--edges", "1", "0"], "error: Edges of log SNR bands must be finite and rise"),
        (
            ["snr", "--students", "25", "2000"],
            "error: This schedule can be stepped through in 1 to",
        ),
    ],
)
def test_errors(command, message, capsys):
    assert draw_weightings.main(command) == 2
    assert message in capsys.readouterr().err
