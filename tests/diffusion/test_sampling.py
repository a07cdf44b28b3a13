"""The scan: compilation, segments, noise of clips, precision, devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.diffusion import samplers, sampling, schedules
from tests.cases_samplers import network
from tests.golden import random_array, relative_error

SCHEDULE = schedules.scaled_linear()
SHAPE = (3, 4, 2, 5)
# Two programs, or two shapes, may round differently; another noise would differ by about 1.
SAME = 2e-6


def denoiser(latents, timestep, extra):
    shift = 0.0 if extra is None else extra
    return network(latents + shift, timestep, prediction="eps", tanh=jnp.tanh)


run = jax.jit(functools.partial(sampling.sample, denoiser))
draw = jax.jit(sampling.normal_per_clip, static_argnums=(2, 3))
run_segment = jax.jit(functools.partial(sampling.sample_segment, denoiser))


def noisy_plan(sampler: str, steps: int = 6) -> sampling.Plan:
    eta = 0.7 if sampler == "ddim" else 0.0
    return samplers.plan(sampler, SCHEDULE, steps=steps, eta=eta)


def initial(shape=SHAPE) -> jax.Array:
    return jnp.asarray(random_array("initial", shape), jnp.float32)


def test_one_compilation_for_plans_of_equal_shapes():
    compiled = jax.jit(functools.partial(sampling.sample, denoiser))
    results = [
        compiled(samplers.plan(name, SCHEDULE, steps=8, spacing=spacing), initial())
        for name, spacing in [("ddim", "leading"), ("ddim", "trailing"), ("euler", "linspace")]
    ]
    assert compiled._cache_size() == 1
    assert relative_error(results[0], results[1]) > 1e-3
    compiled(samplers.plan("unipc", SCHEDULE, steps=8), initial())
    assert compiled._cache_size() == 2


@pytest.mark.parametrize("sampler", samplers.SAMPLERS)
def test_segments_equal_the_whole(sampler):
    plan = noisy_plan(sampler)
    keys = jax.random.split(jax.random.key(0), SHAPE[0])
    extras = jnp.linspace(-0.5, 0.5, plan.calls)
    whole = run(plan, initial(), keys=keys, extras=extras)
    carry, n = sampling.init(plan, initial()), 3
    for start in range(0, plan.calls, n):
        part = slice(start, start + n)
        carry = run_segment(plan.segment(start, start + n), carry, keys=keys, extras=extras[part])
    assert relative_error(sampling.latents_of(carry), whole) < SAME
    assert relative_error(run(plan, initial(), keys=keys, extras=0 * extras), whole) > 1e-3


@pytest.mark.parametrize("sampler", ["ddim", "dpmsolver++-sde"])
def test_a_clip_does_not_depend_on_its_batch(sampler):
    plan = noisy_plan(sampler)
    keys = jax.random.split(jax.random.key(1), SHAPE[0])
    together = run(plan, initial(), keys=keys)
    alone = [run(plan, initial()[i : i + 1], keys=keys[i : i + 1]) for i in range(SHAPE[0])]
    assert relative_error(together, jnp.concatenate(alone)) < SAME
    # The same clip twice differs only by its key, and every call draws anew.
    twins = jnp.stack([initial()[0]] * 3)
    a, b, c = run(plan, twins, keys=keys[jnp.array([0, 1, 0])])
    assert relative_error(a, c) < SAME
    assert relative_error(a, b) > 0.01


def test_noise_of_calls():
    """Independent between calls and clips, and what `call_noise` would have given."""
    keys = jax.random.split(jax.random.key(2), 4)
    drawn = np.stack([draw(keys, index, (2000,), jnp.float32) for index in range(4)])
    correlation = np.corrcoef(drawn.reshape(16, 2000))
    np.testing.assert_allclose(correlation, np.eye(16), atol=0.1)
    plan = noisy_plan("euler-ancestral")
    noise = jnp.stack([draw(keys[:3], int(index), SHAPE[1:], jnp.float32) for index in plan.index])
    ours = run(plan, initial(), keys=keys[:3])
    assert relative_error(ours, run(plan, initial(), call_noise=noise)) < SAME


@pytest.mark.parametrize("sampler", ["ddim", "unipc"])
def test_one_device_or_eight(sampler):
    plan = noisy_plan(sampler)
    noise, keys = initial((8, 4, 5)), jax.random.split(jax.random.key(3), 8)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    over = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    spread = run(plan, jax.device_put(noise, over), keys=jax.device_put(keys, over))
    assert spread.sharding.is_equivalent_to(over, 3)
    assert relative_error(spread, run(plan, noise, keys=keys)) < SAME


@pytest.mark.parametrize("shape", [(2,), (2, 3), (2, 3, 4, 5)])
def test_latents_of_any_rank(shape):
    """Coordinates do not mix: the latents may be folded in any way."""
    plan = samplers.plan("lms", SCHEDULE, steps=5)
    noise = initial(shape)
    flat = run(plan, noise.reshape(2, -1))
    assert relative_error(run(plan, noise), flat.reshape(shape)) < SAME


def test_half_precision_outputs_and_noise():
    """The update stays in float32: only the network's own rounding is left."""
    plan = samplers.plan("dpmsolver++", SCHEDULE, steps=10)
    noise = initial().astype(jnp.bfloat16)

    def half(latents, timestep, extra):
        assert latents.dtype == jnp.float32
        return denoiser(latents, timestep, extra).astype(jnp.bfloat16)

    def rounded(latents, timestep, extra):
        return half(latents, timestep, extra).astype(jnp.float32)

    ours = jax.jit(functools.partial(sampling.sample, half))(plan, noise)
    expected = jax.jit(functools.partial(sampling.sample, rounded))(plan, noise.astype(jnp.float32))
    assert ours.dtype == jnp.float32
    assert relative_error(ours, expected) < SAME


def test_float64():
    plan = samplers.plan("unipc", SCHEDULE, steps=10)
    single = run(plan, initial())
    with jax.enable_x64(True):
        double = run(plan, jnp.asarray(np.asarray(initial()), jnp.float64))
        again = run(plan, jnp.asarray(np.asarray(initial())))
    assert single.dtype == again.dtype == jnp.float32
    assert double.dtype == jnp.float64
    assert 1e-9 < relative_error(single, double) < 1e-5


def test_memory_begins_empty():
    plan = samplers.plan("heun", SCHEDULE, steps=3, spacing="trailing")
    carry = sampling.init(plan, initial())
    assert carry.shape == (3, *SHAPE)
    np.testing.assert_allclose(carry[0], initial() * SCHEDULE.sigma[999], rtol=1e-6)
    assert not carry[1:].any()


@pytest.mark.parametrize("given", ["neither", "both"])
def test_a_stochastic_plan_needs_noise_once(given):
    plan = noisy_plan("ddim")
    options = {}
    if given == "both":
        options["keys"] = jax.random.split(jax.random.key(0), 3)
        options["call_noise"] = jnp.zeros((plan.calls, *SHAPE))
    with pytest.raises(ValueError, match=f"either keys or call_noise, but got {given}"):
        run(plan, initial(), **options)


def test_a_deterministic_plan_ignores_keys():
    plan = samplers.plan("ddim", SCHEDULE, steps=4)
    keys = jax.random.split(jax.random.key(0), 3)
    np.testing.assert_array_equal(run(plan, initial(), keys=keys), run(plan, initial()))
