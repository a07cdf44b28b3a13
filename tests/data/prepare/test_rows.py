import dataclasses
import os
import subprocess
import sys

import pytest

from ldm_jax.data import rows
from ldm_jax.data.rows import Row, from_bytes, from_example, to_bytes

ROW = Row(
    audio=bytes(range(256)),
    sample_rate=16_000,
    samples=160_000,
    peak=0.5,
    loudness=-20.25,
    hash="ab" * 16,
    name="a/b c#1",
    captions=("ein Hund bellt", "", "雨 \u2028 \0"),
    transcript="",
    labels=(),
    kind="sound",
    language="",
    speaker="",
    licence="CC0",
    origin="tests",
    quality=-3,
    group="",
    start=-1.5,
)
PROGRAM = "from tests.data.prepare.test_rows import *; print(to_bytes(ROW).hex())"


def test_round_trip():
    assert from_bytes(to_bytes(ROW)) == ROW


def test_tfds_reads_what_is_written():
    example = rows.features().deserialize_example_np(to_bytes(ROW))
    assert from_example(example) == ROW


def test_what_tfds_writes_is_read():
    from tensorflow_datasets.core import example_serializer

    features = rows.features()
    serializer = example_serializer.ExampleSerializer(features.get_serialized_info())
    example = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in dataclasses.asdict(ROW).items()
    }
    assert from_bytes(serializer.serialize_example(features.encode_example(example))) == ROW


def test_other_processes_write_the_same_bytes():
    env = {**os.environ, "PYTHONHASHSEED": "7"}
    other = subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True)
    assert other.stdout.strip() == to_bytes(ROW).hex()


@pytest.mark.parametrize("record", [b"", b"\xff\xff\xff", to_bytes(ROW)[:-20]])
def test_what_is_no_row(record):
    with pytest.raises(ValueError, match="no row"):
        from_bytes(record)
