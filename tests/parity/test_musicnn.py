"""musicnn beside the package and TensorFlow; needs MUSICNN_SOURCE, see goldens_musicnn."""

import pathlib

import jax
import numpy as np
import pytest

from ldm_jax.audio.musicnn_features import musicnn_patches
from ldm_jax.convert import single
from tests import cases_audio
from tests import cases_musicnn as cases
from tests.convert import bundle_bytes
from tests.golden import FLOAT32_BOUND, relative_error
from tests.parity import goldens_musicnn as oracle

pytestmark = pytest.mark.skipif(not oracle.SOURCE, reason="MUSICNN_SOURCE is not set")


def ours(folder, patches):
    checkpoint = single.load(folder, "musicnn")
    module = checkpoint.networks["musicnn"]
    apply = jax.jit(lambda p, x: module.apply({"params": p}, x))
    return jax.tree.map(np.asarray, apply(checkpoint.params["musicnn"], patches))


@pytest.mark.parametrize("network", ["MTT_musicnn", "MSD_musicnn"])
def test_published_weights(network):
    """The network on the same patches; then from the wave, where the package rounds to 16 bits."""
    folder = pathlib.Path(oracle.SOURCE or "") / "musicnn" / network
    wave = cases.LEVEL * cases_audio.wave(160_000, 16_000)
    patches = musicnn_patches(wave.astype(np.float32))
    logits, embedding, _ = oracle.run(patches, None, checkpoint=f"{folder}/")
    found = ours(folder, patches)
    assert relative_error(found.logits, logits) < 1e-5 < FLOAT32_BOUND
    assert relative_error(found.embedding, embedding) < 1e-5
    probabilities, embedding = oracle.tags(wave, network)
    np.testing.assert_array_equal(
        embedding[1:], embedding[:1].repeat(2, axis=0)
    )  # an error of the package
    assert relative_error(found.embedding[0], embedding[0]) < 1e-3
    assert np.abs(1 / (1 + np.exp(-found.logits)) - probabilities).max() < 1e-3


def test_tensorflow_reads_what_is_written_by_hand(tmp_path):
    written = cases.bundle()
    folder = bundle_bytes.write(tmp_path, written, stem="by_hand", per_block=7)
    read = oracle.read_bundle(folder / "by_hand")
    assert read.keys() == written.keys()
    for name, x in written.items():
        np.testing.assert_array_equal(read[name], x)
        assert read[name].dtype == x.dtype
