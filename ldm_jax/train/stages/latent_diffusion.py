"""The latent diffusion model: a UNet that removes noise from the VAE's latents, told of the sound by LOA and text.

Liu et al., "AudioLDM 2", arXiv 2308.05734; `LatentDiffusion` of haoheliu/AudioLDM-training-finetuning. Self-supervised
pretraining gives it AudioMAE's LOA, pooled by a factor that is drawn for each batch, and no text:

    LatentDiffusionStage(time_pools=(1, 2, 4, 8), captions=False)

The UNet of plain text-to-audio has `contexts=("text",)`; that of the 48 kHz model none and `film=True`.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from ldm_jax.audio.log_mel import LogMelSettings
from ldm_jax.data.features import STAGES, Feature, TextTokenizers
from ldm_jax.diffusion.objective import Objective, configured
from ldm_jax.models.loa import GRID
from ldm_jax.train import checks, conditions
from ldm_jax.train.losses.diffusion import (
    Conditions,
    diffusion_loss,
    draw_drop,
    either,
)
from ldm_jax.train.metrics import Metrics, mean
from ldm_jax.train.stages.stage import AllParams, Arrays, Given, Networks, Player, Stage

CONTEXTS = ("loa", "text")


@dataclasses.dataclass(kw_only=True, slots=True)
class LatentDiffusionStage(Stage):
    """`unet` on latents, with true LOA.

    Attributes:
        encoded: whether batches hold encodings, so that no frozen network is needed.
        contexts: of the UNet's cross-attention slots, in this order: "loa", "text", either or none.
        film: whether the UNet takes CLAP's vector beside the time.
        captions: False gives every clip the text "".
        time_pools: patches that an LOA token spans in time, and in frequency at most; of several one is drawn for each
            batch. 8 is the published setting for sound and music, 1 for speech, (1, 2, 4, 8) for pretraining.
        loa_grid: AudioMAE's patches in time and frequency of windows whose LOA is stored, (32, 8) for 5.12 s; not read
            where AudioMAE is run.
        drop_probability: of taking all conditions away, for guidance: LOA of zeros, text and CLAP's vector of "".
        drop: "batch" as published, or "clip": whether that is decided for all clips at once.
        clap_audio: probability that CLAP's vector is of the sound and not of the caption; published is 0.31. It is
            decided as `drop`.
        clap_empty: probability that a clip's vector is that of "" for itself; the released code has 0.1.
        latent_scale: of the latents; 0 takes the VAE's own `scaling_factor`.
        scale_by_std: measure it on the first batch instead, so that latents have a variance of 1.
        prediction: "eps", "x0" or "v".
        schedule: of the noise, see `diffusion.schedules`. This and the two names below take options as in
            "min_snr:gamma=3".
        zero_terminal_snr: whether the schedule is rescaled to end in pure noise.
        weighting: of x0's squared error, see `diffusion.weightings`; "snr" is the plain loss of eps. In a config's file
            it can be any function of log SNR.
        density: of the timesteps, see `diffusion.densities`.
        stratified: whether a batch's timesteps are spread evenly.
    """

    encoded: bool = False
    contexts: tuple[str, ...] = CONTEXTS
    film: bool = False
    captions: bool = True
    time_pools: tuple[int, ...] = (8,)
    loa_grid: tuple[int, int] = GRID
    drop_probability: float = 0.1
    drop: str = "batch"
    clap_audio: float = 0.0
    clap_empty: float = 0.0
    latent_scale: float = 0.0
    scale_by_std: bool = False
    prediction: str = "eps"
    schedule: str = "scaled_linear"
    zero_terminal_snr: bool = False
    weighting: str = "snr"
    density: str = "uniform"
    stratified: bool = False

    def trained(self) -> tuple[str, ...]:
        """The UNet."""
        return ("unet",)

    def frozen(self) -> tuple[str, ...]:
        """What encodes the batch."""
        if self.encoded:
            return ()
        needed = {
            "vae": True,
            "audiomae": "loa" in self.contexts,
            "t5": "text" in self.contexts,
            "clap": self.film,
        }
        return tuple(name for name, need in needed.items() if need)

    def consulted(self) -> tuple[str, ...]:
        """The VAE that encodings come from, for the scale of its latents."""
        return ("vae",) if self.encoded else ()

    def held_out(self) -> "LatentDiffusionStage":
        """No condition is taken away."""
        return dataclasses.replace(self, drop_probability=0.0, clap_audio=0.0, clap_empty=0.0)

    def sampled(self, networks: Networks, *, round: int = -1) -> dict[str, Any]:
        """Prediction and schedule, and how many LOA tokens there are.

        Raises:
            ValueError: a schedule that diffusers has no words for.
        """
        scheduler = checks.scheduler(
            self.prediction, self.schedule, zero_terminal_snr=self.zero_terminal_snr
        )
        if "loa" not in self.contexts:
            return {"scheduler": scheduler}
        grid = conditions.grid_of(networks, self.loa_grid)
        return {
            "scheduler": scheduler,
            "loa_tokens": conditions.loa_tokens(self.time_pools[-1], grid),
        }

    def features(
        self, text: TextTokenizers, mel: LogMelSettings, seconds: float
    ) -> tuple[Feature, ...]:
        """Spectrograms for VAE and AudioMAE (and for CLAP, where it listens), tokens of the caption and of ""."""
        stage = "ldm_clap_audio" if self.clap_audio else "ldm"
        return (*STAGES[stage](text, mel, seconds), *text.empty())

    def check(self, networks: Networks) -> None:
        """Raises ValueError for unknown or impossible settings, and networks that do not fit."""
        self.objective()
        checks.choice("drop", self.drop, ("batch", "clip"))
        checks.probabilities(
            drop_probability=self.drop_probability,
            clap_audio=self.clap_audio,
            clap_empty=self.clap_empty,
        )
        if self.contexts not in ((), ("loa",), ("text",), CONTEXTS):
            raise ValueError(f"contexts are {self.contexts}; they can be 'loa', 'text' or both")
        unet: Any = networks["unet"]
        if self.film != (unet.film_dim is not None):
            raise ValueError(f"film is {self.film}, but the UNet's film_dim is {unet.film_dim}")
        checks.contexts(networks, self.contexts)
        if "loa" in self.contexts:
            checks.pooling(self.time_pools, conditions.grid_of(networks, self.loa_grid))
        if self.latent_scale < 0:
            raise ValueError(f"latent_scale is {self.latent_scale}; it must be positive, or 0")
        if "vae" not in networks and not self.latent_scale and not self.scale_by_std:
            raise ValueError(
                "a batch from encodings comes without a VAE and its scaling factor: name the VAE in weights.vae, set "
                "latent_scale (AudioLDM 2's has about 0.41109), or scale_by_std"
            )

    def measure(self, networks: Networks, frozen: AllParams, batch: Arrays) -> Arrays:
        """`latent_scale`: by how much a sample of the VAE's latents is multiplied."""
        if self.scale_by_std:
            return {"latent_scale": conditions.unit_scale(networks, frozen, batch)}
        vae: Any = networks.get("vae")
        return {"latent_scale": jnp.float32(self.latent_scale or vae.scaling_factor)}

    def draw(
        self, networks: Networks, key: Key[Array, ""], batch: Arrays, step: Int[Array, ""]
    ) -> Arrays:
        """Noise of the posterior and of the diffusion, its timesteps, and all that is decided by chance."""
        posterior, diffusion, drop, pool, clap = jax.random.split(key, 5)
        shape = conditions.latent_shape(networks, batch)
        timesteps, noise = self.objective().draw(diffusion, shape)
        draws: Arrays = {
            "posterior": jax.random.normal(posterior, shape),
            "timesteps": timesteps,
            "noise": noise,
        }
        if self.drop_probability:
            draws["drop"] = draw_drop(
                drop, shape[0], probability=self.drop_probability, per=self.drop, step=step
            )
        if len(self.time_pools) > 1:
            draws["pool"] = jax.random.randint(pool, (), 0, len(self.time_pools))
        return draws | conditions.draw_clap(
            clap,
            shape[0],
            audio=self.clap_audio,
            empty=self.clap_empty,
            per_clip=self.drop == "clip",
        )

    def players(self, networks: Networks) -> tuple[Player, ...]:
        """All trained networks down one loss."""
        loss = functools.partial(self._loss, networks, self.objective())
        return (Player(name="model", networks=self.trained(), loss=loss),)

    def objective(self) -> Objective:
        """What is predicted, at which noise, and how its error weighs.

        Raises:
            ValueError: as `diffusion.objective.configured`.
        """
        return configured(
            prediction=self.prediction,
            schedule=self.schedule,
            zero_terminal_snr=self.zero_terminal_snr,
            weighting=self.weighting,
            density=self.density,
            stratified=self.stratified,
        )

    def conditional(self, networks: Networks, params: AllParams, given: Given) -> Conditions:
        """What the UNet is told of clips as they are."""
        batch, draws = given.batch, given.draws
        loa = text = mask = film = None
        if "loa" in self.contexts:
            loa = self.target(networks, params, given)
        if "text" in self.contexts and self.captions:
            text, mask = conditions.text_states(networks, params, batch)
        elif "text" in self.contexts:
            text, mask = conditions.empty_text_states(networks, params, batch, as_captions=False)
        if self.film:
            film = conditions.clap_vector(
                networks,
                params,
                batch,
                from_audio=draws.get("clap_audio"),
                emptied=draws.get("clap_empty"),
            )
        return Conditions(loa, text, mask, film)

    def unconditional(self, networks: Networks, params: AllParams, given: Given) -> Conditions:
        """What it is told where conditions are taken away, in the same shapes."""
        batch = given.batch
        loa = text = mask = film = None
        if "loa" in self.contexts:
            loa = self.silent_loa(networks, params, given)
        if "text" in self.contexts:
            text, mask = conditions.empty_text_states(
                networks, params, batch, as_captions=self.captions
            )
        if self.film:
            film = conditions.empty_clap_vector(networks, params, batch)
        return Conditions(loa, text, mask, film)

    def silent_loa(
        self, networks: Networks, params: AllParams, given: Given
    ) -> Float[Array, "batch tokens width"]:
        """Zeros in the shape of the true LOA."""
        shape = jax.eval_shape(lambda: self.target(networks, params, given))
        return jnp.zeros(shape.shape, shape.dtype)

    def target(
        self, networks: Networks, params: AllParams, given: Given
    ) -> Float[Array, "batch tokens width"]:
        """The true LOA, pooled."""
        return conditions.true_loa(
            networks,
            params,
            given.batch,
            time_pools=self.time_pools,
            which=given.draws.get("pool"),
            grid=conditions.grid_of(networks, self.loa_grid),
        )

    def latents(
        self, networks: Networks, params: AllParams, given: Given
    ) -> Float[Array, "batch t f z"]:
        """Clean ones, sampled and scaled."""
        return conditions.sampled_latents(
            networks,
            params,
            given.batch,
            noise=given.draws["posterior"],
            scale=given.constants["latent_scale"],
        )

    def _loss(
        self, networks: Networks, objective: Objective, trained: AllParams, given: Given
    ) -> tuple[Float[Array, ""], Metrics]:
        params, draws = {**given.frozen, **trained}, given.draws
        told = either(
            draws.get("drop"),
            lambda: self.unconditional(networks, params, given),
            lambda: self.conditional(networks, params, given),
        )
        loss, figures = diffusion_loss(
            networks["unet"],
            params["unet"],
            objective,
            self.latents(networks, params, given),
            told,
            timesteps=draws["timesteps"],
            noise=draws["noise"],
        )
        if "drop" in draws:
            figures["dropped"] = mean(draws["drop"])
        return loss, figures
