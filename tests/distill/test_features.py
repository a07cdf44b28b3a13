"""The distance in a teacher's features, on a tiny UNet with random weights."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.distill.features import feature_distance, stage_features
from ldm_jax.distill.grid import Level
from ldm_jax.models.unet import UNet

SIZE = (2, 6, 4, 3)
RANDOM = np.random.RandomState(0)
OUTPUT, TARGET, NOISE = RANDOM.standard_normal((3, *SIZE))
CONTEXT = RANDOM.standard_normal((2, 5, 6))
MASK = np.arange(5) < np.array([[5], [3]])
LEVEL = Level(*np.array([[700.0, 120.5], [0.6, 0.96], [0.8, 0.28]]))
jit = functools.partial(  # what is small compiles longer than it runs
    jax.jit,
    compiler_options={
        "xla_backend_optimization_level": 0,
        "xla_llvm_disable_expensive_passes": True,
    },
)


def unet(**options):
    return UNet(
        in_channels=3,
        out_channels=3,
        block_out_channels=(8, 12),
        attention_levels=(False, False),
        layers_per_block=1,
        cross_attention_dims=(6,),
        head_dim=6,
        norm_groups=4,
        **options,
    )


def contexts(dtype):
    return ((jnp.asarray(CONTEXT, dtype), jnp.asarray(MASK)),)


@functools.cache
def weights():
    """Random everywhere, also where training begins with zeros."""
    shapes = jax.eval_shape(
        unet().init, jax.random.key(0), jnp.zeros(SIZE), jnp.zeros(2), contexts(jnp.float32)
    )
    random = np.random.RandomState(1)

    def draw(leaf):
        fan_in = max(1, int(np.prod(leaf.shape[:-1])))
        return random.standard_normal(leaf.shape) / np.sqrt(fan_in)

    return jax.tree.map(draw, shapes)


def teacher(dtype):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), weights())


def features(variables, z, timesteps, **options):
    return stage_features(unet(**options), variables, z, timesteps, contexts(z.dtype))


def level(dtype):
    return Level(*(jnp.asarray(x, dtype) for x in LEVEL))


def arrays(dtype):
    return [jnp.asarray(x, dtype) for x in (OUTPUT, TARGET, NOISE)]


def distances(output, target, noise, level, variables, **options):
    seen = functools.partial(features, variables, **options)
    return feature_distance(seen, output, target, noise, level)


@functools.cache
def compiled():
    """(sum, (distances, what the teacher was asked and said)), gradient of the sum; everything in float64."""

    def total(output, target, noise, level, variables):
        seen = []

        def overheard(z, timesteps):
            said = features(variables, z, timesteps, dtype=jnp.float64)
            seen.append((z, timesteps, said))
            return said

        found = feature_distance(overheard, output, target, noise, level)
        return found.sum(), (found, seen)

    return jit(jax.value_and_grad(total, has_aux=True))


def run(output, target):
    """The same in NumPy."""
    with jax.enable_x64(True):
        inputs = [jnp.asarray(x, jnp.float64) for x in (output, target, NOISE)]
        made = compiled()(*inputs, level(jnp.float64), teacher(jnp.float64))
        return jax.tree.map(np.asarray, made)


def test_against_the_formula():
    """Noise, one call a side, unit vectors in each cell, mean squares, their sum: in NumPy, in float64."""
    (_, (ours, seen)), _ = run(OUTPUT, TARGET)
    timesteps, alpha, sigma = (x[:, None, None, None] for x in LEVEL)
    for x, (z, asked, _) in zip((OUTPUT, TARGET), seen, strict=True):
        np.testing.assert_allclose(z, alpha * x + sigma * NOISE, rtol=1e-14)
        np.testing.assert_array_equal(asked, timesteps.ravel())
    expected = np.zeros(2)
    for pair in zip(seen[0][2], seen[1][2], strict=True):
        a, b = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in pair)
        expected += np.mean((a - b) ** 2, axis=(1, 2, 3))
    np.testing.assert_allclose(ours, expected, rtol=1e-10)
    assert (expected > 0.01).all()


def test_zero_and_symmetric():
    """0 for equal inputs, with gradient 0; the same in both directions."""
    (zero, _), gradient = run(OUTPUT, OUTPUT)
    assert zero == 0
    np.testing.assert_array_equal(gradient, 0)
    there, back = (run(*pair)[0][1][0] for pair in ((OUTPUT, TARGET), (TARGET, OUTPUT)))
    np.testing.assert_allclose(there, back, rtol=1e-12)


def test_gradient():
    """Of the output, along a random direction, against central differences."""
    direction, step = np.random.RandomState(2).standard_normal(SIZE), 1e-5
    along = np.sum(run(OUTPUT, TARGET)[1] * direction)
    ahead, behind = (run(OUTPUT + sign * step * direction, TARGET)[0][0] for sign in (1, -1))
    np.testing.assert_allclose(along, (ahead - behind) / (2 * step), rtol=1e-6)
    assert abs(along) > 1e-3


def test_who_gets_no_gradient():
    """The target and the teacher's parameters: exactly 0."""
    gradient = jax.grad(lambda *inputs: distances(*inputs).sum(), argnums=(1, 4))
    made = jit(gradient)(*arrays(jnp.float32), level(jnp.float32), teacher(jnp.float32))
    for leaf in jax.tree.leaves(made):
        np.testing.assert_array_equal(leaf, 0)


def test_what_it_costs():
    """Two calls, and a backward pass through one of them: some three forward passes of that batch, and not four."""
    calls = []

    def counted(variables, z, timesteps):
        calls.append(z.shape)
        return features(variables, z, timesteps)

    def total(output, target, noise, level, variables):
        seen = functools.partial(counted, variables)
        return feature_distance(seen, output, target, noise, level).sum()

    def operations(function, *inputs):
        return jax.jit(function).lower(*inputs).cost_analysis()["flops"]

    at, variables = level(jnp.float32), teacher(jnp.float32)
    output, target, noise = arrays(jnp.float32)
    once = operations(features, variables, output, at.timestep)
    assert 2.8 < operations(jax.grad(total), output, target, noise, at, variables) / once < 3.3
    assert calls == [SIZE, SIZE]


@pytest.mark.parametrize("parts", ["all", "down"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_stage_features(parts, wrapped):
    """One array a stage, as it is handed on, also with rematerialisation and inside another module."""

    class Student(nn.Module):
        def setup(self):
            self.unet = unet(remat="full")

        def __call__(self, *inputs):
            return self.unet(*inputs)

    network, variables = unet(), weights()
    if wrapped:
        network, variables = Student(), {"params": {"unet": variables["params"]}}
    shapes = [
        found.shape
        for found in jax.eval_shape(
            lambda: stage_features(
                network,
                variables,
                jnp.zeros(SIZE),
                jnp.zeros(2),
                contexts(jnp.float32),
                parts=parts,
            )
        )
    ]
    down = [(2, 3, 2, 8), (2, 3, 2, 12)]
    up = [(2, 3, 2, 12), (2, 6, 4, 12), (2, 6, 4, 8)]
    assert shapes == (down if parts == "down" else down + up)


def test_features_are_those_of_the_network():
    """What the last stage hands on becomes the network's output by the two layers that come after."""
    z, _, _ = arrays(jnp.float32)
    inputs = z, level(jnp.float32).timestep, contexts(jnp.float32)

    def head(network, x):
        return network.conv_out(nn.silu(network.conv_norm_out(x)))

    def both(variables):
        last = stage_features(unet(), variables, *inputs)[-1]
        return unet().apply(variables, last, method=head), unet().apply(variables, *inputs)

    ours, whole = jit(both)(teacher(jnp.float32))
    np.testing.assert_allclose(ours, whole, rtol=1e-5, atol=1e-6)


def test_half_precision_is_compared_in_float32():
    """A teacher in bfloat16, here one that shows its input: nothing but its features is rounded."""

    def seen(z, timesteps):
        assert z.dtype == jnp.float32
        return [z.astype(jnp.bfloat16)]

    output, target, noise = arrays(jnp.float32)
    ours = feature_distance(seen, output.astype(jnp.bfloat16), target, noise, level(jnp.float32))
    assert ours.dtype == jnp.float32
    _, alpha, sigma = (x[:, None, None, None] for x in LEVEL)
    sides = []
    for x in (output.astype(jnp.bfloat16), target):
        z = jnp.asarray(alpha * np.asarray(x, np.float64) + sigma * NOISE, jnp.bfloat16)
        sides.append(np.asarray(z, np.float64))
    a, b = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in sides)
    # A number that falls between two of bfloat16 may be rounded to the other one.
    np.testing.assert_allclose(ours, np.mean((a - b) ** 2, axis=(1, 2, 3)), rtol=1e-3)


def test_what_is_refused():
    with pytest.raises(
        ValueError, match="The part of the UNet must be one of all, down, but got 'up'"
    ):
        stage_features(unet(), weights(), jnp.zeros(SIZE), jnp.zeros(2), parts="up")
    with pytest.raises(ValueError, match="Dense has no stages of a UNet"):
        stage_features(
            nn.Dense(2),
            {"params": {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)}},
            jnp.ones((1, 3)),
        )
