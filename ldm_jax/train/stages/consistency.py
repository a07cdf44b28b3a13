"""Consistency distillation: a student says in one call where its teacher's trajectory ends.

ConsistencyTTA (Bai et al., arXiv 2309.10740), stages 2 and 3; `AudioLCM` of github.com/Bai-YT/ConsistencyTTA. The
defaults are its choices but for two: x0 is read from the student's own kind of prediction, and weights have BSA's
floor, without which the level that one-step sampling starts from counts for next to nothing. `prediction="x0"`,
`boundary="data"` and `weighting="min_snr"` are ConsistencyTTA's.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from ldm_jax.audio.log_mel import LogMelSettings
from ldm_jax.data.features import Feature, TextTokenizers, Wave
from ldm_jax.diffusion import weightings
from ldm_jax.diffusion.distilled import Distilled
from ldm_jax.diffusion.objective import squared_error
from ldm_jax.distill import consistency
from ldm_jax.distill.audio_space import AudioSpace, audio_space_loss, reference_of
from ldm_jax.distill.distances import distance
from ldm_jax.distill.features import PARTS, feature_distance, stage_features
from ldm_jax.distill.grid import GRIDS, Grid, index_of
from ldm_jax.models.layers import upcast
from ldm_jax.train import checks
from ldm_jax.train.losses.diffusion import Conditions
from ldm_jax.train.metrics import Metrics, mean
from ldm_jax.train.stages.distillation import DistillationStage
from ldm_jax.train.stages.stage import AllParams, Arrays, Follower, Given, Networks, Player


@dataclasses.dataclass(kw_only=True, slots=True)
class ConsistencyStage(DistillationStage):
    """`unet` learns to say of z at one level what its own average says where `teacher` has led z to the next.

    Attributes:
        guidance: (least, most) scale; ConsistencyTTA has 0 to 6 drawn for each clip.
        grid: "uniform" in time, or "karras".
        points: of the grid; 18 make 17 intervals.
        solver: of the teacher: "heun", two calls (four where guidance needs both branches), or "ddim", one.
        boundary: "network", where the prediction is z itself at sigma = 0, or "data": x0 is the target next to t = 0.
        target_decay: of the average that targets come from.
        distance: between x0s, where the loss is on latents; see `distill.distances`.
        features: "" or parts of the teacher's UNet, through which x0s are compared in place of `distance`; see
            `distill.features`.
        inverse_width: whether weights are divided by the interval's width; see `distill.consistency.level_weights`.
        audio: losses on sound, with weights; by default there is none but that on latents.
    """

    guidance: tuple[float, ...] = (0.0, 6.0)
    grid: str = "uniform"
    points: int = 18
    solver: str = "heun"
    boundary: str = "network"
    target_decay: float = 0.95
    distance: str = "squared"
    features_of: str = ""
    inverse_width: bool = False
    audio: AudioSpace = dataclasses.field(default_factory=AudioSpace)

    def frozen(self) -> tuple[str, ...]:
        """As of `DistillationStage`, and what hears."""
        heard = self.audio.weights
        needed = {
            "vae": decoded(self.audio),
            "vocoder": bool(heard.keys() - {"latent", "mel"}),
            "clap": bool(heard.keys() & {"clap_text", "clap_audio"}),
        }
        base = DistillationStage.frozen(self)
        return (*base, *(name for name, need in needed.items() if need and name not in base))

    def followers(self) -> dict[str, Follower]:
        """The average that targets come from."""
        return {"target": Follower(of="unet", decay=self.target_decay)}

    def levels(self) -> Grid:
        """The grid.

        Raises:
            ValueError: no such grid, or fewer points than two.
        """
        checks.choice("grid", self.grid, GRIDS)
        return GRIDS[self.grid](self.noise_schedule(), self.points)

    def distilled(self, *, round: int) -> Distilled:
        """One call, or a few at levels of the grid."""
        laid = self.levels()
        edm_sigmas = (laid.sigma / laid.alpha)[::-1] if self.grid == "karras" else ()
        return Distilled(
            method="consistency",
            steps=1,
            timesteps=tuple(float(t) for t in laid.timesteps[::-1]),
            **self.told_guidance(),
            pure_noise=True,
            edm_sigmas=tuple(float(s) for s in edm_sigmas),
        )

    def features(
        self, text: TextTokenizers, mel: LogMelSettings, seconds: float
    ) -> tuple[Feature, ...]:
        """As of `DistillationStage`, and the true sound where CLAP is to compare with it.

        Raises:
            ValueError: the losses on sound are for another rate.
        """
        if decoded(self.audio) and self.audio.sample_rate != mel.sample_rate:
            raise ValueError(
                f"audio.sample_rate is {self.audio.sample_rate}, but that of the clips is {mel.sample_rate}"
            )
        made = DistillationStage.features(self, text, mel, seconds)
        if not self.audio.clap_audio:
            return made
        return (*made, Wave(sample_rate=mel.sample_rate))

    def check(self, networks: Networks) -> None:
        """Raises ValueError for settings that are impossible or do not fit each other."""
        consistency.check(
            self.levels(),
            weighting=weightings.weighting(self.weighting),
            prediction=self.prediction,
            boundary=self.boundary,
            teacher_prediction=self.teacher_prediction,
            solver=self.solver,
        )
        distance(self.distance)
        dataclasses.replace(self.audio)  # flags may have changed it
        checks.choice("features_of", self.features_of, ("", *PARTS))
        if not 0 <= self.target_decay <= 1:
            raise ValueError(f"target_decay is {self.target_decay}; it must be from 0 to 1")
        vae: Any = networks.get("vae")
        if decoded(self.audio) and self.latent_scale not in (0, vae.scaling_factor):
            raise ValueError(
                f"latent_scale is {self.latent_scale}, but the VAE that decodes has {vae.scaling_factor}; leave it at 0"
            )
        alone = {"features_of": self.features_of != "", "distance": self.distance != "squared"}
        if decoded(self.audio) and any(alone.values()):
            field = next(name for name, asked in alone.items() if asked)
            raise ValueError(
                f"{field} is of latents alone: leave it at its default, or audio at its own"
            )
        DistillationStage.check(self, networks)

    def draw(
        self, networks: Networks, key: Key[Array, ""], batch: Arrays, step: Int[Array, ""]
    ) -> Arrays:
        """As of `DistillationStage`, with noise at which the teacher's features are compared."""
        key, noise, place = jax.random.split(key, 3)
        draws = DistillationStage.draw(self, networks, key, batch, step)
        if self.features_of:
            draws["feature_noise"] = jax.random.normal(noise, draws["noise"].shape)
            draws["feature_place"] = jax.random.uniform(place, (len(draws["place"]),))
        return draws

    def players(self, networks: Networks) -> tuple[Player, ...]:
        """The student."""
        laid = self.levels()
        weights = consistency.level_weights(
            laid, weightings.weighting(self.weighting), inverse_width=self.inverse_width
        )
        loss = functools.partial(self._loss, networks, laid, jnp.asarray(weights, jnp.float32))
        return (Player(name="model", networks=self.trained(), loss=loss),)

    def _loss(
        self, networks: Networks, laid: Grid, weights: Array, trained: AllParams, given: Given
    ) -> tuple[Float[Array, ""], Metrics]:
        params, draws = {**given.frozen, **given.followers, **trained}, given.draws
        x0 = self.latents(networks, params, given)
        told = jax.lax.stop_gradient(self.conditional(networks, params, given))
        index = index_of(draws["place"], laid.steps)
        here, there = laid.at(index), laid.at(index - 1)
        z = consistency.noisy(x0, draws["noise"], here, pure_noise=index == laid.steps)
        target = consistency.consistency_target(
            self.student(networks, params["target"], given, told),
            self.guided(networks, params, given, told),
            *(x0, z, here, there),
            solver=self.solver,
            teacher_prediction=self.teacher_prediction,
            prediction=self.prediction,
            boundary=self.boundary,
        )
        output = self.student(networks, trained["unet"], given, told)(z, jnp.asarray(here.timestep))
        said = consistency.read_x0(output, z, here, prediction=self.prediction)
        missed, figures = self._missed(networks, params, given, told, Said(said, target, x0))
        loss = weights[index] * missed
        log_snr = jnp.asarray(laid.log_snr, jnp.float32)[index]
        figures |= self.figures(loss, squared_error(said, target), log_snr)
        return loss.mean(), figures

    def _missed(
        self, networks: Networks, params: AllParams, given: Given, told: Conditions, said: "Said"
    ) -> tuple[Float[Array, " batch"], Metrics]:
        """(by how much the student's x0 missed, before it is weighted, figures)."""
        if decoded(self.audio):
            return self._heard(networks, params, given.batch, said)
        if not self.features_of:
            return self.audio.latent * distance(self.distance)(said.student, said.target), {}
        teacher: Any = networks["teacher"]
        draws, laid = given.draws, self.levels()
        scale = None if teacher.guidance_features is None else draws["scale"]

        def features(z: Array, timesteps: Array) -> Any:
            inputs = (z, timesteps, told.contexts(), told.film, scale)
            variables = {"params": params["teacher"]}
            return stage_features(teacher, variables, *inputs, parts=self.features_of)

        level = laid.at(index_of(draws["feature_place"], laid.steps))
        noise = draws["feature_noise"]
        missed = feature_distance(features, said.student, said.target, noise, level)
        return self.audio.latent * missed, {}

    def _heard(
        self, networks: Networks, params: AllParams, batch: Arrays, said: "Said"
    ) -> tuple[Float[Array, " batch"], Metrics]:
        """The same on latents, spectrograms, waves, and by CLAP, as `audio` weighs them."""
        tokens = (batch["clap_ids"], batch["clap_mask"]) if "clap_ids" in batch else None
        reference = reference_of(
            networks, params, said.target, space=self.audio, sound=batch.get("wave"), tokens=tokens
        )
        # Encodings hold CLAP's vectors themselves.
        stored = {"text": batch.get("clap_text"), "clap": batch.get("clap_audio")}
        known = {form: upcast(x) for form, x in stored.items() if x is not None and x.ndim == 2}
        loss, terms = audio_space_loss(
            networks, params, said.student, reference._replace(**known), space=self.audio
        )
        return loss, {f"loss/{name}": mean(x) for name, x in terms.items()}


def decoded(audio: AudioSpace) -> bool:
    """Whether there is a loss on anything but latents."""
    return audio.weights.keys() != {"latent"}


class Said(NamedTuple):
    """Latents without noise.

    Attributes:
        student: what the student says.
        target: what its average says, a step further on the teacher's trajectory.
        truth: the clip's own.
    """

    student: Float[Array, "batch t f z"]
    target: Float[Array, "batch t f z"]
    truth: Float[Array, "batch t f z"]
