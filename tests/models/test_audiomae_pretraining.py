"""Masking, patches and the reconstruction loss, against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.models.audiomae_pretraining import (
    patchify,
    random_masking,
    reconstruction_loss,
    unpatchify,
)
from tests.golden import random_array


@pytest.mark.parametrize(("ratio", "kept"), [(0.8, 102), (0.75, 128), (0.0, 512)])
def test_random_masking(ratio, kept):
    keep, restore, mask = random_masking(jax.random.key(3), batch=64, tokens=512, mask_ratio=ratio)
    assert keep.shape == (64, kept)
    np.testing.assert_array_equal(np.sort(restore, axis=1), np.tile(np.arange(512), (64, 1)))
    np.testing.assert_array_equal(np.take_along_axis(restore, keep, axis=1)[0], np.arange(kept))
    hidden = np.ones((64, 512))
    np.put_along_axis(hidden, np.asarray(keep), 0, axis=1)
    np.testing.assert_array_equal(mask, hidden)
    assert len({tuple(row) for row in np.asarray(keep)}) == 64  # each clip its own


def test_every_patch_is_hidden_equally_often():
    draws = 4_000
    mask = np.asarray(random_masking(jax.random.key(0), batch=draws, tokens=32).mask)
    share = 26 / 32  # int(32 * 0.2) = 6 kept
    assert np.abs(mask.mean(axis=0) - share).max() < 4.5 * np.sqrt(share * (1 - share) / draws)


def test_masking_must_leave_a_patch():
    with pytest.raises(ValueError, match=r"mask_ratio 0\.99 leaves 0 of 32 patches"):
        random_masking(jax.random.key(0), batch=1, tokens=32, mask_ratio=0.99)


def test_patchify():
    fbank = jnp.asarray(random_array("fbank", (2, 48, 32)), jnp.float32)
    patches = patchify(fbank, 16)
    assert patches.shape == (2, 6, 256)
    for time, frequency in ((0, 0), (17, 3), (47, 31), (20, 16)):
        token, pixel = time // 16 * 2 + frequency // 16, time % 16 * 16 + frequency % 16
        assert patches[1, token, pixel] == fbank[1, time, frequency]
    np.testing.assert_array_equal(unpatchify(patches, 32), fbank)
    with pytest.raises(ValueError, match=r"\(48, 30\) does not split into patches of 16"):
        patchify(jnp.zeros((1, 48, 30)))
    with pytest.raises(ValueError, match="6 patches of 256 do not make up 128"):
        unpatchify(jnp.zeros((1, 6, 200 + 56)))


def test_loss_of_closed_forms():
    fbank = jnp.asarray(random_array("fbank", (2, 32, 32)), jnp.float32)
    mask = jnp.asarray([[1, 0, 1, 0], [0, 0, 0, 1]], jnp.float32)
    patches = patchify(fbank)
    assert float(reconstruction_loss(patches + 0.5, fbank, mask, norm_pix=False)) == pytest.approx(
        0.25, rel=1e-5
    )
    # Zero predictions miss normalised patches by their variance, which counts 255 of 256 degrees.
    zero = reconstruction_loss(jnp.zeros_like(patches), fbank, mask)
    assert float(zero) == pytest.approx(255 / 256, rel=1e-5)
    visible = patches.at[0, 1].add(7.0)  # an error on a patch that was seen costs nothing
    assert float(reconstruction_loss(visible, fbank, mask, norm_pix=False)) == 0.0
