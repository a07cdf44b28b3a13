"""Our presets against the tools that they follow, on the same clips with the same random weights."""

import dataclasses

import numpy as np
import pytest

from ldm_jax.convert import clap
from ldm_jax.convert.checkpoint import abstract_params
from ldm_jax.convert.cnn14 import OFFICIAL
from ldm_jax.convert.passt import HEAR21PASST, network_of
from ldm_jax.convert.random_tokenizers import write_roberta
from ldm_jax.convert.rules import convert
from ldm_jax.convert.vggish import TORCHVGGISH
from ldm_jax.eval.backbones.backbone import Backbone
from ldm_jax.eval.clips import read_side
from ldm_jax.eval.evaluation import Options, evaluate
from ldm_jax.eval.presets import PRESETS, chosen
from ldm_jax.eval.waves import LOADINGS, load
from ldm_jax.models.cnn14 import Cnn14
from ldm_jax.models.vggish import VGGish
from ldm_jax.text.tokenizers import load_tokenizer
from tests import golden
from tests.eval import preset_weights
from tests.eval.preset_clips import TOO_SHORT, captions, write_pairs

BOUND = 1e-4


@pytest.fixture(scope="module")
def sides(tmp_path_factory):
    return [read_side(side) for side in write_pairs(tmp_path_factory.mktemp("pairs"))]


def backbone(name, kind, module, tensors, table, rate):
    params = convert(tensors, table, abstract_params(module), network=name)
    return Backbone(
        name=name,
        kind=kind,
        module=module,
        params=params,
        sample_rate=rate,
        source="random",
        sha256="0",
    )


@pytest.fixture(scope="module")
def backbones():
    vggish = VGGish(
        features=preset_weights.VGGISH,
        hidden=preset_weights.VGGISH_HIDDEN,
        out_features=preset_weights.VGGISH_OUT,
    )
    made = {
        "vggish": backbone("vggish", "vggish", vggish, preset_weights.vggish(), TORCHVGGISH, 16_000)
    }
    tensors = preset_weights.passt()
    made["passt"] = backbone("passt", "passt", network_of(tensors), tensors, HEAR21PASST, 32_000)
    cnn14 = Cnn14(features=preset_weights.CNN14)
    for rate in (16_000, 32_000):
        name = f"cnn14_{rate // 1000}k"
        made[name] = backbone(name, "cnn14", cnn14, preset_weights.cnn14(), OFFICIAL, rate)
    return made


def waves(side, loading):
    """What `networks.summary` keeps of the peer's waves."""
    made = [load(clip, LOADINGS[loading]).wave for clip in side.clips]
    return np.array([[w.sum(dtype=np.float64), np.abs(w).mean(), len(w)] for w in made])


@pytest.mark.parametrize(("preset", "rate"), [("audioldm_eval", 16), ("audioldm_eval_32k", 32)])
def test_audioldm_eval(sides, backbones, preset, rate):
    _, theirs = golden.load("preset_audioldm_eval")
    heard = waves(sides[0], f"audioldm_eval_{rate}k")
    np.testing.assert_allclose(heard, theirs[f"{rate}000/waves"], rtol=1e-5, atol=1e-3)
    report = evaluate(
        *sides, preset=PRESETS[preset], backbones=backbones, options=Options(bootstrap=None)
    )
    ours = {figure.name: figure.estimate for figure in report.figures}
    panns = f"cnn14_{rate}k"
    names = {
        "frechet_audio_distance": "frechet_distance.vggish",
        "frechet_distance": f"frechet_distance.{panns}",
        "kullback_leibler_divergence_softmax": f"kl.{panns}",
        "kullback_leibler_divergence_sigmoid": f"kl_sigmoid.{panns}",
        "inception_score_mean": f"inception_score.{panns}",
    }
    for name, mine in names.items():
        assert ours[mine].value == pytest.approx(float(theirs[f"{rate}000/{name}"]), rel=BOUND), (
            name
        )
    std = ours[f"inception_score.{panns}"].details["std"]
    assert std == pytest.approx(float(theirs[f"{rate}000/inception_score_std"]), rel=BOUND)


def clap_backbone(name, folder):
    variant, fusion = {
        "630k-audioset-best": ("tiny", False),
        "630k-audioset-fusion-best": ("tiny", True),
        "music_audioset_epoch_15_esc_90.14": ("base", False),
        "music_speech_audioset_epoch_15_esc_89.98": ("base", False),
    }[name.partition(":")[2]]
    module = clap.from_config(clap.laion_config(variant, fusion=fusion))
    tensors = preset_weights.laion_clap(variant, fusion=fusion)
    made = backbone(name, "clap", module, tensors, clap.LAION, 48_000)
    return dataclasses.replace(made, tokenizer=load_tokenizer(folder))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    write_roberta(folder)
    return folder


def captioned(side, *, without=()):
    """A side with captions, without some clips."""
    said = captions()
    clips = [
        dataclasses.replace(clip, captions=(said[clip.name],))
        for clip in side.clips
        if clip.name not in without
    ]
    return dataclasses.replace(side, clips=tuple(clips))


def figures(sides, preset, backbones, *names):
    report = evaluate(
        *sides,
        preset=chosen(PRESETS[preset], names or None),
        backbones=backbones,
        options=Options(bootstrap=None),
    )
    return {figure.name: figure.estimate for figure in report.figures}


def assert_same(ours, theirs, pairs, bound=BOUND):
    for mine, name in pairs.items():
        assert ours[mine].value == pytest.approx(float(theirs[name]), rel=bound), mine


SETS = ("frechet_distance", "kl", "inception", "kernel", "lsd")


def test_consistencytta(sides, backbones):
    _, theirs = golden.load("preset_consistencytta")
    pair = [captioned(side, without=TOO_SHORT) for side in sides]
    heard = np.concatenate([waves(side, "consistencytta_16k") for side in pair[::-1]])
    np.testing.assert_allclose(heard, theirs["cnn14_16k/waves"], rtol=1e-4, atol=1e-3)
    ours = figures(pair, "consistencytta", backbones, *SETS)
    assert_same(
        ours,
        theirs,
        {
            "frechet_distance.vggish": "frechet_audio_distance",
            "frechet_distance.cnn14_16k": "frechet_distance",
            "kl.cnn14_16k": "kullback_leibler_divergence_softmax",
            "kl_sigmoid.cnn14_16k": "kullback_leibler_divergence_sigmoid",
            "inception_score.cnn14_16k": "inception_score_mean",
            "kernel_distance.cnn14_16k": "kernel_inception_distance_mean",
            "lsd": "lsd",
        },
    )


def test_av_benchmark(sides, backbones):
    _, theirs = golden.load("preset_av_benchmark")
    pair = [captioned(side, without=TOO_SHORT) for side in sides]
    for loading, rate in (("16k", 16_000), ("passt", 32_000), ("clap", 48_000)):
        heard = waves(pair[0], f"av_benchmark_{loading}")
        expected = theirs[f"waves/{rate}/generated"]
        if loading != "passt":  # where the tool fills up to 10 s later
            np.testing.assert_allclose(heard, expected, rtol=1e-4, atol=1e-3)
    ours = figures(pair, "av_benchmark", backbones, "frechet_distance", "kl", "inception")
    assert_same(
        ours,
        theirs,
        {
            "frechet_distance.vggish": "FD-VGG",
            "frechet_distance.cnn14_16k": "FD-PANN",
            "frechet_distance.passt": "FD-PASST",
            "kl.cnn14_16k": "KL-PANNS-softmax",
            "kl.passt": "KL-PASST-softmax",
            "inception_score.cnn14_16k": "ISC-PANNS-mean",
            "inception_score.passt": "ISC-PASST-mean",
        },
    )


def test_stable_audio_metrics(sides, backbones):
    _, theirs = golden.load("preset_stable_audio_metrics")
    ours = figures(sides, "stable_audio_metrics", backbones, "kl")
    assert_same(ours, theirs, {"kl.passt": "kl_passt"})


def test_fadtk(sides, backbones):
    """Against its figures without the rounding of features to 16 bits."""
    _, theirs = golden.load("preset_fadtk")
    heard = np.concatenate([waves(side, "fadtk_vggish") for side in sides])
    np.testing.assert_allclose(heard, theirs["vggish/waves"], rtol=1e-4, atol=2e-2)
    ours = figures(sides, "fadtk", backbones, "frechet_distance.vggish")
    assert_same(ours, theirs, {"frechet_distance.vggish": "fad_vggish_float32"})


@pytest.mark.slow
@pytest.mark.parametrize(
    "preset", ["stable_audio_metrics", "consistencytta", "av_benchmark", "fadtk"]
)
def test_clap_at_its_published_size(sides, tokenizer, preset):
    """Cosines within 1e-5, and FAD on its vectors."""
    _, theirs = golden.load(f"preset_{preset}")
    names = {name for one in PRESETS[preset].measurements for name in one.backbones}
    networks = {name: clap_backbone(name, tokenizer) for name in names if name.startswith("clap")}
    if preset == "stable_audio_metrics":  # longer clips are cut at random there
        pair = [captioned(side, without=("clip_11",)) for side in sides]
        wanted = {"clap_text": "clap_score_short"}
    elif preset == "consistencytta":
        pair = [captioned(side, without=TOO_SHORT) for side in sides]
        wanted = {
            "clap_text": "gen_text_clap_score",
            "clap_audio": "gen_gt_clap_score",
            "clap_text_of_references": "gt_text_clap_score",
        }
    elif preset == "av_benchmark":
        pair = [captioned(side, without=TOO_SHORT) for side in sides]
        wanted = {"clap_text": "LAION-CLAP-Score"}
    else:
        pair = sides
        wanted = {
            "frechet_distance.clap": "fad_clap_audio_float32",
            "frechet_distance.clap_music": "fad_clap_music_float32",
        }
    ours = figures(pair, preset, networks, *wanted)
    scale = 100 if preset == "consistencytta" else 1
    for mine, name in wanted.items():
        assert ours[mine].value == pytest.approx(float(theirs[name]), rel=BOUND, abs=1e-5 * scale)
