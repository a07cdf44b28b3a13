"""The contrastive loss against LAION's and against what can be written down; recall."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.train.losses.contrastive import contrastive_loss, cosines, found, same_rows
from tests.golden import load, random_array, relative_error


def test_one_scale_is_laions():
    _, outputs = load("clap_training")
    text, audio = (jnp.asarray(outputs[x], jnp.float32) for x in ("text", "audio"))
    shapes, _ = load("clap_training")
    assert shapes["logit_scale_a"] == ()
    scale = jnp.float32(outputs["scale"])

    def loss(text, audio, log_scale):
        scale = jnp.exp(log_scale)
        return contrastive_loss(cosines(text, audio), text_scale=scale, audio_scale=scale)

    value, slopes = jax.value_and_grad(loss, argnums=(0, 1, 2))(text, audio, scale)
    assert relative_error(value, outputs["one_scale"]) < 1e-5
    for name, slope in zip(("text", "audio", "scale"), slopes, strict=True):
        assert relative_error(slope, outputs[f"one_scale_{name}_gradient"]) < 1e-4, name


def test_each_direction_has_its_scale():
    """Logits 0 make ln n: a scale of 0 leaves the other direction alone."""
    c = jnp.asarray(random_array("c", (5, 5)), jnp.float32)
    zero, one = jnp.float32(0), jnp.float32(1)
    log_softmax = np.asarray(c) - np.log(np.exp(c).sum(1, keepdims=True))
    want = (np.log(5) - np.diagonal(log_softmax).mean()) / 2
    assert contrastive_loss(c, text_scale=one, audio_scale=zero) == pytest.approx(want, rel=1e-5)
    assert contrastive_loss(c.T, text_scale=zero, audio_scale=one) == pytest.approx(want, rel=1e-5)


def test_left_out_pairs_have_no_gradient():
    c = jnp.asarray(random_array("c", (4, 4)), jnp.float32)
    twins = jnp.zeros((4, 4), bool).at[jnp.array([0, 1, 2]), jnp.array([1, 0, 2])].set(True)

    def loss(c):
        return contrastive_loss(
            c, text_scale=jnp.float32(3), audio_scale=jnp.float32(2), left_out=twins
        )

    value, slope = jax.value_and_grad(loss)(c)
    assert np.isfinite(value)
    assert np.isfinite(slope).all()
    gone = np.zeros((4, 4), bool)
    gone[0, 1] = gone[1, 0] = True  # the diagonal stays
    np.testing.assert_array_equal(np.asarray(slope) == 0, gone)


def test_found():
    c = jnp.array([[0.9, 0.2, 0.1], [0.8, 0.5, 0.6], [0.3, 0.3, 0.3]])
    nobody = jnp.eye(3, dtype=bool)
    np.testing.assert_array_equal(found(c, same=nobody), [True, False, False])  # a tie is no find
    np.testing.assert_array_equal(found(c, same=nobody, among=3), [True, True, True])
    np.testing.assert_array_equal(found(c, same=nobody, among=2), [True, False, False])
    twins = nobody.at[1, 0].set(True).at[0, 1].set(True)
    np.testing.assert_array_equal(found(c, same=twins, among=2), [True, True, False])
    np.testing.assert_array_equal(found(jnp.ones((4, 4)), same=jnp.eye(4, dtype=bool)), [False] * 4)


def test_same_rows_look_past_padding():
    ids = jnp.array([[5, 6, 1], [5, 6, 9], [5, 6, 9], [5, 7, 1]])
    mask = jnp.array([[1, 1, 0], [1, 1, 0], [1, 1, 1], [1, 1, 0]], bool)
    want = np.eye(4, dtype=bool)
    want[0, 1] = want[1, 0] = True
    np.testing.assert_array_equal(same_rows(ids, mask), want)
