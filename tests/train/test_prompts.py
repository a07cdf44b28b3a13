"""How the fixed prompts of a run are sampled."""

from ldm_jax.diffusion.distilled import Distilled
from ldm_jax.students import settings
from ldm_jax.train.config import Prompts
from ldm_jax.train.prompts import asked

PROMPTS = Prompts(steps=30, guidance_scale=2.5, sampler="dpmsolver++")
GUIDED = Distilled(method="guided", guidance=(0.0, 6.0), guidance_scale=4.0)
TWO = Distilled(method="progressive", steps=2, timesteps=(999.0, 499.0), guidance_scale=3.0)
ONE = Distilled(method="consistency", steps=1, timesteps=(999.0, 500.0, 0.0), guidance_scale=3.0)


def test_a_student_is_sampled_as_it_was_made():
    """A run's settings are for models that are not distilled; a student would refuse another's steps or scale."""

    def sampled(distilled):
        found = settings(distilled, **asked(PROMPTS, distilled))
        return found.steps, found.sampler, found.guidance_scale

    assert sampled(None) == (30, "dpmsolver++", 2.5)
    assert sampled(GUIDED) == (30, "dpmsolver++", 4.0)
    assert sampled(TWO) == (2, "progressive", 3.0)
    assert sampled(ONE) == (1, "consistency", 3.0)
