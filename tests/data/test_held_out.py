"""What is tested on stays out of what is trained on, whichever dataset it came in."""

import numpy as np
import pytest
import soundfile

from ldm_jax.data.held_out import held_out_hashes, training_rows
from ldm_jax.data.prepare.run import prepare
from ldm_jax.data.prepare.settings import Settings
from ldm_jax.data.prepared import open_prepared
from ldm_jax.data.sources import open_source


def prepared(folder, name, splits):
    """A dataset of noise clips: {split: seeds}; equal seeds sound equal."""
    source = folder / f"{name} as it lies"
    for split, seeds in splits.items():
        (source / split).mkdir(parents=True)
        for seed in seeds:
            wave = np.random.default_rng(seed).integers(-(2**14), 2**14, 4000, np.int16)
            # One set has WAV files, the other FLAC: content is compared, not files.
            suffix = "wav" if name == "one" else "flac"
            soundfile.write(source / split / f"{name} {seed}.{suffix}", wave, 16_000)
    prepare(open_source(str(source)), folder, name=name, settings=Settings())
    return open_prepared(folder / name)


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("datasets")
    one = prepared(folder, "one", {"train": [1, 2, 3, 4], "test": [5, 1]})
    other = prepared(folder, "other", {"train": [4, 5, 6, 7], "validation": [8, 2]})
    return one, other


def seeds(rows):
    return sorted(int(row.name.rsplit(" ", 1)[1].split(".")[0]) for row in rows)


def test_within_a_dataset_the_test_split_keeps_what_both_have(datasets):
    assert seeds(datasets[0].rows("test")) == [1, 5]
    assert seeds(datasets[0].rows("train")) == [2, 3, 4]


def test_between_datasets_what_is_held_out_of_one_is_held_out_of_all(datasets):
    hashes = held_out_hashes(datasets)
    assert len(hashes) == 4
    kept = [training_rows(dataset, hashes) for dataset in datasets]
    assert seeds(kept[0]) == [3, 4]  # 2 is validated on in the other set
    assert seeds(kept[1]) == [4, 6, 7]  # 5 is tested on in the first
    trained = {row.hash for rows in kept for row in rows}
    assert not trained & hashes


def test_nothing_left_is_said(datasets):
    everything = held_out_hashes(datasets, splits=("train",))
    with pytest.raises(ValueError, match="split train, are held out"):
        training_rows(datasets[1], everything)
