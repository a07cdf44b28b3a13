"""Guided distillation: a student says in one call what its teacher says in two.

Meng et al., "On Distillation of Guided Diffusion Models", arXiv 2210.03142, stage 1; `AudioGDM` of ConsistencyTTA
(arXiv 2309.10740). The student may predict another kind than its teacher: so an eps model becomes one of v.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from ldm_jax.diffusion import densities
from ldm_jax.diffusion.distilled import Distilled
from ldm_jax.diffusion.objective import Objective
from ldm_jax.distill.grid import Level
from ldm_jax.distill.guided import guided_target
from ldm_jax.train.metrics import Metrics
from ldm_jax.train.stages.distillation import DistillationStage
from ldm_jax.train.stages.stage import AllParams, Arrays, Given, Networks, Player


@dataclasses.dataclass(kw_only=True, slots=True)
class GuidedStage(DistillationStage):
    """`unet` learns the guided `teacher` at all timesteps.

    Attributes:
        guidance: (least, most) scale; ConsistencyTTA has 0 to 6.
        pure_noise: whether nothing but noise is seen at the last timestep, where sampling starts.
    """

    guidance: tuple[float, ...] = (0.0, 6.0)
    pure_noise: bool = True

    def distilled(self, *, round: int) -> Distilled:
        """Any sampler and number of steps, with the scale as an input."""
        return Distilled(method="guided", **self.told_guidance(), pure_noise=self.pure_noise)

    def check(self, networks: Networks) -> None:
        """Raises ValueError as `DistillationStage`, and for a teacher that says nothing where there is no signal."""
        DistillationStage.check(self, networks)
        blind = self.teacher_prediction == "eps" and self.noise_schedule().alpha[-1] == 0
        if blind and self.prediction != "eps":
            raise ValueError(
                f"the teacher predicts eps, which determines no {self.prediction} at the last timestep, where the "
                "schedule leaves no signal: distil a teacher of v or x0, or one whose schedule leaves some"
            )

    def draw(
        self, networks: Networks, key: Key[Array, ""], batch: Arrays, step: Int[Array, ""]
    ) -> Arrays:
        """As of `DistillationStage`, with timesteps of the objective's density."""
        key, timesteps = jax.random.split(key)
        draws = DistillationStage.draw(self, networks, key, batch, step)
        probabilities = self.objective().probabilities
        rows = len(draws["scale"])
        draws["timesteps"] = densities.draw(
            timesteps, probabilities, rows, stratified=self.stratified
        )
        return draws

    def players(self, networks: Networks) -> tuple[Player, ...]:
        """The student."""
        loss = functools.partial(self._loss, networks, self.objective())
        return (Player(name="model", networks=self.trained(), loss=loss),)

    def _loss(
        self, networks: Networks, objective: Objective, trained: AllParams, given: Given
    ) -> tuple[Float[Array, ""], Metrics]:
        params, draws = {**given.frozen, **trained}, given.draws
        t = draws["timesteps"]
        z = objective.noisy(self.latents(networks, params, given), t, draws["noise"])
        if self.pure_noise:
            last = t == objective.schedule.train_steps - 1
            z = jnp.where(last[:, None, None, None], draws["noise"], z)
        told = jax.lax.stop_gradient(self.conditional(networks, params, given))
        alpha, sigma = objective.schedule.at(t)
        target = guided_target(
            self.guided(networks, params, given, told)(z, t),
            z,
            Level(t, alpha, sigma),
            source=self.teacher_prediction,
            target=self.prediction,
        )
        output = self.student(networks, trained["unet"], given, told)(z, t)
        errors = objective.errors(output, jax.lax.stop_gradient(target), t)
        log_snr = 2 * (jnp.log(alpha) - jnp.log(sigma))
        return errors.loss.mean(), self.figures(errors.loss, errors.x0, log_snr)
