"""Features depend on clips and networks alone: not on batches, devices, processes, neighbours or the cache."""

import os
import pathlib
import pickle
import shutil
import socket
import subprocess
import sys
import warnings

import jax
import numpy as np
import pytest
import soundfile

from ldm_jax.eval import extraction
from ldm_jax.eval.backbones.fronts import FRONTS, bucket
from ldm_jax.eval.backbones.programs import Runner
from ldm_jax.eval.cache import FeatureCache
from ldm_jax.eval.clips import Clip, read_side
from ldm_jax.eval.extraction import extract
from ldm_jax.eval.texts import caption_vectors
from ldm_jax.eval.waves import LOADINGS, load
from ldm_jax.parallel.mesh import data_mesh
from tests.golden import relative_error

ROOT = pathlib.Path(__file__).parents[2]
FRONT = {
    "vggish": "examples",
    "cnn14": "log_mel",
    "musicnn": "patches",
    "clap": "centre",
    "audiomae": "start",
}
NAMES = ["vggish", "cnn14_16k", "musicnn:MTT_musicnn", "clap", "audiomae"]
LOADING = {16_000: LOADINGS["plain_16k_1s"], 48_000: LOADINGS["plain_48k"]}


def features(side, backbone, **options):
    return extract(
        side.clips,
        backbone,
        loading=LOADING[backbone.sample_rate],
        front=FRONT[backbone.kind],
        **options,
    )


def same(one, other):
    assert one.outputs.keys() == other.outputs.keys()
    for name, rows in one.outputs.items():
        assert rows.keys() == other.outputs[name].keys()
        for clip, x in rows.items():
            np.testing.assert_array_equal(x, other.outputs[name][clip])
    assert one.seconds == other.seconds
    assert sorted(one.problems, key=str) == sorted(other.problems, key=str)


@pytest.mark.parametrize("name", NAMES)
def test_each_clip_as_the_network_alone_makes_it(sides, tiny_backbones, name):
    """Against the module applied to one clip, without batches, buckets or devices."""
    backbone = tiny_backbones[name]
    found = features(sides[0], backbone)
    assert len(found.outputs["embedding"]) == 12
    for clip in sides[0].clips[::4]:
        loaded = load(clip, LOADING[backbone.sample_rate])
        inputs = FRONTS[backbone.kind, FRONT[backbone.kind]](
            backbone.module, loaded.wave, loaded.rate
        )
        method = {"clap": "embed_audio", "audiomae": "features"}.get(backbone.kind)
        first = next(iter(inputs.values()))
        if backbone.kind == "cnn14":
            first = first[:, : int(inputs["frames"][0])]
        out = backbone.module.apply(
            {"params": jax.tree.map(jax.numpy.asarray, backbone.params)},
            jax.numpy.asarray(first),
            method=method,
        )
        if backbone.kind in ("cnn14", "musicnn"):
            assert relative_error(found.outputs["logits"][clip.name], out.logits) < 1e-5
            out = out.embedding
        out = out.mean(axis=1) if backbone.kind == "audiomae" else out
        assert relative_error(found.outputs["embedding"][clip.name], out) < 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_neighbours_and_devices_change_no_bit(sides, tiny_backbones, name):
    """A row alone, at each place among 64, on one device and on eight."""
    backbone = tiny_backbones[name]
    clip = sides[0].clips[5]
    loaded = load(clip, LOADING[backbone.sample_rate])
    front = FRONTS[backbone.kind, FRONT[backbone.kind]]
    row = {key: x[:1] for key, x in front(backbone.module, loaded.wave, loaded.rate).items()}
    noise = np.random.RandomState(0).standard_normal
    others = {
        key: np.repeat(x, 64, axis=0) if x.dtype == np.int32 else noise((64, *x.shape[1:]))
        for key, x in row.items()
    }
    one = Runner(backbone, "audio", mesh=data_mesh(jax.devices()[:1]))
    eight = Runner(backbone, "audio", mesh=data_mesh(jax.devices()))
    alone = one(row)
    for runner in (one, eight):
        for place in (0, 5, 17, 63):
            among = {key: x.astype(row[key].dtype) for key, x in others.items()}
            for key, x in row.items():
                among[key][place] = x[0]
            for key, x in runner(among).items():
                np.testing.assert_array_equal(
                    x[place], alone[key][0], err_msg=f"{runner.size}, {place}"
                )


def test_captions_are_read_alone(tiny_backbones):
    """A caption's vector does not depend on the others, and long ones are cut with a remark."""
    texts = {f"{i}": f"a dog {'barks ' * (i % 7)}" for i in range(20)} | {"long": "dog " * 200}
    many, problems = caption_vectors(texts, tiny_backbones["clap"])
    for name in ("0", "13", "long"):
        alone, _ = caption_vectors({name: texts[name]}, tiny_backbones["clap"])
        np.testing.assert_array_equal(alone[name], many[name])
    assert [problem.file for problem in problems] == ["long"]
    assert "longer than 77 tokens; not read: 'dog dog" in problems[0].why


def test_the_cache_gives_what_was_computed(sides, tiny_backbones, tmp_path, monkeypatch):
    cache = FeatureCache(tmp_path / "cache")
    backbone = tiny_backbones["vggish"]
    first = features(sides[0], backbone, cache=cache)
    assert cache.size()[0] == 12
    with monkeypatch.context() as patched:
        patched.setattr(extraction, "Runner", None)  # nothing is left for it
        again = features(sides[0], backbone, cache=cache)
    same(first, again)
    same(first, features(sides[0], backbone))
    assert any("padded with silence" in problem.why for problem in again.problems)


def test_a_changed_file_is_heard_anew(sides, tiny_backbones, tmp_path):
    cache = FeatureCache(tmp_path / "cache")
    folder = tmp_path / "clips"
    shutil.copytree(pathlib.Path(sides[0].source), folder)
    backbone = tiny_backbones["vggish"]
    first = features(read_side(folder), backbone, cache=cache)
    stat = (folder / "clip_00.wav").stat()
    shutil.copy(folder / "clip_01.wav", folder / "clip_00.wav")
    os.utime(folder / "clip_00.wav", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    second = features(read_side(folder), backbone, cache=cache)
    changed = second.outputs["embedding"]["clip_00"]
    np.testing.assert_array_equal(changed, first.outputs["embedding"]["clip_01"])


def test_bad_files_are_named(sides, tiny_backbones, tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    noise = 0.1 * np.random.RandomState(0).standard_normal(32_000).astype(np.float32)
    broken = noise.copy()
    broken[7] = np.nan
    soundfile.write(folder / "good.wav", noise, 16_000)
    soundfile.write(folder / "nan.wav", broken, 16_000, subtype="FLOAT")
    soundfile.write(folder / "silent.wav", np.zeros(32_000), 16_000)
    soundfile.write(folder / "stereo.wav", np.stack([noise, noise], axis=1), 16_000)
    soundfile.write(folder / "old.wav", noise, 8_000)
    soundfile.write(folder / "fine.wav", noise, 96_000)
    soundfile.write(folder / "short.wav", noise[:300], 16_000)
    (folder / "text.wav").write_text("no sound")
    (folder / "empty.wav").write_bytes(b"")
    side = read_side(folder)
    found = extract(
        side.clips,
        tiny_backbones["cnn14_16k"],
        loading=LOADINGS["plain_16k"],
        front="log_mel",
    )
    used = {"good", "silent", "stereo", "old", "fine"}
    assert found.outputs["logits"].keys() == used
    dropped = {pathlib.Path(problem.file).stem for problem in found.problems if problem.dropped}
    dropped |= {pathlib.Path(problem.file).stem for problem in side.problems if problem.dropped}
    assert dropped == {"nan", "short", "text", "empty"}
    said = {pathlib.Path(p.file).stem: p.why for p in found.problems if not p.dropped}
    assert found.seconds.keys() == used
    assert said["silent"] == "silent"
    assert "mean was taken" in said["stereo"]
    assert "nothing above 4 kHz" in said["old"]
    assert said["fine"] == "96000 Hz: brought to 16000 Hz"


def test_buckets_waste_at_most_a_quarter():
    sizes = np.arange(1, 5000)
    buckets = np.array([bucket(int(size)) for size in sizes])
    assert (buckets >= sizes).all()
    assert (buckets[32:] / sizes[32:]).max() <= 1.25
    assert len(set(buckets)) < 40


WORKER = """
import pickle, sys
import jax

if len(sys.argv) > 4:
    jax.distributed.initialize(sys.argv[4], 2, int(sys.argv[5]))
from ldm_jax.eval.clips import read_side
from ldm_jax.eval.extraction import extract
from ldm_jax.eval.texts import caption_vectors
from ldm_jax.eval.waves import LOADINGS

backbones = pickle.load(open(sys.argv[1], "rb"))
side = read_side(sys.argv[2])
found = extract(side.clips, backbones["vggish"], loading=LOADINGS["plain_16k_1s"], front="examples")
texts, _ = caption_vectors({clip.name: f"clip {clip.name}" for clip in side.clips}, backbones["clap"])
rows = {"heard": found.outputs["embedding"], "read": texts}
pickle.dump((rows, found.seconds, found.problems), open(sys.argv[3], "wb"))
"""


def test_two_processes_find_what_one_does(sides, tiny_backbones, tmp_path):
    """Real processes, joined by jax.distributed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    (tmp_path / "backbones").write_bytes(pickle.dumps(tiny_backbones))
    (tmp_path / "worker.py").write_text(WORKER)
    common = [sys.executable, tmp_path / "worker.py", tmp_path / "backbones", sides[0].source]
    runs = [
        subprocess.Popen(
            [*map(str, common), str(tmp_path / name), *more],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name, more in (("whole", []), ("0", [address, "0"]), ("1", [address, "1"]))
    ]
    printed = [run.communicate(timeout=300)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], printed
    whole, *parts = (pickle.loads((tmp_path / name).read_bytes()) for name in ("whole", "0", "1"))
    for rows, seconds, problems in parts:
        assert seconds == whole[1]
        assert sorted(problems, key=str) == sorted(whole[2], key=str)
        for name, clips in whole[0].items():
            assert rows[name].keys() == clips.keys()
            for clip, x in clips.items():
                np.testing.assert_array_equal(rows[name][clip], x)


def test_a_clip_too_many_frames_for_clap_is_cropped_in_the_middle(tiny_backbones, tmp_path):
    """The 10 s that are heard are the middle ones, whatever lies around them."""
    middle = 0.1 * np.random.RandomState(0).standard_normal(480_000).astype(np.float32)
    around = np.full(96_000, 0.5, np.float32)
    soundfile.write(tmp_path / "a.wav", middle, 48_000, subtype="FLOAT")
    long = np.concatenate([around, middle, around])
    soundfile.write(tmp_path / "b.wav", long, 48_000, subtype="FLOAT")
    clips = [Clip(name=name, path=tmp_path / f"{name}.wav") for name in "ab"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = extract(
            clips, tiny_backbones["clap"], loading=LOADINGS["plain_48k"], front="centre"
        )
    vectors = found.outputs["embedding"]
    np.testing.assert_array_equal(vectors["a"], vectors["b"])
