"""What our own folder keeps of a distilled model."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from ldm_jax.convert import diffusers_folder, native, random_checkpoint
from ldm_jax.convert.lazy import CheckpointError
from ldm_jax.convert.load import load, read_own
from ldm_jax.convert.rules import ConversionError
from tests.tiny_students import CONSISTENCY, GUIDED, PROGRESSIVE, student, write

BAKED = dataclasses.replace(PROGRESSIVE, guidance=(), guidance_scale=3.0)


@pytest.fixture(scope="module")
def taught_by(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher") / "tiny"
    random_checkpoint.write("tiny", folder, loa_tokens=9)
    return folder


@pytest.fixture
def folder(taught_by, tmp_path):
    write(taught_by, CONSISTENCY, into=tmp_path / "student")
    return tmp_path / "student"


def changed(folder, **change):
    path = folder / "model.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | change))
    return content


@pytest.mark.parametrize("distilled", [GUIDED, PROGRESSIVE, CONSISTENCY, BAKED])
def test_how_it_is_sampled_is_kept(taught_by, tmp_path, distilled):
    write(taught_by, distilled, into=tmp_path / "student")
    again = load(tmp_path / "student")
    assert again.distilled == read_own(tmp_path / "student").distilled == distilled
    features = again.networks["unet"].guidance_features
    assert features == (6 if distilled.guidance else None)


def test_no_weights_are_read_to_know_it(folder):
    (folder / "unet.safetensors").unlink()
    assert read_own(folder).distilled == CONSISTENCY


def test_the_length_of_its_clips_is_kept(taught_by, tmp_path):
    native.save(dataclasses.replace(load(taught_by), seconds=5.12), tmp_path / "short")
    assert load(tmp_path / "short").seconds == read_own(tmp_path / "short").seconds == 5.12
    content = changed(tmp_path / "short")
    del content["seconds"]  # a folder from before it was kept
    (tmp_path / "short" / "model.json").write_text(json.dumps(content))
    assert load(tmp_path / "short").seconds == read_own(tmp_path / "short").seconds == 10.24


def test_what_is_not_distilled_says_so(taught_by, tmp_path):
    assert read_own(taught_by).distilled is None
    native.save(load(taught_by), tmp_path / "ours")
    assert read_own(tmp_path / "ours").distilled is None
    content = changed(tmp_path / "ours")
    del content["distilled"]  # a folder from before there were students
    (tmp_path / "ours" / "model.json").write_text(json.dumps(content))
    assert load(tmp_path / "ours").distilled is None


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (CONSISTENCY.to_json() | {"colour": 1}, "has no colour; was this saved by a newer ldm_jax"),
        (CONSISTENCY.to_json() | {"steps": 18}, "18 levels do not make 18 steps"),
        ({"steps": 1}, "cannot be understood: .*method"),
        (7, "distilled is 7 and not an object"),
    ],
)
def test_what_cannot_be_understood_is_one_sentence(folder, told, message):
    changed(folder, distilled=told)
    for read in (load, read_own):
        with pytest.raises(CheckpointError, match=message) as caught:
            read(folder)
        assert "\n" not in str(caught.value)


def test_a_scale_as_input_and_its_range_belong_together(taught_by, folder, tmp_path):
    changed(folder, distilled=None)
    with pytest.raises(
        CheckpointError, match=r"takes a guidance scale as an input, .* names no range"
    ):
        load(folder)
    changed(folder, distilled=BAKED.to_json())
    with pytest.raises(
        CheckpointError, match=r"takes a guidance scale as an input, .* names no range"
    ):
        load(folder)
    native.save(load(taught_by), tmp_path / "ours")
    changed(tmp_path / "ours", distilled=GUIDED.to_json())
    with pytest.raises(CheckpointError, match=r"no guidance scale as an input, .* names a range"):
        load(tmp_path / "ours")


@pytest.mark.parametrize("distilled", [GUIDED, BAKED])
def test_the_diffusers_layout_is_refused(taught_by, tmp_path, distilled):
    with pytest.raises(
        ConversionError, match="no place for how a distilled model is to be sampled"
    ):
        diffusers_folder.save(student(taught_by, distilled), tmp_path / "theirs")
    assert not (tmp_path / "theirs").exists()


def test_half_the_room(taught_by, tmp_path):
    whole = load(taught_by)
    native.save(whole, tmp_path / "whole")
    native.save(whole, tmp_path / "half", half=True)
    sizes = [(tmp_path / x / "unet.safetensors").stat().st_size for x in ("half", "whole")]
    assert sizes[0] < 0.6 * sizes[1]
    again = load(tmp_path / "half")
    for name, params in whole.params.items():
        for ours, theirs in zip(
            jax.tree.leaves(again.params[name]), jax.tree.leaves(params), strict=True
        ):
            assert ours.dtype == np.float16
            # Half a unit in the last of 11 bits; below 2^-14 the spacing no longer shrinks.
            np.testing.assert_allclose(np.float64(ours), theirs, rtol=2.0**-11, atol=2.0**-25)


def test_what_float16_cannot_hold_is_refused(taught_by, tmp_path):
    whole = load(taught_by)
    large = jax.tree.map(lambda x: np.full_like(x, 7e4), whole.params["vae"])
    with pytest.raises(CheckpointError, match="vae has numbers that float16 cannot hold"):
        native.save(dataclasses.replace(whole, params={"vae": large}), tmp_path / "half", half=True)
    assert not (tmp_path / "half").exists()
