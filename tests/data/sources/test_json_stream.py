import json
import random

import pytest

from ldm_jax.data.sources import json_stream
from ldm_jax.data.sources.json_stream import BrokenJSONError, members
from tests.data.sources.making import put


def anything(rng, depth):
    kinds = [
        lambda: rng.choice([None, True, False]),
        lambda: rng.randrange(-(10**12), 10**12),
        lambda: rng.uniform(-1e9, 1e9),
        lambda: "".join(rng.choices('aé"\\\n\t{}[],:😀 ', k=rng.randrange(20))),
        lambda: [anything(rng, depth - 1) for _ in range(rng.randrange(4))],
        lambda: {str(i): anything(rng, depth - 1) for i in range(rng.randrange(4))},
    ]
    return rng.choice(kinds if depth else kinds[:4])()


@pytest.mark.parametrize("chunk", [1, 7, 2**16])
def test_gives_what_json_gives(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(json_stream, "CHUNK", chunk)
    rng = random.Random(0)
    for indent in (None, 2):
        listed = [anything(rng, 3) for _ in range(100)]
        path = put(tmp_path, "a.json", json.dumps(listed, indent=indent))
        assert list(members(path)) == [(str(i), value) for i, value in enumerate(listed)]
        named = {f"k{i}": value for i, value in enumerate(listed)}
        path = put(tmp_path, "b.json", json.dumps(named, indent=indent, ensure_ascii=False))
        assert list(members(path)) == list(named.items())
        wrapped = {"n": 1, "about": {"data": 3}, "data": listed, "more": [1]}
        path = put(tmp_path, "c.json", json.dumps(wrapped, indent=indent))
        assert [value for _, value in members(path, under=("data", "x"))] == listed


@pytest.mark.parametrize("content", ["[]", " {} ", '{"data": []}'])
def test_empty(tmp_path, content):
    assert list(members(put(tmp_path, "a.json", content), under=("data",))) == []


@pytest.mark.parametrize(
    ("content", "before", "message"),
    [
        ("[1, 2", 2, "breaks off near character 5"),
        ("[1, 2, }", 2, "not JSON near character 7"),
        ('{"a": 1 "b": 2}', 1, "in place of , or }"),
        ('{"a": 1, "b" 2}', 1, "in place of :"),
        ('[{"a": 1}, {"a": ', 1, "not JSON near character 11"),
        ("12", 0, "in place of { or \\["),
        ("", 0, "breaks off near character 0"),
        ("[" * 100_000, 0, "nested too deeply"),
    ],
)
def test_broken(tmp_path, content, before, message):
    found, reading = [], members(put(tmp_path, "a.json", content))
    with pytest.raises(BrokenJSONError, match=message):
        found.extend(reading)
    assert len(found) == before
