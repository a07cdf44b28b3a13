import dataclasses

import flax
import numpy as np
import pytest

from ldm_jax.convert import native
from ldm_jax.convert.load import load
from ldm_jax.data.encoding.writing import hashes
from tests.data.encoding.conftest import SETTINGS


def changed(checkpoint, network, path):
    """`checkpoint` with one number of one parameter another."""
    flat = flax.traverse_util.flatten_dict(checkpoint.params[network], sep="/")
    x = np.array(flat[path])
    x.flat[-1] = np.nextafter(x.flat[-1], np.inf, dtype=x.dtype)
    params = flax.traverse_util.unflatten_dict({**flat, path: x}, sep="/")
    return dataclasses.replace(checkpoint, params={**checkpoint.params, network: params})


@pytest.mark.parametrize(
    ("network", "path", "stale"),
    [
        ("vae", "encoder/conv_in/kernel", {"latents"}),
        ("vae", "quant_conv/bias", {"latents"}),
        ("vae", "decoder/conv_out/kernel", set()),
        ("t5", "shared/embedding", {"t5"}),
        ("clap", "text_projection/linear2/bias", {"clap_text"}),
        ("clap", "audio_model/norm/scale", {"clap_audio"}),
    ],
)
def test_one_weight_changes_what_reads_it(checkpoint, network, path, stale):
    before, after = hashes(checkpoint), hashes(changed(checkpoint, network, path))
    assert {name for name in before if before[name] != after[name]} == stale


def test_audiomae_without_its_decoder_is_the_same(checkpoint, audiomae):
    flat = flax.traverse_util.flatten_dict(audiomae.params["audiomae"], sep="/")
    encoder = {
        path: x for path, x in flat.items() if not path.startswith(("decoder_", "mask_token"))
    }
    assert len(encoder) < len(flat)
    bare = dataclasses.replace(
        audiomae,
        networks={"audiomae": audiomae.networks["audiomae"].clone(decoder=None)},
        params={"audiomae": flax.traverse_util.unflatten_dict(encoder, sep="/")},
    )
    assert hashes(checkpoint, audiomae=bare) == hashes(checkpoint, audiomae=audiomae)


def test_layout_of_the_files_changes_nothing(checkpoint, tmp_path):
    native.save(checkpoint, tmp_path / "ours")
    assert hashes(load(tmp_path / "ours")) == hashes(checkpoint)
    assert set(hashes(checkpoint)) == {"latents", "clap_audio", "t5", "clap_text"}


def test_the_same_weights_in_another_shape_differ(checkpoint):
    heads = checkpoint.networks["t5"].clone(num_heads=2, d_kv=16)
    other = dataclasses.replace(checkpoint, networks={**checkpoint.networks, "t5": heads})
    assert hashes(other)["t5"] != hashes(checkpoint)["t5"]


def test_what_a_checkpoint_lacks_is_said(checkpoint):
    with pytest.raises(ValueError, match=r"has no audiomae: give its weights.*--audiomae"):
        hashes(checkpoint, what=SETTINGS.what)
    speech = dataclasses.replace(checkpoint, networks={"vae": checkpoint.networks["vae"]})
    with pytest.raises(ValueError, match="has no t5: it conditions on phonemes alone"):
        hashes(speech, what=("t5",))
