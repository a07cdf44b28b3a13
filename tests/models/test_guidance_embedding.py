"""The guidance scale as an input: its formula, its start at nothing, its place beside the timestep."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.convert import unet as published
from ldm_jax.convert.checkpoint import abstract_params
from ldm_jax.convert.rules import ConversionError
from ldm_jax.models.guidance_embedding import GuidanceEmbedding
from ldm_jax.models.unet import UNet

TINY = UNet(
    in_channels=2,
    out_channels=2,
    block_out_channels=(8, 16),
    attention_levels=(False, True),
    layers_per_block=1,
    cross_attention_dims=(None, 12),
    head_dim=8,
    norm_groups=4,
)
STUDENT = TINY.clone(guidance_features=6)


def filled(module, seed):
    """Every parameter random, also those that start at zero."""
    rng = np.random.default_rng(seed)
    tree = abstract_params(module)
    return jax.tree.map(lambda x: jnp.asarray(0.3 * rng.normal(size=x.shape), x.dtype), tree)


@pytest.fixture
def inputs():
    rng = np.random.default_rng(0)
    latents = jnp.asarray(rng.normal(size=(3, 8, 4, 2)), jnp.float32)
    states = jnp.asarray(rng.normal(size=(3, 5, 12)), jnp.float32)
    return latents, jnp.array([0.0, 58.8, 999.0]), [(states, None)]


def test_formula():
    module = GuidanceEmbedding(4, 10)
    fresh = module.init(jax.random.key(0), jnp.ones(1))["params"]
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), fresh)
    w = np.array([1.0, 2.5, 6.0], np.float32)
    got = module.apply({"params": params}, jnp.asarray(w))
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    phase = 2 * np.pi * w.astype(np.float64)[:, None] * p["frequencies"]
    x = np.concatenate([np.cos(phase), np.sin(phase)], 1)
    x = x @ p["linear_1"]["kernel"] + p["linear_1"]["bias"]
    x = x / (1 + np.exp(-x))
    x = x @ p["linear_2"]["kernel"] + p["linear_2"]["bias"]
    np.testing.assert_allclose(got, x, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def student():
    return filled(STUDENT, 3)


@pytest.fixture(scope="module")
def apply():
    return jax.jit(STUDENT.apply)


def test_a_student_starts_as_its_teacher(inputs, student, apply):
    latents, t, contexts = inputs
    own = jax.tree.map(jnp.copy, student["guidance_embedding"])
    own["linear_2"] = jax.tree.map(jnp.zeros_like, own["linear_2"])
    student = {**student, "guidance_embedding": own}
    said = [
        apply({"params": student}, latents, t, contexts, None, jnp.full(3, w)) for w in (1.0, 5.0)
    ]
    np.testing.assert_array_equal(*said)
    teacher = {name: x for name, x in student.items() if name != "guidance_embedding"}
    heard = jax.jit(TINY.apply)({"params": teacher}, latents, t, contexts)
    np.testing.assert_allclose(said[0], heard, rtol=1e-6, atol=1e-6)
    fresh = GuidanceEmbedding(6, 32).init(jax.random.key(1), jnp.ones(1))["params"]
    assert not any(np.any(x) for x in jax.tree.leaves(fresh["linear_2"]))


def test_the_scale_of_a_clip_moves_that_clip_alone(inputs, student, apply):
    latents, t, contexts = inputs
    one = apply({"params": student}, latents, t, contexts, None, jnp.array([1.0, 2.0, 3.0]))
    other = apply({"params": student}, latents, t, contexts, None, jnp.array([1.0, 4.0, 3.0]))
    np.testing.assert_array_equal(one[0::2], other[0::2])
    assert float(jnp.abs(one[1] - other[1]).max()) > 1e-3


def test_a_table_of_steps_says_what_single_calls_say(inputs, student, apply):
    latents, t, contexts = inputs
    w = jnp.array([1.0, 2.0, 3.5])
    variables = {"params": student}
    table = jax.jit(lambda t, w: STUDENT.apply(variables, t, None, w, method="embed_time"))(t, w)
    assert jax.tree.leaves(table)[0].shape[:2] == (3, 3)

    @jax.jit
    def denoise(row):
        projected = STUDENT.apply(variables, contexts, method="project_contexts")
        return STUDENT.apply(variables, latents, row, projected, method="denoise")

    for step in range(3):
        got = denoise(jax.tree.map(lambda x, at=step: x[at], table))
        said = apply(variables, latents, jnp.full(3, t[step]), contexts, None, w)
        np.testing.assert_allclose(got, said, rtol=1e-5, atol=1e-5)


def test_an_input_too_few_or_too_many_is_said(inputs):
    latents, t, contexts = inputs
    with pytest.raises(ValueError, match="guidance_features is 6, so guidance is to be given"):
        jax.eval_shape(STUDENT.init, jax.random.key(0), latents, t, contexts)
    with pytest.raises(ValueError, match="guidance is not to be given"):
        jax.eval_shape(TINY.init, jax.random.key(0), latents, t, contexts, None, jnp.ones(3))


def test_diffusers_has_no_such_unet():
    with pytest.raises(ConversionError, match="guidance scale as an input"):
        published.to_config(STUDENT)
