"""Parameters in less room: how far what is read may be from what was written."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest
from flax import traverse_util

from ldm_jax import AudioLDM2
from ldm_jax.convert import native, random_checkpoint
from ldm_jax.convert.compact import SCALE, packed, rounded, unpacked
from ldm_jax.convert.files import open_tensors, save_tensors
from ldm_jax.convert.lazy import CheckpointError
from ldm_jax.convert.load import load

GENERATOR = np.random.default_rng(0)


def test_no_number_is_off_by_more_than_half_a_step():
    x = GENERATOR.standard_normal((3, 5, 64, 32)).astype(np.float32) * np.logspace(-3, 2, 32)
    whole, scale = rounded(x.astype(np.float32))
    assert (whole.dtype, scale.shape) == (np.int8, (1, 1, 1, 32))
    np.testing.assert_allclose(scale, np.abs(x).max((0, 1, 2), keepdims=True) / 127, rtol=1e-6)
    assert (np.abs(whole * scale - x) <= scale * 0.5001).all()


def test_rows_of_a_table_have_factors_of_their_own():
    table = GENERATOR.standard_normal((200, 64)) * np.logspace(-2, 2, 200)[:, None]
    whole, scale = rounded(table.astype(np.float32))
    assert scale.shape == (200, 1)
    # Uniform within a step: its standard deviation is a twelfth's root of a step.
    error = (whole * scale - table) / scale
    assert np.sqrt(np.square(error).mean()) == pytest.approx(12**-0.5, rel=0.05)


def test_zeros_stay_zeros():
    x = np.zeros((64, 64), np.float32)
    x[:, 0] = 2.0
    whole, scale = rounded(x)
    np.testing.assert_array_equal(whole * scale, x)


def test_what_is_small_is_not_rounded(tmp_path):
    tensors = {
        "kernel": GENERATOR.standard_normal((64, 64)).astype(np.float32),
        "bias": GENERATOR.standard_normal(5000).astype(np.float32),
        "little": GENERATOR.standard_normal((8, 8)).astype(np.float32),
        "count": np.arange(5),
    }
    save_tensors(tmp_path / "x.safetensors", packed(tensors, network="x", int8=True))
    stored = open_tensors(tmp_path / "x.safetensors")
    assert stored["kernel"].dtype == np.int8
    read = unpacked(stored)
    assert list(read) == sorted(tensors, key=list(read).index)
    for name in ("bias", "little", "count"):
        np.testing.assert_array_equal(read[name], tensors[name])
    assert read["kernel"].dtype == np.float32
    np.testing.assert_allclose(read["kernel"], tensors["kernel"], atol=0.51 * 5 / 127)
    halved = packed(tensors, network="x", half=True, int8=True)
    assert [halved[name].dtype for name in ("kernel", "bias", "count")] == [
        np.int8,
        np.float16,
        tensors["count"].dtype,
    ]


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ({f"other{SCALE}": np.ones((1, 4), np.float32)}, "is of no tensor of 8 bits"),
        ({f"bias{SCALE}": np.ones(4, np.float32)}, "is of no tensor of 8 bits"),
        ({f"kernel{SCALE}": np.ones((1, 3), np.float32)}, "does not fit what it is of"),
        ({f"kernel{SCALE}": np.ones(4, np.float32)}, "does not fit what it is of"),
    ],
)
def test_factors_that_do_not_fit_are_refused(tmp_path, factors, message):
    tensors = {"kernel": np.ones((4, 4), np.int8), "bias": np.ones(4, np.float32)} | factors
    save_tensors(tmp_path / "x.safetensors", tensors)
    with pytest.raises(CheckpointError, match=message):
        unpacked(open_tensors(tmp_path / "x.safetensors"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "tiny"
    random_checkpoint.write("tiny", folder, loa_tokens=9)
    native.save(load(folder), folder.with_name("ours"))
    return folder.with_name("ours")


def unet_of(checkpoint):
    return traverse_util.flatten_dict(checkpoint.params["unet"])


def test_a_network_in_8_bits_is_read_as_any_other(whole, tmp_path):
    native.save(load(whole), tmp_path / "small", half=True, int8=("unet",))
    before, after = unet_of(load(whole)), unet_of(load(tmp_path / "small"))
    assert before.keys() == after.keys()
    kernels = [path for path, x in before.items() if x.ndim > 1 and x.size >= 4096]
    assert kernels
    for path in kernels:
        largest = np.abs(before[path]).max()
        assert after[path].dtype == np.float32
        assert 0 < np.abs(after[path] - before[path]).max() <= 0.51 * largest / 127
    size = [(folder / "unet.safetensors").stat().st_size for folder in (whole, tmp_path / "small")]
    assert size[1] < 0.5 * size[0]
    with pytest.raises(CheckpointError, match="int8 names vox, which is not among"):
        native.save(load(whole), tmp_path / "other", int8=("vox",))


def test_a_part_is_read_with_its_rest(whole, tmp_path):
    checkpoint = load(whole)
    changed = {
        path: np.asarray(x) + (path[-1] == "bias") for path, x in unet_of(checkpoint).items()
    }
    part = dataclasses.replace(
        checkpoint,
        networks={"unet": checkpoint.networks["unet"]},
        params={"unet": traverse_util.unflatten_dict(changed)},
        seconds=2.56,
    )
    native.save(part, whole.parent / "part", rest=whole)
    assert sorted(path.name for path in (whole.parent / "part").iterdir()) == [
        "model.json",
        "unet.safetensors",
    ]
    moved = tmp_path / "moved"
    (whole.parent).rename(moved)
    try:
        again = load(moved / "part")
        assert again.networks == checkpoint.networks
        assert set(again.tokenizers) == set(checkpoint.tokenizers)
        assert again.seconds == 2.56
        for path, x in unet_of(again).items():
            np.testing.assert_array_equal(x, changed[path])
        vae = traverse_util.flatten_dict(again.params["vae"])
        for path, x in traverse_util.flatten_dict(load(moved / "ours").params["vae"]).items():
            np.testing.assert_array_equal(vae[path], x)
        native.save(part, moved / "third", rest=moved / "part")
        with pytest.raises(CheckpointError, match="is itself a part"):
            load(moved / "third")
        (moved / "ours").rename(moved / "elsewhere")
        with pytest.raises(CheckpointError, match="where there is none; move both together"):
            load(moved / "part")
        with pytest.raises(CheckpointError, match="cannot be read"):
            native.save(part, moved / "fourth", rest=moved / "ours")
        (moved / "elsewhere").rename(moved / "ours")
    finally:
        moved.rename(whole.parent)


def test_clips_are_told_apart_by_part_and_rest(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "rest")
    checkpoint = load(tmp_path / "rest")
    part = dataclasses.replace(
        checkpoint,
        networks={"unet": checkpoint.networks["unet"]},
        params={"unet": checkpoint.params["unet"]},
    )
    native.save(part, tmp_path / "part", rest=tmp_path / "rest")

    def told():
        return AudioLDM2.from_pretrained(tmp_path / "part").description["checkpoint_hash"]

    before = told()
    assert before == told()
    params = {**checkpoint.params, "vae": jax.tree.map(lambda x: x + 1, checkpoint.params["vae"])}
    native.save(dataclasses.replace(checkpoint, params=params), tmp_path / "rest", overwrite=True)
    assert told() != before
    assert load(tmp_path / "rest").rest == ""
