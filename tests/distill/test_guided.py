"""Guided targets: conventions of the scale, one doubled batch for two, kinds of prediction."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.diffusion import schedules
from ldm_jax.distill import grid as grids
from ldm_jax.distill import guided

SCALES = np.array([1.0, 0.0, 3.5, 6.0], np.float32)
SHAPE = (4, 3, 2, 2)
GRID = grids.progressive_grid(schedules.rescale_zero_terminal_snr(schedules.scaled_linear()), 20)
LEVEL = GRID.at(np.array([1, 7, 16, 20]))


def arrays(seed, *shape, count=2):
    random = np.random.RandomState(seed)
    return [jnp.asarray(random.standard_normal(shape), jnp.float32) for _ in range(count)]


def condition(z, timesteps, shift):
    """A made-up network: what it says depends on all that it is given."""
    return jnp.tanh(z * 0.9 + shift) * (1 + timesteps / 1000).reshape(-1, 1, 1, 1)


def test_conventions():
    """The two formulas name one prediction; w = 1 and w' = 0 the conditional one."""
    u, c = (np.asarray(x) for x in arrays(0, 5))
    for meng in (0.0, 0.5, 4.0):
        ours = guided.meng_to_ours(meng)
        np.testing.assert_allclose(
            u + ours * (c - u), (1 + meng) * c - meng * u, rtol=1e-5, atol=1e-6
        )
        assert guided.ours_to_meng(ours) == meng
    np.testing.assert_array_equal(guided.meng_to_ours(jnp.asarray([0.0, 2.0])), [1, 3])
    assert guided.ours_to_meng(1.0) == 0


@pytest.mark.parametrize("repeat", [True, False])
def test_one_doubled_call_is_two_calls(repeat):
    """Rows u0 c0 u1 c1, each with its clip's latents, timestep and scale."""
    (z,), (own,) = arrays(1, *SHAPE, count=1), arrays(2, 4, 1, 1, 1, count=1)
    rows = []

    def guide(own):
        shifts = jnp.stack([jnp.full_like(own, -0.4), own], axis=1).reshape(8, 1, 1, 1)

        def branches(z, timesteps):
            rows.append(z.shape[0])
            if not repeat:
                z, timesteps = jnp.repeat(z, 2, axis=0), jnp.repeat(timesteps, 2, axis=0)
            return condition(z, timesteps, shifts)

        return guided.double(branches, jnp.asarray(SCALES), repeat=repeat)(z, LEVEL.timestep)

    compiled = jax.jit(guide)
    ours = compiled(own)
    assert rows == [8 if repeat else 4]
    u, c = (condition(z, LEVEL.timestep, shift) for shift in (jnp.full_like(own, -0.4), own))
    expected = u + SCALES.reshape(4, 1, 1, 1) * (c - u)
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ours[0], c[0], rtol=1e-6, atol=1e-6)
    # Scale 0 is the unconditional model to the bit: operation by operation, and within one program, whose rounding is
    # its own, whatever the other branch says.
    np.testing.assert_array_equal(guide(own)[1], u[1])
    other = compiled(own + 3)
    np.testing.assert_array_equal(other[1], ours[1])
    assert np.abs(other[2] - ours[2]).min() > 0.01


def test_half_precision_is_combined_in_float32():
    """w does not multiply rounding errors of the difference."""
    (z,) = arrays(3, *SHAPE, count=1)

    def branches(z, timesteps):
        return z.astype(jnp.bfloat16)

    doubled = jnp.concatenate([z, z + 0.1], axis=1).reshape(8, *SHAPE[1:])
    network = guided.double(lambda z, t: branches(doubled, t), 6.0)
    u, c = (np.asarray(x.astype(jnp.bfloat16), np.float64) for x in (z, z + 0.1))
    ours = network(z, LEVEL.timestep)
    assert ours.dtype == jnp.float32
    np.testing.assert_allclose(ours, u + 6 * (c - u), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("target", ["eps", "x0", "v"])
@pytest.mark.parametrize("source", ["eps", "x0", "v"])
def test_targets_are_one_denoiser(source, target):
    """Guiding and then converting, or converting both branches and then guiding: the same target."""
    levels = GRID.at(np.array([1, 7, 16, 19]), jnp.float32)
    alpha, sigma = (np.asarray(x, np.float64).reshape(4, 1, 1, 1) for x in levels[1:])
    z, x0_u, x0_c = arrays(4, *SHAPE, count=3)
    z64, w = np.asarray(z, np.float64), SCALES.reshape(4, 1, 1, 1)

    def kinds(x0):
        eps = (z64 - alpha * np.asarray(x0, np.float64)) / sigma
        return {"x0": np.asarray(x0, np.float64), "eps": eps, "v": (eps - sigma * z64) / alpha}

    u, c = kinds(x0_u), kinds(x0_c)
    teacher = jnp.asarray(u[source] + w * (c[source] - u[source]), jnp.float32)
    ours = guided.guided_target(teacher, z, levels, source=source, target=target)
    expected = u[target] + w * (c[target] - u[target])
    if source == target:
        np.testing.assert_array_equal(ours, teacher)
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_pure_noise():
    """At zero signal v is -x0 and eps is z, whatever the scale."""
    z, x0 = arrays(5, *SHAPE)
    level = GRID.at(np.full(4, 20))
    v = guided.guided_target(x0, z, level, source="x0", target="v")
    np.testing.assert_array_equal(v, -x0)
    np.testing.assert_array_equal(guided.guided_target(v, z, level, source="v", target="eps"), z)
    with pytest.raises(ValueError, match="one of eps, x0, v, but got 'score'"):
        guided.guided_target(v, z, level, source="v", target="score")
