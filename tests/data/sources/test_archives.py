"""Parquet and WebDataset: audio inside other files."""

import gzip
import io
import json
import pickle
import tarfile

import pyarrow
import pyarrow.parquet
import pytest
import soundfile

from ldm_jax.data.clip import Clip
from ldm_jax.data.locations import FilePart, ParquetCell
from ldm_jax.data.sources import open_source
from tests.data.sources.making import parted, put, reasons, sound


def content(clip: Clip) -> bytes:
    """What its location opens, also after a journey to another process."""
    location = pickle.loads(pickle.dumps(clip.audio))
    assert len(pickle.dumps(location)) < 1000
    with location.open() as stream:
        return stream.read()


def parquet(path, rows, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path, **options)


def test_parquet_with_structs(tmp_path):
    audio = [sound(hz=100.0 * (i + 1)) for i in range(5)]
    rows = [
        {
            "audio": {"bytes": data, "path": f"{i}.wav"},
            "caption": f"number {i}",
            "alt_captions": [f"no {i}"],
            "start_time": 30,
            "quality": 3,
        }
        for i, data in enumerate(audio)
    ]
    parquet(tmp_path / "data/train-00000-of-00001.parquet", rows[:3], row_group_size=2)
    parquet(tmp_path / "data/validation-00000-of-00001.parquet", rows[3:])
    put(tmp_path, "data/test-00000-of-00001.parquet", b"PAR1 is not all it takes")
    parquet(tmp_path / "other.parquet", [{"a": 1}])
    source = open_source(tmp_path)
    assert source.layout == "parquet"
    clips, omissions = parted(source)
    path = str(tmp_path / "data/train-00000-of-00001.parquet")
    assert clips[2] == Clip(
        name="2.wav",
        audio=ParquetCell(path, "audio", group=1, row=0),
        captions=("number 2", "no 2"),
        quality=3,
        split="train",
        origin=tmp_path.name,
    )
    assert [c.split for c in clips] == ["train"] * 3 + ["validation"] * 2
    assert [content(c) for c in clips] == audio
    assert str(clips[2].audio) == f"{path}: row 0 of group 1"
    told = reasons(omissions)
    assert told["data/test-00000-of-00001.parquet"].startswith("cannot be read as Parquet: ")
    assert told["other.parquet"] == "no column of audio files; it has a"
    assert len(told) == 2


def test_parquet_with_bytes_alone(tmp_path):
    table = pyarrow.table({"wav": [sound(), None]})
    pyarrow.parquet.write_table(table, tmp_path / "x.parquet")
    clips, _ = parted(open_source(tmp_path / "x.parquet", names="none"))
    assert [c.name for c in clips] == ["x.parquet, group 0, row 0", "x.parquet, group 0, row 1"]
    assert content(clips[0]) == sound()
    with pytest.raises(OSError, match=r"x.parquet: row 1 of group 0 is empty"):
        clips[1].audio.open()


def test_parquet_speech_is_known_by_its_speakers(tmp_path):
    row = {
        "audio": {"bytes": sound(), "path": None},
        "text": "HI <PERIOD>",
        "speaker_id": 12,
        "id": "a-1",
    }
    parquet(tmp_path / "test.clean-0.parquet", [row, row])
    clips, _ = parted(open_source(tmp_path))
    assert [(c.name, c.transcript, c.captions, c.speaker, c.split) for c in clips] == [
        ("a-1", "HI.", (), "12", "test"),
        ("a-1~2", "HI.", (), "12", "test"),
    ]


def tar(path, members, mode="w"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def test_webdataset(tmp_path):
    long = "deep/" * 40 + "é"
    path = tar(
        tmp_path / "train/shard-000.tar",
        [
            ("./a.flac", sound("flac")),
            ("./a.json", json.dumps({"text": ["one", "two"], "tag": ["x"], "start": 5}).encode()),
            ("./a.txt", b"three\none\n"),
            ("b.1.mp3", sound("mp3")),
            ("b.cls", b"dog"),
            ("c.txt", b"nothing to hear"),
            ("d.m4a", b"?"),
            (f"{long}.wav", sound(hz=220)),
            ("e.wav", sound(hz=330)),
            ("e.txt", b"caf\xe9"),
            ("f.opus", sound("opus")),
            ("f.json", b"{"),
        ],
    )
    source = open_source(tmp_path)
    assert source.layout == "webdataset"
    clips, omissions = parted(source)
    assert [(c.name, c.captions, c.labels, c.split) for c in clips] == [
        ("train/shard-000/a", ("one", "two", "three"), ("x",), "train"),
        ("train/shard-000/b", (), ("dog",), "train"),
        (f"train/shard-000/{long}", (), (), "train"),
        ("train/shard-000/e", (), (), "train"),
        ("train/shard-000/f", (), (), "train"),
    ]
    assert [content(c) for c in clips] == [
        sound("flac"), sound("mp3"), sound(hz=220), sound(hz=330), sound("opus"),
    ]  # fmt: skip
    assert isinstance(clips[0].audio, FilePart)
    assert str(clips[0].audio) == f"{path}: ./a.flac"
    with clips[0].audio.open() as stream, soundfile.SoundFile(stream) as found:
        assert (found.format, found.frames, found.samplerate) == ("FLAC", 1600, 16_000)
    told = reasons(omissions)
    assert told.pop("f.json").startswith("shard-000.tar: not JSON")
    assert told == {
        "train/shard-000/c": "train/shard-000.tar: no audio among c.txt",
        "train/shard-000/d": "train/shard-000.tar: libsndfile does not read .m4a",
        "e.txt": "shard-000.tar: not UTF-8 (byte 0xe9)",
    }


def test_a_window_on_a_file(tmp_path):
    path = put(tmp_path, "x", b"0123456789")
    with FilePart(str(path), 2, 5, "m").open() as stream:
        assert stream.read() == b"23456"
        assert (stream.seek(-2, 2), stream.read(9), stream.tell()) == (3, b"56", 5)
        assert (stream.seek(1), stream.read(2), stream.seek(1, 1), stream.read()) == (
            1,
            b"34",
            4,
            b"6",
        )
        assert stream.seek(9) == 9
        assert stream.read() == b""
        with pytest.raises(OSError, match="cannot seek to -1"):
            stream.seek(-1)


@pytest.mark.parametrize(
    "fault", ["cut in a member", "cut in a header", "garbage", "empty", "zeros at once"]
)
def test_broken_archive_among_good_ones(tmp_path, fault):
    good = [(f"{i}.wav", sound(hz=100.0 + i)) for i in range(3)]
    tar(tmp_path / "1.tar", [("x.wav", sound()), ("y.wav", sound())])
    path = tar(tmp_path / "2.tar", good)
    tar(tmp_path / "3.tar", [("z.wav", sound())])
    whole = path.read_bytes()
    block = 512 + -(-len(sound()) // 512) * 512
    broken = {
        "cut in a member": whole[: 2 * block + 700],
        "cut in a header": whole[: 2 * block + 100],
        "garbage": whole[: 2 * block] + b"\xff" * 2000,
        "empty": b"",
        "zeros at once": b"\0" * 1024,
    }[fault]
    path.write_bytes(broken)
    clips, omissions = parted(open_source(tmp_path))
    inner = [] if fault in ("empty", "zeros at once") else ["2/0", "2/1"]
    assert [c.name for c in clips] == ["1/x", "1/y", *inner, "3/z"]
    if fault == "zeros at once":
        assert omissions == []  # a whole archive of nothing
    else:
        assert [o.name for o in omissions] == ["2.tar"]


def test_compressed_archives_are_refused(tmp_path):
    path = tar(tmp_path / "1.tar", [("x.wav", sound())])
    (tmp_path / "2.tar.gz").write_bytes(gzip.compress(path.read_bytes()))
    clips, omissions = parted(open_source(tmp_path))
    assert [c.name for c in clips] == ["1/x"]
    assert "unpack it with gunzip" in reasons(omissions)["2.tar.gz"]
    path.unlink()
    with pytest.raises(ValueError, match=r"unpack it with gunzip to a .tar first"):
        list(open_source(tmp_path))
    with pytest.raises(ValueError, match=r"unpack it with gunzip to a .tar first"):
        list(open_source(tmp_path / "2.tar.gz"))
