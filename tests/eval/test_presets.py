"""Our presets against the tools that they follow, on the same clips with the same random weights."""

import pathlib

import numpy as np
import pytest

from ldm_jax.convert.checkpoint import abstract_params
from ldm_jax.convert.cnn14 import OFFICIAL
from ldm_jax.convert.rules import convert
from ldm_jax.convert.vggish import TORCHVGGISH
from ldm_jax.eval.backbones.backbone import Backbone
from ldm_jax.eval.clips import read_side
from ldm_jax.eval.evaluation import Options, evaluate
from ldm_jax.eval.presets import PRESETS
from ldm_jax.eval.waves import LOADINGS, load
from ldm_jax.models.cnn14 import Cnn14
from ldm_jax.models.vggish import VGGish
from tests import golden
from tests.eval import preset_weights
from tests.eval.preset_clips import write_pairs

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
