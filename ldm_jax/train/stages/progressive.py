"""Progressive distillation: in each round a student learns to do in one step what its teacher does in two.

Salimans and Ho, arXiv 2202.00512; with the scale as an input stage 2 of Meng et al., arXiv 2210.03142; with weightings
"Balanced SNR-Aware Distillation for Guided Text-to-Audio Generation", arXiv 2312.15628. A run is the whole chain, 200
-> 100 -> 50 -> 25: see `Stage.rounds`. Each student is exported when its round ends.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ldm_jax.diffusion import weightings
from ldm_jax.diffusion.distilled import Distilled
from ldm_jax.diffusion.objective import squared_error
from ldm_jax.diffusion.parameterization import add_noise, convert
from ldm_jax.distill.grid import Level, Network, check_weights, index_of, loss_weights
from ldm_jax.distill.progressive import Chain, chain, progressive_target
from ldm_jax.train.metrics import Metrics, mean
from ldm_jax.train.stages.distillation import DistillationStage
from ldm_jax.train.stages.stage import AllParams, Follower, Given, Networks, Player, Stage

TEACHER_STEPS = 200  # of AudioLDM and AudioLDM 2


@dataclasses.dataclass(kw_only=True, slots=True)
class ProgressiveStage(DistillationStage):
    """`unet`, of ever fewer steps.

    Attributes:
        students: steps of each round's student; each divides the one before. (100, 50, 25) halves 200 three times,
            (5, 1) goes on from 25 by fives.
        teacher_steps: DDIM steps of the first teacher; 0 are those that its checkpoint says, else 200.
        pure_noise: whether the noisiest level has no signal; see `diffusion.student_grid`. Not with eps.
        stochastic: whether students are trained between their levels too, for the stochastic sampler.
    """

    students: tuple[int, ...] = (100, 50, 25)
    teacher_steps: int = 0
    pure_noise: bool = False
    stochastic: bool = False

    def frozen_teacher(self) -> bool:
        """No: it is what the student was when the round began."""
        return False

    def followers(self) -> dict[str, Follower]:
        """The teacher of the round."""
        return {"teacher": Follower(of="unet")}

    def rounds(self) -> int:
        """One a student."""
        return len(self.students)

    def informed(self, origins: Mapping[str, Any]) -> Stage:
        """As of `DistillationStage`, with the steps of a teacher that is a progressive student itself.

        Raises:
            ValueError: it was distilled to another number of steps, or grid, than is asked for, or to one step.
        """
        made: Any = DistillationStage.informed(self, origins)
        theirs: Distilled | None = getattr(origins.get("unet"), "distilled", None)
        if theirs is not None and theirs.method == "consistency":
            raise ValueError(
                "the teacher is a consistency student, which makes no steps that could be halved; give the model that "
                "it was distilled from"
            )
        own = theirs.steps if theirs is not None and theirs.method == "progressive" else 0
        if own and made.teacher_steps not in (0, own):
            raise ValueError(
                f"teacher_steps is {made.teacher_steps}, but the teacher was distilled to {own} steps"
            )
        if own and theirs is not None and theirs.pure_noise != made.pure_noise:
            raise ValueError(
                f"pure_noise is {made.pure_noise}, but the teacher was distilled with {theirs.pure_noise}"
            )
        return dataclasses.replace(made, teacher_steps=made.teacher_steps or own or TEACHER_STEPS)

    def chain(self) -> Chain:
        """The rounds' levels.

        Raises:
            ValueError: see `distill.progressive.chain`.
        """
        return chain(
            self.noise_schedule(), self.teacher_steps, self.students, pure_noise=self.pure_noise
        )

    def distilled(self, *, round: int) -> Distilled:
        """DDIM on the levels of a round's student."""
        laid = self.chain()
        grid = laid.student_grid(round)
        return Distilled(
            method="progressive",
            steps=grid.steps,
            timesteps=tuple(float(t) for t in grid.timesteps[:0:-1]),
            **self.told_guidance(),
            pure_noise=self.pure_noise,
            halfway=self.stochastic and laid.factors[round] % 2 == 0,
        )

    def check(self, networks: Networks) -> None:
        """Raises ValueError for steps that do not divide, a teacher of another prediction, impossible weights."""
        laid = self.chain()
        if self.prediction != self.teacher_prediction:
            raise ValueError(
                f"prediction is {self.prediction!r}, but the teacher predicts {self.teacher_prediction!r}: a student "
                "of fewer steps starts as its teacher, so both predict the same; GuidedStage makes a student of "
                "another prediction"
            )
        unet: Any = networks["unet"]
        if (
            unet.guidance_features is None
            and tuple(self.guidance) != (self.teacher_imitates or 1,) * 2
        ):
            raise ValueError(
                f"guidance is {tuple(self.guidance)}, but the teacher does not take the scale as an input: distil its "
                "guidance first, with GuidedStage"
            )
        check_weights(laid.grid, weightings.weighting(self.weighting), self.prediction)
        DistillationStage.check(self, networks)

    def takes_scale(self) -> bool:
        """Whether the teacher does."""
        return bool(self.teacher_guidance)

    def players(self, networks: Networks) -> tuple[Player, ...]:
        """The student."""
        laid = self.chain()
        weights = loss_weights(laid.grid, weightings.weighting(self.weighting), self.prediction)
        loss = functools.partial(self._loss, networks, laid, jnp.asarray(weights, jnp.float32))
        return (Player(name="model", networks=self.trained(), loss=loss),)

    def _loss(
        self, networks: Networks, laid: Chain, weights: Array, trained: AllParams, given: Given
    ) -> tuple[Float[Array, ""], Metrics]:
        params = {**given.frozen, **given.followers, **trained}
        x0 = self.latents(networks, params, given)
        told = jax.lax.stop_gradient(self.conditional(networks, params, given))
        teacher = self.guided(networks, params, given, told)
        teach = functools.partial(self._taught, laid, teacher, x0, given)
        factors = sorted(set(laid.factors))
        if len(factors) == 1:
            z, here, target = teach(factors[0])
        else:  # one program for all rounds, of which each runs its own branch
            which = jnp.asarray([factors.index(factor) for factor in laid.factors])[given.round]
            z, here, target = jax.lax.switch(which, [lambda k=k: teach(k) for k in factors])
        timesteps = jnp.asarray(here.timestep)
        output = self.student(networks, trained["unet"], given, told)(z, timesteps)
        wanted = convert(
            jax.lax.stop_gradient(target),
            z,
            source="x0",
            target=self.prediction,
            alpha=here.alpha,
            sigma=here.sigma,
        )
        position = self._position(laid, given)
        loss = weights[position] * squared_error(output, wanted)
        said = convert(
            output, z, source=self.prediction, target="x0", alpha=here.alpha, sigma=here.sigma
        )
        log_snr = jnp.asarray(laid.grid.log_snr[1:], jnp.float32)[position - 1]
        figures = self.figures(loss, squared_error(said, target), log_snr)
        figures["student_steps"] = mean(laid.steps_of(given.round))
        return loss.mean(), figures

    def _taught(
        self, laid: Chain, teacher: Network, x0: Array, given: Given, factor: int
    ) -> tuple[Array, Level, Array]:
        """(noisy latents, their levels, the teacher's x0) where a student's step takes `factor` of its teacher's."""
        index = self._teacher_index(laid, given, factor)
        path = laid.teacher_path(given.round, index, factor=factor)
        here = path[0]
        z = add_noise(x0, given.draws["noise"], alpha=here.alpha, sigma=here.sigma)
        target = progressive_target(teacher, z, path, prediction=self.prediction)
        return z, here, target

    def _teacher_index(self, laid: Chain, given: Given, factor: int) -> Array:
        steps, place = laid.steps_of(given.round), given.draws["place"]
        if self.stochastic:
            return index_of(place, steps * factor)
        return index_of(place, steps) * factor

    def _position(self, laid: Chain, given: Given) -> Array:
        """Of each clip's level in the chain's grid."""
        if not self.stochastic:
            steps = laid.steps_of(given.round)
            return laid.position(given.round, index_of(given.draws["place"], steps))
        factor = jnp.asarray(laid.factors)[given.round]
        steps = laid.steps_of(given.round) * factor
        return index_of(given.draws["place"], steps) * (laid.grid.steps // steps)
