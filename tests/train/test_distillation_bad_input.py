"""What is wrong with a distillation is said in one sentence, before anything is compiled: `setup` compiles nothing."""

import dataclasses

import pytest
from ml_collections import ConfigDict

from ldm_jax.convert import native
from ldm_jax.convert.checkpoint import SCHEDULER, Checkpoint
from ldm_jax.convert.random_checkpoint import random_params
from ldm_jax.diffusion.distilled import Distilled
from ldm_jax.distill.audio_space import AudioSpace
from ldm_jax.models.unet import UNet
from ldm_jax.train.config import Data, Training
from ldm_jax.train.lora import LoRA
from ldm_jax.train.setting_up import setup
from ldm_jax.train.stages.consistency import ConsistencyStage
from ldm_jax.train.stages.guided import GuidedStage
from ldm_jax.train.stages.progressive import ProgressiveStage

PLAIN = UNet(
    in_channels=3,
    out_channels=3,
    block_out_channels=(8,),
    attention_levels=(False,),
    layers_per_block=1,
    cross_attention_dims=(10,),
    heads=2,
    head_dim=None,
    norm_groups=4,
)
TOLD = PLAIN.clone(guidance_features=6)
GUIDED = Distilled(method="guided", guidance=(0.0, 6.0), guidance_scale=3.0)
FOUR = Distilled(method="progressive", steps=4, timesteps=(999.0, 749.0, 499.0, 249.0))
ONE = Distilled(method="consistency", steps=1, timesteps=(999.0, 0.0))
# name: (network, what it predicts, how it was distilled)
TEACHERS = {
    "eps": (PLAIN, "epsilon", None),
    "v": (PLAIN, "v_prediction", None),
    "x0": (PLAIN, "sample", None),
    "wide": (PLAIN.clone(block_out_channels=(16,)), "epsilon", None),
    "heads": (PLAIN.clone(heads=4), "epsilon", None),
    "alone": (PLAIN.clone(cross_attention_dims=(None,)), "epsilon", None),
    "told": (TOLD, "v_prediction", GUIDED),
    "three": (PLAIN, "v_prediction", dataclasses.replace(GUIDED, guidance=(), guidance_scale=3.0)),
    "four": (PLAIN, "v_prediction", FOUR),
    "one": (PLAIN, "v_prediction", ONE),
}
GUIDED_OF = {"stage": GuidedStage, "unet": "eps"}
HALVED = {"stage": ProgressiveStage, "unet": "v"}
ONCE = {"stage": ConsistencyStage, "unet": "v"}


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
    """Folders by name."""
    folder = tmp_path_factory.mktemp("teachers")
    for name, (unet, prediction, distilled) in TEACHERS.items():
        system = Checkpoint(
            networks={"unet": unet},
            params={"unet": random_params(unet, name="unet", seed=0)},
            tokenizers={},
            scheduler={**SCHEDULER, "prediction_type": prediction},
            sample_rate=16_000,
            hop=160,
            loa_tokens=8,
            preset="official",
            source="",
            distilled=distilled,
        )
        native.save(system, folder / name)
    return {name: str(folder / name) for name in TEACHERS}


def config(teachers, *, stage, unet, teacher="", steps=8, lora=0, trainable=(), **settings):
    fixed = {"encoded": True, "contexts": ("text",), "latent_scale": 0.4}
    weights = {"unet": teachers.get(unet, unet), "teacher": teachers.get(teacher, teacher)}
    return Training(
        name="wrong",
        stage=stage(**(fixed | settings)),
        weights=ConfigDict({name: x for name, x in weights.items() if x}),
        steps=steps,
        data=Data(prepared=("nowhere",), encoded=True),
        lora=LoRA(rank=lora),
        trainable=trainable,
    )


RIGHT = {
    "guided": {**GUIDED_OF, "prediction": "v"},
    "guided, LoRA": {**GUIDED_OF, "lora": 2, "trainable": ("guidance_embedding",)},
    "progressive": {**HALVED, "students": (4, 2), "teacher_steps": 8},
    "progressive, told": {**HALVED, "unet": "told", "students": (4,), "guidance": (1.0, 5.0)},
    "progressive, on": {**HALVED, "unet": "four", "students": (2, 1)},
    "progressive, one scale": {**HALVED, "unet": "three", "students": (50,)},
    "consistency": {**ONCE, "unet": "told", "teacher": "eps"},
    "consistency, x0": {**ONCE, "unet": "x0", "teacher": "eps", "boundary": "data"},
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_right_is_set_up(name, teachers):
    """And weights, teachers and prediction are those that were named."""
    made = setup(config(teachers, **RIGHT[name]))
    told = made.networks["unet"].guidance_features
    assert (told is not None) == (
        name not in ("progressive", "progressive, on", "progressive, one scale")
    )
    expected = {"consistency, x0": "x0", "guided, LoRA": "eps"}.get(name, "v")
    assert made.stage.prediction == expected
    assert made.opened.scheduler["prediction_type"] == {"x0": "sample", "eps": "epsilon"}.get(
        expected, "v_prediction"
    )
    source = TEACHERS[RIGHT[name].get("teacher") or RIGHT[name]["unet"]]
    assert made.stage.teacher_prediction == {"epsilon": "eps", "v_prediction": "v"}[source[1]]


WRONG = {
    "shape": (
        {**GUIDED_OF, "teacher": "wide"},
        r"the teacher's UNet has block_out_channels = .*16.* and the student's .*8.*of one shape",
    ),
    "heads": ({**GUIDED_OF, "teacher": "heads"}, "the teacher's UNet has heads of level 0 = 4"),
    "prediction": ({**HALVED, "prediction": "eps"}, "'eps', but the teacher predicts 'v'"),
    "unknown prediction": ({**GUIDED_OF, "prediction": "u"}, "'u'"),
    "steps": ({**HALVED, "students": (75,)}, "must divide its teacher's 200, so one of 1, 2, 4, 5"),
    "more steps": (
        {**HALVED, "students": (4, 8), "teacher_steps": 8},
        "teacher's 4, so one of 1, 2",
    ),
    "no student": ({**HALVED, "students": ()}, "at least one student"),
    "rounds": ({**HALVED, "students": (100, 50, 25)}, "8 steps cannot be divided among 3 rounds"),
    "goes on": (
        {**HALVED, "unet": "four", "students": (2,), "teacher_steps": 8},
        "teacher_steps is 8, but the teacher was distilled to 4 steps",
    ),
    "pure noise": (
        {**HALVED, "unet": "four", "students": (2,), "pure_noise": True},
        "pure_noise is True, but the teacher was distilled with False",
    ),
    "one step": ({**HALVED, "unet": "one"}, "the teacher is a consistency student, which makes no"),
    "unguided": (
        {**HALVED, "guidance": (0.0, 6.0)},
        "the teacher does not take the scale as an input: distil its guidance first",
    ),
    "blind": ({**HALVED, "unet": "eps", "pure_noise": True, "students": (100,)}, "predict v or x0"),
    "infinite": (
        {**HALVED, "weighting": "inverse", "pure_noise": True, "students": (100,)},
        "with inf at level 200 of 200.*weights must be finite",
    ),
    "not a number": (
        {**ONCE, "weighting": "min_snr:gamma=nan"},
        "nan at level 17 of 17.*weights must be finite",
    ),
    "unknown weighting": ({**GUIDED_OF, "weighting": "bsb"}, "'bsb'"),
    "grid": ({**ONCE, "grid": "cosine"}, "grid is 'cosine'; it can be 'uniform', 'karras'"),
    "points": ({**ONCE, "points": 1}, "has 2 to 1000 points, but got 1"),
    "boundary": (
        {**ONCE, "unet": "x0"},
        "boundary 'network' needs a prediction that is z itself at sigma = 0.*but 'x0' is not",
    ),
    "unknown boundary": ({**ONCE, "boundary": "none"}, "'none'"),
    "solver": ({**ONCE, "solver": "rk4"}, "'rk4'"),
    "distance": ({**ONCE, "distance": "pseudo_huber:c=0"}, "c of a Huber distance must be above 0"),
    "features": ({**ONCE, "features_of": "middle"}, "features_of is 'middle'"),
    "decay": ({**ONCE, "target_decay": 1.5}, "target_decay is 1.5; it must be from 0 to 1"),
    "reversed": ({**GUIDED_OF, "guidance": (5.0, 2.0)}, r"guidance is \(least, most\) scale"),
    "negative": ({**GUIDED_OF, "guidance": (-1.0, 2.0)}, r"guidance is \(least, most\) scale"),
    "one number": ({**GUIDED_OF, "guidance": (3.0,)}, r"guidance is \(least, most\) scale"),
    "not told": (
        {**GUIDED_OF, "guidance_input": False},
        "guidance is drawn from 0 to 6, but the student is not told which",
    ),
    "told before": (
        {**ONCE, "unet": "told", "guidance_input": False, "guidance": (3.0, 3.0)},
        "the student's UNet has the guidance scale as an input",
    ),
    "beyond the teacher's": (
        {**ONCE, "unet": "told", "guidance": (0.0, 9.0)},
        "guidance is 0 to 9, and the teacher knows scales of 0 to 6 only",
    ),
    "another scale": (
        {**HALVED, "unet": "three", "students": (50,), "guidance": (2.0, 2.0)},
        "guidance is .*2.*, but the teacher does not take the scale",
    ),
    "default scale": (
        {**GUIDED_OF, "guidance_scale": 7.5},
        "guidance_scale is 7.5, outside of gui",
    ),
    "no branches": (
        {**GUIDED_OF, "unet": "alone", "contexts": ()},
        "a teacher without conditions has no two branches",
    ),
    "drop": ({**GUIDED_OF, "drop_probability": 0.1}, "drop_probability is 0.1: a student is told"),
    "scale": (
        {**GUIDED_OF, "scale_by_std": True, "latent_scale": 0.0},
        "set scale_by_std to False",
    ),
    "no trace": ({**ONCE, "zero_terminal_snr": True}, "trained with a trace of signal at its last"),
    "blind teacher": (
        {
            **GUIDED_OF,
            "prediction": "v",
            "schedule": "scaled_linear",
            "zero_terminal_snr": True,
        },
        "the teacher predicts eps, which determines no v at the last timestep",
    ),
    "ground truth": ({**GUIDED_OF, "ground_truth": 2.0}, "ground_truth is a probability"),
    "no teacher": ({**GUIDED_OF, "unet": ""}, "needs weights of unet, and none are given: set wei"),
    "from scratch": ({**HALVED, "unet": "scratch"}, "needs weights of unet, and none are given"),
    "two teachers": (
        {**HALVED, "teacher": "eps"},
        "weights.teacher is given, but ProgressiveStage",
    ),
    "nowhere": ({**GUIDED_OF, "teacher": "/nowhere"}, "/nowhere does not exist"),
    "held": (
        {**GUIDED_OF, "lora": 2},
        "guidance_embedding/frequencies is not trained: add 'guidance_embedding' to trainable",
    ),
    "sound": (
        {**ONCE, "audio": AudioSpace(mel=0.3), "distance": "l1"},
        "this stage needs weights of vae",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_one_sentence(name, teachers):
    settings, told = WRONG[name]
    with pytest.raises(ValueError, match=told) as caught:
        setup(config(teachers, **settings))
    assert "\n" not in str(caught.value)
