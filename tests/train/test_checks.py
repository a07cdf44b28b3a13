"""What a stage was trained with is what its clips are sampled with."""

import numpy as np
import pytest

from ldm_jax.pipeline.plans import PREDICTIONS, noise_schedule
from ldm_jax.train.stages.latent_diffusion import LatentDiffusionStage


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
@pytest.mark.parametrize(
    "schedule",
    ["scaled_linear", "linear", "cosine", "linear:beta_end=0.01", "cosine:train_steps=400"],
)
@pytest.mark.parametrize("rescaled", [False, True])
def test_the_sampler_has_the_noise_of_training(prediction, schedule, rescaled):
    if rescaled and prediction == "eps":
        prediction = "v"  # noise alone says nothing of itself where the signal is 0
    stage = LatentDiffusionStage(
        contexts=(), prediction=prediction, schedule=schedule, zero_terminal_snr=rescaled
    )
    told = stage.sampled({})["scheduler"]
    assert PREDICTIONS[told["prediction_type"]] == prediction
    ours = stage.objective().schedule.alphas_cumprod
    np.testing.assert_allclose(noise_schedule(told).alphas_cumprod, ours, rtol=1e-12, atol=0)


def test_a_schedule_that_cannot_be_told():
    stage = LatentDiffusionStage(contexts=(), schedule="cosine:offset=0.1")
    with pytest.raises(ValueError, match="offset, which no scheduler's config can say"):
        stage.sampled({})
