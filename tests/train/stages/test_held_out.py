"""What stages leave out where they are judged by held-out clips."""

import pytest

from ldm_jax.train.stages.audiomae import AudioMAEStage
from ldm_jax.train.stages.clap import ClapStage
from ldm_jax.train.stages.guided import GuidedStage
from ldm_jax.train.stages.joint import JointStage
from ldm_jax.train.stages.latent_diffusion import LatentDiffusionStage
from ldm_jax.train.stages.speech import SpeechStage
from ldm_jax.train.stages.translator import TranslatorStage
from ldm_jax.train.stages.vae import VAEStage

UNDROPPED = {"drop_probability": 0.0, "clap_audio": 0.0, "clap_empty": 0.0}
CASES = [
    (AudioMAEStage(mask_ratio=0.7), {"decoder_dropout": False}),
    (
        ClapStage(time_stripes=(5, 3)),
        {
            "time_stripes": (5, 0),
            "mel_stripes": (8, 0),
            "text_dropout": 0.0,
            "drop_path": 0.0,
            "by_batch": False,
        },
    ),
    (LatentDiffusionStage(clap_audio=0.5, prediction="v"), UNDROPPED),
    (JointStage(clap_empty=0.5, ground_truth=0.5), UNDROPPED | {"dropout": False}),
    (SpeechStage(), UNDROPPED | {"dropout": False}),
    (GuidedStage(), UNDROPPED),
    (TranslatorStage(clap_audio=0.5), {"dropout": False, "clap_audio": 0.0, "clap_empty": 0.0}),
    (VAEStage(), {}),
]


@pytest.mark.parametrize(("stage", "changed"), CASES, ids=lambda x: type(x).__name__)
def test_nothing_is_dropped_and_all_else_is_as_in_training(stage, changed):
    seen = stage.held_out()
    assert type(seen) is type(stage)
    for field in stage.__dataclass_fields__:
        assert getattr(seen, field) == changed.get(field, getattr(stage, field)), field
