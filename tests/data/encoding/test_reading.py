import concurrent.futures
import dataclasses
import json
import pickle
import shutil

import numpy as np
import pytest

from ldm_jax.data.encoding.reading import EncodingError, open_encoding
from ldm_jax.data.encoding.settings import Settings, key
from ldm_jax.data.encoding.writing import encode, hashes
from tests.data.encoding.conftest import SETTINGS
from tests.data.encoding.test_parts import changed


@pytest.fixture(scope="module")
def train(prepared, folder):
    return open_encoding(prepared)


@pytest.fixture
def copy(prepared, folder, tmp_path):
    """The dataset in a folder of its own, to be spoilt."""
    shutil.copytree(prepared.folder, tmp_path / "1.0.0")
    return dataclasses.replace(prepared, folder=tmp_path / "1.0.0")


def equal(first, second):
    assert first.keys() == second.keys()
    for name, x in first.items():
        np.testing.assert_array_equal(x, second[name])


def test_rows_come_as_asked(train):
    windows = [7, 0, 7, 3]
    captions = [0, 5, 2, 5]
    batch = train.batch(windows, captions=captions)
    for i, (window, caption) in enumerate(zip(windows, captions, strict=True)):
        equal({name: x[i : i + 1] for name, x in batch.items()},
              train.batch([window], captions=[caption]))  # fmt: skip
    assert len({x.tobytes() for x in train.batch(range(len(train)))["latents"]}) == len(train)
    assert batch["samples"].tolist() == train.windows.samples[windows].tolist()
    assert train.batch([])["latents"].shape == (0, 32, 16, 16)


def test_the_first_caption_is_the_default(train):
    numbers = np.array([train.captions_of(window)[0] for window in range(len(train))])
    equal(train.batch(range(len(train))), train.batch(range(len(train)), captions=numbers))


def test_captions_are_drawn_evenly(train):
    window = int(np.flatnonzero(train.windows.row == 1)[0])  # of three captions
    draws = (np.arange(300) + 0.5) / 300
    drawn = train.draw_captions(np.full(300, window), draws)
    np.testing.assert_array_equal(drawn, np.repeat(train.captions_of(window), 100))


def test_lengths_of_text(train):
    whole = train.batch([0], captions=[5])
    count = int(whole["t5_mask"].sum())
    cut = train.batch([0], captions=[5], text_length=count - 1)
    assert cut["t5_mask"].all()
    np.testing.assert_array_equal(cut["t5"], whole["t5"][:, : count - 1])
    padded = train.batch([0], captions=[5], text_length=200)
    assert padded["t5_mask"].sum() == count
    np.testing.assert_array_equal(padded["t5"][:, :count], whole["t5"][:, :count])


def test_threads_and_processes_see_the_same(train):
    windows = np.random.default_rng(0).integers(0, len(train), (40, 16))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        together = list(pool.map(train.batch, windows))
    again = pickle.loads(pickle.dumps(train))
    assert len(pickle.dumps(train)) < 2000  # a path, not arrays
    for batch, places in zip(together, windows, strict=True):
        equal(batch, again.batch(places))


def test_what_is_not_there(train):
    with pytest.raises(IndexError, match="no window 10; they are 0 to 9"):
        train.batch([10])
    with pytest.raises(IndexError, match="no window -1"):
        train.batch([-1])
    with pytest.raises(IndexError, match="no caption 9"):
        train.batch([0], captions=[9])
    with pytest.raises(ValueError, match="mel was not encoded; there are latents, loa"):
        train.batch([0], what=["mel"])


def test_what_is_meant_is_opened(prepared, folder, checkpoint, audiomae):
    digests = hashes(checkpoint, audiomae=audiomae)
    opened = open_encoding(prepared, "test", checkpoint_hashes=digests, settings=SETTINGS)
    assert opened.folder == folder
    assert len(opened) == 2


@pytest.mark.parametrize(
    ("path", "name"),
    [("encoder/conv_in/kernel", "latents"), ("text_model/pooler/dense/bias", "clap_text")],
)
def test_another_checkpoint_is_refused(prepared, folder, checkpoint, path, name):
    network = "vae" if name == "latents" else "clap"
    digests = hashes(changed(checkpoint, network, path))
    with pytest.raises(EncodingError, match=f"{name} was encoded with other weights"):
        open_encoding(prepared, checkpoint_hashes=digests)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seconds": 2.56}, "seconds was 1.28, not 2.56"),
        ({"loa": "grid"}, "loa was 'pooled', not 'grid'"),
        ({"what": ("latents",)}, "what was"),
        ({"dtype": "bfloat16"}, "dtype was 'float32', not 'bfloat16'"),
    ],
)
def test_other_settings_are_refused(prepared, folder, change, words):
    with pytest.raises(EncodingError, match=words):
        open_encoding(prepared, settings=dataclasses.replace(SETTINGS, **change))


def test_another_dataset_is_refused(make, copy, folder):
    (copy.folder.parent / "smaller").mkdir()
    smaller = make(copy.folder.parent / "smaller", count=7)
    shutil.copytree(copy.folder / "encodings", smaller.folder / "encodings")
    with pytest.raises(EncodingError, match="the dataset has changed since it was encoded"):
        open_encoding(smaller)


def test_missing_and_broken_files_are_named(copy):
    (place,) = (copy.folder / "encodings").iterdir()
    shard = place / "train" / "latents-00001.npy"
    whole = shard.read_bytes()
    for content in (whole[:-100], b"", whole[:20]):
        shard.write_bytes(content)
        with pytest.raises(EncodingError, match=r"latents-00001\.npy cannot be read"):
            open_encoding(copy)
    shard.unlink()
    with pytest.raises(EncodingError, match=r"latents-00001\.npy cannot be read"):
        open_encoding(copy)
    shutil.copy(place / "train" / "latents-00002.npy", shard)
    with pytest.raises(EncodingError, match=r"latents-00001\.npy holds 2 entries, not 4"):
        open_encoding(copy)
    (place / "encoding.json").unlink()
    with pytest.raises(EncodingError, match=r"is not encoded \(or not to the end\); run python -m"):
        open_encoding(copy)
    with pytest.raises(EncodingError, match="no split 'dev'; there are test, train"):
        open_encoding(copy, "dev")


def test_one_of_several_must_be_named(copy):
    (place,) = (copy.folder / "encodings").iterdir()
    shutil.copytree(place, place.with_name("0123456789ab"))
    about = json.loads((place / "encoding.json").read_text())
    about["settings"]["clap_padding"] = "pad"
    (place / "encoding.json").write_text(json.dumps(about))
    with pytest.raises(EncodingError, match="several encodings that fit"):
        open_encoding(copy)
    assert open_encoding(copy, settings=SETTINGS).folder.name == "0123456789ab"


def test_every_setting_has_a_folder_of_its_own():
    changes = ({}, {"what": ("t5",)}, {"seconds": 5.0}, {"shortest": 0.5}, {"loa": "grid"},
               {"clap_padding": "pad"}, {"padding": "repeat"}, {"dtype": "bfloat16"}, {"shard": 7})  # fmt: skip
    keys = [key("dataset", dataclasses.replace(Settings(), **change), {}) for change in changes]
    keys += [key("other", Settings(), {}), key("dataset", Settings(), {"t5": "00"})]
    assert len(set(keys)) == len(keys)
    assert len(changes) == 1 + len(dataclasses.fields(Settings))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"what": ()}, "nothing to encode"),
        ({"what": ("mel",)}, "'mel' cannot be encoded; there are latents, loa"),
        ({"loa": "some"}, "it can be 'pooled' or 'grid'"),
        ({"clap_padding": "none"}, "'repeatpad', 'repeat' or 'pad'"),
        ({"padding": "zeros"}, "it can be 'end' or 'repeat'"),
        ({"dtype": "int8"}, "'float32' or 'bfloat16'"),
        ({"seconds": 0.0}, "must be positive"),
    ],
)
def test_settings_that_cannot_be(change, words):
    with pytest.raises(ValueError, match=words):
        Settings(**change)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"seconds": 1.25},
            "125 frames, which the VAE cannot divide by 4; take a multiple of 0.04 s",
        ),
        ({"seconds": 5.12}, "longer than AudioMAE's 2.56 s; leave out loa"),
    ],
)
def test_windows_that_networks_cannot_take(prepared, checkpoint, audiomae, settings, words):
    with pytest.raises(ValueError, match=words):
        encode(prepared, checkpoint, settings=Settings(**settings), audiomae=audiomae)
    assert len(list((prepared.folder / "encodings").glob("*/encoding.json"))) <= 1


def test_another_rate_is_refused(prepared, checkpoint):
    system = dataclasses.replace(checkpoint, sample_rate=48_000)
    with pytest.raises(ValueError, match="prepared at 16000 Hz and tiny takes 48000 Hz"):
        encode(prepared, system, settings=Settings(what=("latents",)))


def test_numbers_that_are_not_finite_are_refused(make, folder, checkpoint, audiomae):
    prepared = make()
    params = dict(checkpoint.params)
    params["vae"] = {**params["vae"], "quant_conv": {
        "kernel": params["vae"]["quant_conv"]["kernel"] * np.float32("nan"),
        "bias": params["vae"]["quant_conv"]["bias"],
    }}  # fmt: skip
    broken = dataclasses.replace(checkpoint, params=params)
    with pytest.raises(EncodingError, match="latents comes out not finite"):
        encode(prepared, broken, settings=SETTINGS, audiomae=audiomae, batch=2)
    assert not list(prepared.folder.glob("encodings/*/*/latents*"))
    assert not list(prepared.folder.glob("encodings/*/*/.*"))
