"""From clips to a report: the figures are those of the metrics on the features, and nothing is left out silently."""

import dataclasses
import pathlib
import shutil

import numpy as np
import pytest
import soundfile

from ldm_jax.eval.clips import ClipSet, read_side
from ldm_jax.eval.evaluation import Options, evaluate
from ldm_jax.eval.extraction import extract
from ldm_jax.eval.metrics.divergence import divergence
from ldm_jax.eval.metrics.estimate import Bootstrap
from ldm_jax.eval.metrics.frechet import frechet_distance
from ldm_jax.eval.presets import PRESETS, chosen
from ldm_jax.eval.texts import caption_vectors
from ldm_jax.eval.waves import LOADINGS
from tests.eval.preset_clips import captions

OPTIONS = Options(bootstrap=None)


def with_captions(side):
    said = captions()
    clips = tuple(dataclasses.replace(clip, captions=(said[clip.name],)) for clip in side.clips)
    return dataclasses.replace(side, clips=clips)


def only(preset, *names):
    return chosen(PRESETS[preset], names)


def values(report):
    return {figure.name: figure.estimate.value for figure in report.figures}


@pytest.fixture(scope="module")
def plain(sides, tiny_backbones):
    preset = only("ldm_jax", "frechet_distance", "kl", "inception", "mrstft", "si_sdr")
    return evaluate(*sides, preset=preset, backbones=tiny_backbones, options=OPTIONS)


def test_figures_are_those_of_the_features(sides, tiny_backbones, plain):
    def rows(side, name, front, output):
        found = extract(
            side.clips, tiny_backbones[name], loading=LOADINGS["plain_16k_1s"], front=front
        ).outputs[output]
        return np.concatenate([found[clip] for clip in sorted(found)]).astype(np.float64)

    made = [rows(side, "vggish", "examples", "embedding") for side in sides]
    logits = [rows(side, "cnn14_16k", "log_mel", "logits") for side in sides]
    told = values(plain)
    assert told["frechet_distance.vggish"] == pytest.approx(
        float(frechet_distance(*made)), rel=1e-9
    )
    pairs = divergence(logits[1], logits[0], activation="softmax", eps=1e-6)
    back = divergence(logits[0], logits[1], activation="softmax", eps=1e-6)
    assert told["kl.cnn14_16k"] == pytest.approx(float(np.mean(pairs)), rel=1e-9)
    assert told["kl_back.cnn14_16k"] == pytest.approx(float(np.mean(back)), rel=1e-9)


def test_musicnn(sides, tiny_backbones):
    """The distance is between patches, as VGGish's is between examples; a clip's logits are its patches' mean."""
    name = "musicnn:MTT_musicnn"
    told = values(
        evaluate(*sides, preset=PRESETS["musicnn"], backbones=tiny_backbones, options=OPTIONS)
    )
    found = [
        extract(
            side.clips, tiny_backbones[name], loading=LOADINGS["plain_16k"], front="patches"
        ).outputs
        for side in sides
    ]
    counts = {clip: len(x) for clip, x in found[0]["embedding"].items()}
    assert set(counts.values()) == {1, 2, 3, 4}  # from 0.9 to 12 s
    names = sorted(counts)
    made = [np.concatenate([one["embedding"][clip] for clip in names]) for one in found]
    distance = float(frechet_distance(*(x.astype(np.float64) for x in made)))
    assert told["frechet_distance.musicnn"] == pytest.approx(distance, rel=1e-9)
    generated, reference = (
        np.stack([one["logits"][clip].mean(axis=0) for clip in names]).astype(np.float64)
        for one in found
    )
    for kind, activation in (("kl", "softmax"), ("kl_sigmoid", "sigmoid")):
        pairs = divergence(reference, generated, activation=activation, eps=1e-6)
        assert told[f"{kind}.musicnn"] == pytest.approx(float(np.mean(pairs)), rel=1e-6)
    assert told.keys() == {"frechet_distance.musicnn", "kl.musicnn", "kl_sigmoid.musicnn"}


def test_the_report_says_what_was_measured(sides, plain):
    assert plain.preset == "ldm_jax"
    assert (plain.generated.clips, plain.reference.clips) == (12, 12)
    seconds = sum(soundfile.info(clip.path).duration for clip in sides[0].clips)
    assert plain.generated.seconds == pytest.approx(seconds, abs=1e-6)
    assert set(plain.backbones) == {"vggish", "cnn14_16k"}
    assert all(len(record["sha256"]) == 64 for record in plain.backbones.values())
    assert {record["published"] for record in plain.backbones.values()} == {"no"}
    settings = {figure.name: figure.settings for figure in plain.figures}
    assert settings["kl.cnn14_16k"]["direction"] == "reference_to_generated"
    assert settings["kl.cnn14_16k"]["eps"] == 1e-6
    assert "Soxr(rate=16000" in settings["kl.cnn14_16k"]["steps"]
    assert {"jax", "numpy", "ldm_jax"} <= plain.versions.keys()


def test_a_side_against_itself(sides, tiny_backbones):
    preset = only("ldm_jax", "frechet_distance", "kl", "mrstft", "mel", "lsd")
    copies = read_side(sides[1].source)
    report = evaluate(copies, sides[1], preset=preset, backbones=tiny_backbones, options=OPTIONS)
    told = values(report)
    assert told["frechet_distance.vggish"] < 1e-6
    assert abs(told["kl.cnn14_16k"]) < 1e-4  # the eps is not in both
    assert told["mrstft"] == told["mel"] == 0
    assert sum("byte for byte" in problem.why for problem in report.problems) == 12


def test_own_encoders_and_captions(sides, tiny_backbones):
    side = with_captions(sides[0])
    preset = only("own_encoders", "frechet", "clap", "retrieval")
    report = evaluate(
        side,
        sides[1],
        preset=preset,
        backbones=tiny_backbones,
        options=Options(bootstrap=Bootstrap(draws=50)),
    )
    told = {figure.name: figure.estimate for figure in report.figures}
    clap = tiny_backbones["clap"]
    heard = extract(side.clips, clap, loading=LOADINGS["plain_48k"], front="centre").outputs[
        "embedding"
    ]
    read, _ = caption_vectors({clip.name: clip.captions[0] for clip in side.clips}, clap)
    cosines = [float((heard[name] * read[name]).sum()) for name in read]
    assert told["clap_text"].value == pytest.approx(np.mean(cosines), abs=1e-6)
    assert told["clap_text"].low < np.mean(cosines) < told["clap_text"].high
    assert told["clap_audio"].value > 0.9
    assert {"frechet_distance.clap", "frechet_distance.audiomae", "retrieval_10"} <= told.keys()
    assert report.skipped == {}


def test_what_cannot_be_measured_is_said(sides, tiny_backbones):
    backbones = {name: x for name, x in tiny_backbones.items() if name != "audiomae"}
    report = evaluate(
        sides[0], None, preset=PRESETS["own_encoders"], backbones=backbones, options=OPTIONS
    )
    assert values(report) == {}
    assert report.skipped["frechet_distance.audiomae"] == "no weights of audiomae were given"
    assert report.skipped["frechet_distance.clap"] == "there are no reference clips"
    assert report.skipped["clap_text"] == "the clips have no captions"
    assert report.skipped["wer"] == "no recogniser was given"
    assert report.reference is None


def test_a_clip_that_is_dropped_is_dropped_from_its_pairs(sides, tiny_backbones, tmp_path):
    shutil.copytree(pathlib.Path(sides[0].source), tmp_path / "clips")
    (tmp_path / "clips" / "clip_03.wav").write_bytes(b"RIFF")
    preset = only("ldm_jax", "kl", "mrstft")
    report = evaluate(
        read_side(tmp_path / "clips"),
        sides[1],
        preset=preset,
        backbones=tiny_backbones,
        options=OPTIONS,
    )
    assert [figure.estimate.clips for figure in report.figures] == [11] * 3
    dropped = [problem for problem in report.problems if problem.dropped]
    assert {pathlib.Path(problem.file).name for problem in dropped} == {"clip_03.wav"}
    assert (report.generated.clips, report.reference.clips) == (11, 12)


def test_too_few_names_for_pairs(sides, tiny_backbones):
    """audioldm_eval's rule of 99 %: pairs are left out, sets are not."""
    fewer = dataclasses.replace(sides[1], clips=sides[1].clips[:10])
    report = evaluate(
        sides[0], fewer, preset=PRESETS["audioldm_eval"], backbones=tiny_backbones, options=OPTIONS
    )
    assert "only 10 names are both" in report.skipped["kl.cnn14_16k"]
    assert {
        "frechet_distance.vggish",
        "frechet_distance.cnn14_16k",
        "inception_score.cnn14_16k",
    } == {figure.name for figure in report.figures}


def test_one_clip_is_too_few(sides, tiny_backbones):
    one = ClipSet(source="one", clips=sides[0].clips[:1])
    with pytest.raises(
        ValueError, match="1 feature vectors of 1 clips; this metric takes 2 or more"
    ):
        evaluate(
            one,
            sides[1],
            preset=only("ldm_jax", "frechet_distance.cnn14_16k"),
            backbones=tiny_backbones,
        )


def test_error_rates(sides, tiny_backbones):
    """With a recogniser that says for each clip what its length is, and one word too many."""
    lengths = {
        clip.name: soundfile.info(clip.path).frames * 16_000 // soundfile.info(clip.path).samplerate
        for clip in sides[0].clips
    }
    names = {length: f"q{'abcdefghijkl'[i]}" for i, length in enumerate(lengths.values())}
    clips = tuple(
        dataclasses.replace(clip, transcript=f"it is {names[lengths[clip.name]]}")
        for clip in sides[0].clips
    )

    def recogniser(wave, rate):
        assert rate == 16_000
        return f"It is {names[min(names, key=lambda length: abs(length - len(wave)))]}, yes!"

    report = evaluate(
        dataclasses.replace(sides[0], clips=clips),
        None,
        preset=only("own_encoders", "wer", "cer"),
        backbones={},
        options=Options(bootstrap=None, recogniser=recogniser),
    )
    assert values(report)["wer"] == pytest.approx(1 / 3)
    assert values(report)["cer"] == pytest.approx(4 / 8)
