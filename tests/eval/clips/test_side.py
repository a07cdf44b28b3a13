import json
import pathlib
import shutil

import pytest

from ldm_jax.eval.clips import Clip, content_hash, read_side
from tests.eval.clips.sounds import lines, names, sound, told

REAL = pathlib.Path(__file__).parents[2] / "clips"


def test_names_are_paths_without_suffix(tmp_path):
    for path in ("b.wav", "a.flac", "deep/er/c.d.ogg", "A.WAV"):
        sound(tmp_path / path)
    side = read_side(tmp_path)
    assert names(side.clips) == ["A", "a", "b", "deep/er/c.d"]
    assert side.clips[3].path == tmp_path / "deep/er/c.d.ogg"
    assert side.problems == ()
    assert side.source == str(tmp_path)


def test_accents_have_one_form(tmp_path):
    sound(tmp_path / "café.wav")  # as macOS writes it
    assert names(read_side(tmp_path).clips) == ["caf\u00e9"]


def test_what_is_no_clip(tmp_path):
    sound(tmp_path / "a.wav")
    for quiet in ("a.png", "a.json", "LICENSE", ".b.wav", ".git/c.wav", "features.npz", "._a.wav"):
        path = tmp_path / quiet
        path.parent.mkdir(exist_ok=True)
        path.write_text("{}")
    for loud in ("d.m4a", "e.xyz", "clips.zip", "set.tar"):
        (tmp_path / loud).write_text("")
    (tmp_path / "gone.wav").symlink_to(tmp_path / "nowhere")
    side = read_side(tmp_path)
    assert names(side.clips) == ["a"]
    assert told(side.problems) == [
        (file, True) for file in ("clips.zip", "d.m4a", "e.xyz", "gone.wav", "set.tar")
    ]
    assert "convert it" in side.problems[1].why
    assert side.problems[2].why == ".xyz is not a suffix of audio"


def test_two_files_of_one_name(tmp_path):
    sound(tmp_path / "a.ogg")
    sound(tmp_path / "a.wav")
    sound(tmp_path / "x/a.ogg")
    side = read_side(tmp_path)
    assert [(clip.name, clip.path.name) for clip in side.clips] == [
        ("a", "a.wav"),
        ("x/a", "a.ogg"),
    ]
    (problem,) = side.problems
    assert (problem.file, problem.dropped) == ("a.ogg", True)
    assert "a.wav has the same name" in problem.why


def test_records_of_sample(tmp_path):
    shared = {"steps": 25, "sampler": "ddim", "guidance_scale": 3.5, "seed": 1}
    for i, name in enumerate("ab"):
        settings = {"prompt": f"a dog {name}", "transcript": None, **shared, "seed": i}
        (sound(tmp_path / f"{name}.wav").with_suffix(".json")).write_text(
            json.dumps({"settings": settings, "score": 0.3})
        )
    side = read_side(tmp_path)
    assert [clip.captions for clip in side.clips] == [("a dog a",), ("a dog b",)]
    assert side.clips[0].transcript is None
    assert side.generation == {"steps": 25, "sampler": "ddim", "guidance_scale": 3.5}
    sound(tmp_path / "c.wav")  # of which nothing is known
    assert read_side(tmp_path).generation == {}


def test_texts_beside(tmp_path):
    for name in "abcde":
        sound(tmp_path / f"{name}.wav")
    (tmp_path / "a.txt").write_text("rain\n\n heavy rain \n")
    (tmp_path / "b.json").write_text('{"caption": "wind", "transcript": "hello"}')
    (tmp_path / "c.json").write_text('{"settings": ')
    (tmp_path / "d.txt").write_bytes(b"\xff\xfe\xff")
    (tmp_path / "e.json").write_text("[1]")
    side = read_side(tmp_path)
    assert [(clip.captions, clip.transcript) for clip in side.clips] == [
        (("rain", "heavy rain"), None),
        (("wind",), "hello"),
        ((), None),
        ((), None),
        ((), None),
    ]
    assert told(side.problems) == [("c.wav", False), ("d.wav", False), ("e.wav", False)]
    assert "c.json beside it cannot be read" in side.problems[0].why


def test_what_cannot_be_a_side(tmp_path):
    with pytest.raises(ValueError, match="nowhere is not there"):
        read_side(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"has no clip that can be read$"):
        read_side(tmp_path)
    (tmp_path / "a.m4a").write_text("")
    with pytest.raises(ValueError, match=r"no clip that can be read: a\.m4a, libsndfile"):
        read_side(tmp_path)
    with pytest.raises(ValueError, match="neither a folder nor a manifest"):
        read_side(sound(tmp_path / "a.wav"))
    table = lines(tmp_path / "t.jsonl", {"path": "a.wav"})
    with pytest.raises(ValueError, match="its captions stand in it"):
        read_side(table, captions=table)


def test_real_clips_by_folder_and_by_manifest():
    folder, manifest = read_side(REAL), read_side(REAL / "manifest.jsonl")
    assert len(folder.clips) == 14
    assert names(folder.clips) == names(manifest.clips)
    assert folder.problems == manifest.problems == ()
    assert all(clip.captions for clip in manifest.clips)
    with_captions = read_side(REAL, captions=REAL / "manifest.jsonl")
    assert with_captions.problems == ()
    assert [c.captions for c in with_captions.clips] == [c.captions for c in manifest.clips]


def test_content_hash(tmp_path):
    first = sound(tmp_path / "a.wav", seed=1)
    same = tmp_path / "other.wav"
    shutil.copy(first, same)
    other = sound(tmp_path / "b.wav", seed=2)

    def digest(path, **stretch):
        return content_hash(Clip(name="x", path=path, **stretch))

    assert digest(first) == digest(same)
    different = {digest(first), digest(other), digest(first, start=1.0), digest(first, start=2.0)}
    assert len(different | {digest(first, seconds=1.0), digest(first, start=1.0, seconds=1.0)}) == 6
