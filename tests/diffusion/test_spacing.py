"""Which timesteps are visited."""

import numpy as np
import pytest

from ldm_jax.diffusion import schedules, spacing


def laid(name, steps, **options):
    return spacing.timesteps(name, train_steps=1000, steps=steps, **options).tolist()


def test_table_2_of_lin_et_al():
    """10 steps of 1000; the paper counts from 1, with offset 1 "leading" does too."""
    assert laid("leading", 10) == [901, 801, 701, 601, 501, 401, 301, 201, 101, 1]
    assert laid("linspace", 10) == [999, 888, 777, 666, 555, 444, 333, 222, 111, 0]
    assert laid("trailing", 10) == [999, 899, 799, 699, 599, 499, 399, 299, 199, 99]


def test_official():
    assert laid("official", 200) == laid("leading", 200) == list(range(996, 0, -5))
    assert laid("official", 30) == list(range(991, 0, -33))
    assert len(laid("official", 30)) == 31
    assert laid("leading", 30) == list(range(958, 0, -33))


def test_counting_the_end():
    assert laid("leading", 4, count_the_end=True) == [801, 601, 401, 201]
    assert laid("linspace", 3, count_the_end=True) == [999, 666, 333]
    assert laid("trailing", 4, count_the_end=True) == laid("trailing", 4)
    assert laid("official", 4, count_the_end=True) == laid("official", 4)


def test_fractions_and_offsets():
    assert laid("linspace", 5, whole=False) == [999, 749.25, 499.5, 249.75, 0]
    assert laid("linspace", 5) == [999, 749, 500, 250, 0]
    assert laid("leading", 3, offset=0) == [666, 333, 0]
    assert laid("trailing", 3) == [999, 666, 332]


@pytest.mark.parametrize("steps", [61, 103, 995])
def test_trailing_never_leaves_the_schedule(steps):
    """Step counts for which rounding would add a timestep -1."""
    assert len(laid("trailing", steps)) == steps
    assert laid("trailing", steps)[-1] >= 0


def test_karras():
    """Equal steps of the seventh root between the ends."""
    ours = spacing.karras(80.0, 0.002, 18)
    np.testing.assert_allclose(ours[[0, 17]], [80, 0.002], rtol=1e-12)
    np.testing.assert_allclose(np.diff(ours ** (1 / 7), 2), 0, atol=1e-12)
    np.testing.assert_allclose(spacing.karras(80.0, 0.002, 1), [80])


def test_fractional_timesteps():
    schedule = schedules.scaled_linear()
    every = np.arange(1000.0)
    sigmas = spacing.edm_sigma_at(schedule, every)
    np.testing.assert_array_equal(sigmas, schedule.edm_sigma)
    np.testing.assert_allclose(spacing.timestep_of(schedule, sigmas), every, atol=1e-9)
    np.testing.assert_allclose(
        spacing.edm_sigma_at(schedule, np.array([10.25])),
        0.75 * schedule.edm_sigma[10] + 0.25 * schedule.edm_sigma[11],
    )
    between = np.sqrt(schedule.edm_sigma[10] * schedule.edm_sigma[11])
    np.testing.assert_allclose(spacing.timestep_of(schedule, np.array([between])), [10.5])
    np.testing.assert_array_equal(spacing.timestep_of(schedule, np.array([1e-9, 1e9])), [0, 999])


def test_consistency_tta_grid():
    """18 Heun levels, uniform in t, of the published TANGO-style teacher."""
    schedule = schedules.scaled_linear(beta_start=0.00085, beta_end=0.012)
    t = spacing.timesteps("linspace", train_steps=1000, steps=18, whole=False)
    published = [14.615, 10.381, 7.581, 5.679, 4.353, 3.404, 2.709, 2.186, 1.783, 1.466]
    published += [1.209, 0.996, 0.815, 0.658, 0.516, 0.383, 0.248, 0.0292]
    np.testing.assert_allclose(spacing.edm_sigma_at(schedule, t), published, rtol=3e-3)


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_steps_outside_the_schedule(steps):
    with pytest.raises(ValueError, match=f"must be 1 to 1000, but got {steps}"):
        laid("leading", steps)


@pytest.mark.parametrize(("steps", "calls"), [(3, 3), (9, 9), (27, 27), (600, 999), (1000, 999)])
def test_official_stays_inside_the_schedule(steps, calls):
    visited = laid("official", steps)
    assert len(visited) == calls
    assert visited[-1] == 1
    assert visited[0] <= 999
