"""Prepared TFDS datasets, as a builder leaves them."""

import json
import pathlib
import pickle
import zlib

import numpy as np
import pytest
import soundfile
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.proto import tf_example_pb2

from ldm_jax.data import rows
from ldm_jax.data.sources import open_source
from tests.data.sources.making import parted, reasons, sound


class Tones(tfds.core.GeneratorBasedBuilder):
    """Tones as a user's builder stores them: bytes, text and a class."""

    VERSION = tfds.core.Version("1.2.0")

    def _info(self):
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "audio": tfds.features.Tensor(shape=(), dtype=np.bytes_),
                    "captions": tfds.features.Sequence(tfds.features.Text()),
                    "label": tfds.features.ClassLabel(names=["low", "high"]),
                    "meta": {"speaker": tfds.features.Text(), "weight": np.float32},
                    "id": tfds.features.Text(),
                }
            )
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(3), "test_clean": self._generate_examples(1, 100)}

    def _generate_examples(self, count, first=0):
        for i in range(first, first + count):
            yield (
                i,
                {
                    "audio": sound("flac", hz=100.0 + i),
                    "captions": [f"tone {i}", "a tone"],
                    "label": i % 2,
                    "meta": {"speaker": f"s{i}", "weight": 1.0},
                    "id": f"id{i}",
                },
            )


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    root = tmp_path_factory.mktemp("tfds")
    Tones(data_dir=root, file_format="array_record").download_and_prepare()
    return root


@pytest.mark.parametrize("way", ["name", "version", "folder", "parent"])
def test_what_a_builder_prepared(data_dir, way, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))
    where = {
        "name": "tones",
        "version": "tones:1.2.0",
        "folder": data_dir / "tones/1.2.0",
        "parent": data_dir / "tones",
    }[way]
    source = open_source(where)
    assert source.layout == "tfds"
    clips, omissions = parted(source)
    assert omissions == []
    told = {c.name: (c.captions, c.labels, c.speaker, c.split) for c in clips}
    assert told == {
        "id0": (("tone 0", "a tone"), ("low",), "s0", "train"),
        "id1": (("tone 1", "a tone"), ("high",), "s1", "train"),
        "id2": (("tone 2", "a tone"), ("low",), "s2", "train"),
        "id100": (("tone 100", "a tone"), ("low",), "s100", "test"),
    }
    for found in clips:
        location = pickle.loads(pickle.dumps(found.audio))
        assert location.open().read() == sound("flac", hz=100.0 + int(found.name[2:]))
        assert str(location).startswith(str(data_dir / "tones/1.2.0"))


def test_names_that_are_not_there(tmp_path):
    with pytest.raises(ValueError, match=f"tones is neither a file or folder nor .* in {tmp_path}"):
        open_source("tones", data_dir=tmp_path)
    with pytest.raises(ValueError, match="neither a file or folder"):
        open_source(tmp_path / "nowhere")


def test_newest_version_is_taken(data_dir, tmp_path):
    for version in ("1.9.0", "1.10.0"):
        folder = tmp_path / "tones" / version
        folder.mkdir(parents=True)
        for path in (data_dir / "tones/1.2.0").iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
    clips, _ = parted(open_source("tones", data_dir=tmp_path))
    assert "/1.10.0/" in str(clips[0].audio)
    with pytest.raises(ValueError, match=r"tones:2.0.0 is neither"):
        open_source("tones:2.0.0", data_dir=tmp_path)


def example(**features) -> bytes:
    """A serialised tf.train.Example."""
    built = tf_example_pb2.Example()
    for name, value in features.items():
        feature = built.features.feature[name.replace("__", "/")]
        if isinstance(value, bytes | str):
            feature.bytes_list.value.append(value if isinstance(value, bytes) else value.encode())
        elif np.asarray(value).dtype.kind == "f":
            feature.float_list.value.extend(np.asarray(value).ravel().tolist())
        else:
            feature.int64_list.value.extend(np.asarray(value).ravel().tolist())
    return built.SerializeToString()


def stock(
    folder: pathlib.Path, audio: dict, *records: bytes, shard="00000-of-00001"
) -> pathlib.Path:
    """A dataset whose features are as TFDS writes them with TensorFlow."""
    base = "tensorflow_datasets.core.features."
    features = {
        "type": base + "features_dict.FeaturesDict",
        "content": {
            "features": {
                "speech": {"pythonClassName": base + "audio_feature.Audio", "audio": audio},
                "text": {"pythonClassName": base + "text_feature.Text", "text": {}},
                "speaker": {
                    "pythonClassName": base + "class_label_feature.ClassLabel",
                    "classLabel": {"numClasses": "2"},
                },
                "video": {"pythonClassName": base + "video_feature.Video", "video": {}},
            }
        },
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "features.json").write_text(json.dumps(features))
    (folder / "dataset_info.json").write_text('{"name": "stock", "fileFormat": "array_record"}')
    (folder / "speaker.labels.txt").write_text("ann\nbob\n")
    writer = ArrayRecordWriter(
        str(folder / f"stock-validation.array_record-{shard}"), "group_size:1"
    )
    for record in records:
        writer.write(record)
    writer.close()
    return folder


WAVE = (np.sin(np.arange(1600) / 10) * 20_000).astype(np.int16)


@pytest.mark.parametrize(
    ("audio", "stored", "subtype", "expected"),
    [
        ({"dtype": "int64", "sampleRate": "22050", "encoding": "NONE"}, WAVE, "PCM_16", WAVE),
        ({"dtype": "int64", "sampleRate": "22050"}, WAVE.astype(np.int64) * 65_536, "PCM_32", None),
        ({"dtype": "float32", "sampleRate": 22050.0}, WAVE / np.float32(32768), "FLOAT", WAVE),
        (
            {"dtype": "int16", "sampleRate": "22050", "encoding": "ZLIB"},
            zlib.compress(WAVE.tobytes()),
            "PCM_16",
            WAVE,
        ),
        (
            {"dtype": "int16", "sampleRate": "22050", "encoding": "BYTES"},
            WAVE.tobytes(),
            "PCM_16",
            WAVE,
        ),
    ],
)
def test_samples_keep_their_values(tmp_path, audio, stored, subtype, expected):
    folder = stock(
        tmp_path / "stock/1.0.0", audio, example(speech=stored, text="Good morning.", speaker=1)
    )
    (found,), omissions = parted(open_source(folder))
    assert omissions == []
    assert (found.transcript, found.speaker, found.split) == ("Good morning.", "bob", "validation")
    with found.audio.open() as stream, soundfile.SoundFile(stream) as file:
        assert (file.samplerate, file.channels, file.subtype) == (22050, 1, subtype)
        if expected is None:
            np.testing.assert_array_equal(file.read(dtype="int32"), stored)
        else:
            wave = file.read(dtype="float64") * 32768
            np.testing.assert_array_equal(wave, expected)


def test_features_as_old_versions_wrote_them(tmp_path):
    folder = stock(tmp_path / "1.0.0", {}, example(speech=WAVE, text="x"))
    audio = {"file_format": None, "shape": [None], "dtype": "int64", "sample_rate": 8000}
    features = {
        "speech": {"type": "a.b.Audio", "content": audio},
        "text": {"type": "a.b.Text", "content": {}},
    }
    old = {"type": "a.features_dict.FeaturesDict", "content": features}
    (folder / "features.json").write_text(json.dumps(old))
    (found,), _ = parted(open_source(folder))
    assert (found.captions, found.audio.sample_rate) == (("x",), 8000)


def test_channels_stand_next_to_each_other(tmp_path):
    audio = {"dtype": "int16", "sampleRate": "8000", "shape": {"dimensions": ["-1", "2"]}}
    stereo = np.stack([WAVE, -WAVE], axis=1)
    folder = stock(tmp_path / "1.0.0", audio, example(speech=stereo, text="x"))
    (found,), _ = parted(open_source(folder))
    with found.audio.open() as stream:
        wave, rate = soundfile.read(stream, dtype="int16")
    assert rate == 8000
    np.testing.assert_array_equal(wave, stereo)


def test_audio_that_decodes_lazily_is_a_file(tmp_path):
    folder = stock(
        tmp_path / "1.0.0",
        {"lazyDecode": True, "fileFormat": "flac"},
        example(speech=sound("flac")),
    )
    (found,), _ = parted(open_source(folder))
    assert found.audio.open().read() == sound("flac")
    assert found.name == "validation/stock-validation.array_record-00000-of-00001/0"


def test_rate_must_be_known(tmp_path):
    folder = stock(tmp_path / "1.0.0", {"dtype": "int64"}, example(speech=WAVE))
    with pytest.raises(
        ValueError, match="feature speech holds samples, but not their rate: give sample_rate"
    ):
        list(open_source(folder))
    (found,), _ = parted(open_source(folder, sample_rate=11_025))
    assert found.audio.sample_rate == 11_025


def test_tfrecord_is_refused(tmp_path):
    folder = stock(tmp_path / "1.0.0", {"dtype": "int64"})
    (folder / "stock-validation.array_record-00000-of-00001").unlink()
    (folder / "stock-train.tfrecord-00000-of-00001").write_bytes(b"")
    with pytest.raises(
        ValueError, match="only TensorFlow reads: prepare it again with `tfds build"
    ):
        list(open_source(folder))


def test_half_a_dataset(tmp_path):
    folder = stock(
        tmp_path / "1.0.0",
        {"lazyDecode": True},
        example(speech=sound()),
        b"\xff\xff",
        shard="00001-of-00003",
    )
    (folder / "stock-validation.array_record-00002-of-00003").write_bytes(b"no such thing" * 100)
    clips, omissions = parted(open_source(folder))
    assert len(clips) == 1
    told = reasons(omissions)
    assert told["stock-validation.array_record-00000-of-00003"] == "the file is not there"
    assert "cannot be read as array_record" in told["stock-validation.array_record-00002-of-00003"]
    assert (
        told["stock-validation.array_record-00001-of-00003, record 1"]
        == "the record is not a tf.train.Example"
    )
    (folder / "features.json").write_text("{}")
    with pytest.raises(ValueError, match=r"features.json is not one of TFDS"):
        list(open_source(folder))
    (folder / "features.json").unlink()
    with pytest.raises(ValueError, match=r"has no features.json .* did not come to its end"):
        list(open_source(folder, layout="tfds"))


def test_what_this_package_prepares(tmp_path):
    row = rows.Row(
        audio=sound("flac"), sample_rate=16_000, samples=1600, peak=0.5, loudness=-9.0, hash="ab", name="x/a#1",
        captions=("one", "two"), transcript="Hi.", labels=("dog",), kind="speech", language="en", speaker="s",
        licence="CC0", origin="elsewhere", quality=3, group="g", start=10.0,
    )  # fmt: skip
    folder = tmp_path / "mine/1.0.0"
    folder.mkdir(parents=True)
    rows.features().save_config(str(folder))
    (folder / "dataset_info.json").write_text("{}")
    writer = ArrayRecordWriter(
        str(folder / "mine-test.array_record-00000-of-00001"), "group_size:1"
    )
    writer.write(rows.to_bytes(row))
    writer.close()
    (found,), omissions = parted(open_source("mine", data_dir=tmp_path))
    assert omissions == []
    for field in ("name", "captions", "transcript", "labels", "kind", "language", "speaker", "licence", "origin",
                  "quality", "group"):  # fmt: skip
        assert getattr(found, field) == getattr(row, field), field
    assert (found.split, found.start, found.seconds) == ("test", 0.0, None)  # it is cut already
    assert found.audio.open().read() == row.audio
