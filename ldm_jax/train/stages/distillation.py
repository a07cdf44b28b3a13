"""What all distillation has in common: which clips a student sees, and what it and its teacher are told of them.

The student is `unet`. It starts from its teacher's weights; nothing else is trained. A teacher is guided with a scale
w, u + w (c - u), that is drawn for each clip and told to the student as an input (Meng et al., arXiv 2210.03142).
LOA is what GPT-2 makes up, as it will be where the student is used. The methods are in `ldm_jax.distill`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from ldm_jax.audio.log_mel import LogMelSettings
from ldm_jax.convert.checkpoint import Checkpoint
from ldm_jax.convert.native import describe
from ldm_jax.data.features import AudioMAEInput, Feature, TextTokenizers
from ldm_jax.diffusion import bands, densities, schedules
from ldm_jax.diffusion.distilled import Distilled
from ldm_jax.diffusion.schedules import Schedule
from ldm_jax.distill.grid import Network
from ldm_jax.distill.guided import double
from ldm_jax.models.layers import upcast
from ldm_jax.models.translator import generate_loa
from ldm_jax.train import checks, conditions
from ldm_jax.train.losses.diffusion import Conditions, asked, either, interleaved
from ldm_jax.train.metrics import Metrics, banded, mean
from ldm_jax.train.stages.latent_diffusion import LatentDiffusionStage
from ldm_jax.train.stages.stage import AllParams, Arrays, Given, Networks, Stage
from ldm_jax.train.weights import first_difference

FREQUENCIES = 2  # of a scale that becomes an input, times the channels of the first level, as in ConsistencyTTA


@dataclasses.dataclass(kw_only=True, slots=True)
class DistillationStage(LatentDiffusionStage):
    """A student of a latent diffusion model. Fields of the kind "" are what the teacher's checkpoint says.

    Attributes:
        prediction: what the student predicts: "eps", "x0" or "v"; "" is what the weights do that it starts from.
        schedule: of the noise, as of `LatentDiffusionStage`; "" is the teacher's.
        drop_probability: 0: a student has no unconditional branch.
        guidance: (least, most) scale w that is drawn for each clip; (1, 1) is without guidance. () is the range of a
            teacher that takes the scale as an input, and (1, 1) of another.
        guidance_input: whether the student is told the scale. If not, there must be one scale only.
        guidance_scale: that is used where none is asked for.
        ground_truth: probability that a batch's LOA is true, and not GPT-2's own. At 1 GPT-2 is not needed, at 0
            AudioMAE is not.
        speech: GPT-2 reads phonemes.
        stratified: whether the levels of a batch are spread evenly.
        teacher_prediction: what the teacher predicts, where its checkpoint does not say.
        teacher_guidance: (least, most) scale that the teacher takes as an input; found in its checkpoint.
        loa_tokens: how many LOA tokens GPT-2 makes; 0 is what the teacher's checkpoint says.
        teacher_imitates: the one scale that a teacher which is a student itself imitates, without such an input; found
            in its checkpoint, 0 is none.
    """

    prediction: str = ""
    schedule: str = ""
    drop_probability: float = 0.0
    weighting: str = "bsa"
    guidance: tuple[float, ...] = ()
    guidance_input: bool = True
    guidance_scale: float = 3.5
    ground_truth: float = 0.0
    speech: bool = False
    teacher_prediction: str = ""
    teacher_guidance: tuple[float, ...] = ()
    teacher_imitates: float = 0.0
    loa_tokens: int = 0

    def frozen_teacher(self) -> bool:
        """Whether the teacher is one of the networks that are used as they are, and not what the student once was."""
        return True

    def frozen(self) -> tuple[str, ...]:
        """The teacher, and what makes latents and conditions of a batch."""
        imagined = "loa" in self.contexts and self.ground_truth < 1
        needed = {
            "teacher": self.frozen_teacher(),
            "vae": not self.encoded,
            "audiomae": "loa" in self.contexts and self.ground_truth > 0 and not self.encoded,
            "t5": ("text" in self.contexts or imagined) and not self.encoded and not self.speech,
            "clap": (self.film or imagined) and not self.encoded,
            "phoneme_encoder": imagined and self.speech,
            "gpt2": imagined,
            "translator": imagined,
        }
        return tuple(name for name, need in needed.items() if need)

    def kept_as(self) -> dict[str, str]:
        """The teacher is some checkpoint's UNet."""
        return {"teacher": "unet"} if "teacher" in self.frozen() else {}

    def given(self) -> tuple[str, ...]:
        """The student, which starts from its teacher's weights, or from what another student has come to."""
        return ("unet",)

    def informed(self, origins: Mapping[str, Checkpoint]) -> Stage:
        """With prediction, schedule and guidance of the teacher's checkpoint, and the student's own prediction."""
        own = origins.get("unet")
        origin = origins.get("teacher") or own
        if origin is None:  # a plan, without weights
            return self._informed_by(checks.SCHEDULER, None)
        made = self._informed_by(origin.scheduler, origin.distilled)
        made = dataclasses.replace(made, loa_tokens=self.loa_tokens or origin.loa_tokens)
        if own is None or own is origin or self.prediction:
            return made
        return dataclasses.replace(made, prediction=checks.read_scheduler(own.scheduler)[0])

    def _informed_by(
        self, scheduler: Mapping[str, Any], distilled: Distilled | None
    ) -> "DistillationStage":
        prediction, schedule, zero = checks.read_scheduler(scheduler)
        theirs = self.teacher_prediction or prediction
        asked = self.schedule or schedule
        if self.zero_terminal_snr and not (self.schedule or zero):
            raise ValueError(
                "zero_terminal_snr is True, but the teacher was trained with a trace of signal at its last timestep; "
                "where its checkpoint does not know, give schedule too"
            )
        zero = self.zero_terminal_snr if self.schedule else zero
        scales = distilled.guidance if distilled else ()
        imitated = distilled.guidance_scale if distilled and not scales else 0.0
        return dataclasses.replace(
            self,
            prediction=self.prediction or theirs,
            schedule=asked,
            zero_terminal_snr=zero,
            guidance=tuple(self.guidance) or scales or (imitated or 1.0,) * 2,
            teacher_prediction=theirs,
            teacher_guidance=scales,
            teacher_imitates=imitated,
        )

    def adapted(self, networks: Networks) -> Networks:
        """The student with the scale as an input, if it has none yet."""
        unet: Any = networks["unet"]
        if not self.takes_scale() or unet.guidance_features is not None:
            return networks
        features = FREQUENCIES * unet.block_out_channels[0]
        return {**networks, "unet": unet.clone(guidance_features=features)}

    def takes_scale(self) -> bool:
        """Whether the student is told the scale."""
        return self.guidance_input and (
            self.guidance[0] < self.guidance[-1] or bool(self.teacher_guidance)
        )

    def distilled(self, *, round: int) -> Distilled:
        """How the student is to be asked after a round."""
        raise NotImplementedError

    def told_guidance(self) -> dict[str, Any]:
        """The fields of `Distilled` on guidance."""
        if not self.takes_scale():
            return {"guidance_scale": float(self.guidance[0])}
        low, high = map(float, self.guidance)
        return {"guidance": (low, high), "guidance_scale": min(max(self.guidance_scale, low), high)}

    def sampled(self, networks: Networks, *, round: int = -1) -> dict[str, Any]:
        """As of `LatentDiffusionStage`, with `distilled`."""
        told = LatentDiffusionStage.sampled(self, networks)
        if "loa" in self.contexts:
            told["loa_tokens"] = self._tokens(networks)
        return {**told, "distilled": self.distilled(round=round)}

    def features(
        self, text: TextTokenizers, mel: LogMelSettings, seconds: float
    ) -> tuple[Feature, ...]:
        """As of `LatentDiffusionStage`, without what AudioMAE would hear where it is not asked."""
        if self.speech:
            text = dataclasses.replace(text, t5=None)
        made = LatentDiffusionStage.features(self, text, mel, seconds)
        heard = "loa" in self.contexts and self.ground_truth > 0
        return tuple(x for x in made if heard or not isinstance(x, AudioMAEInput))

    def check(self, networks: Networks) -> None:
        """Raises ValueError for impossible settings, and a teacher that is another network than the student."""
        LatentDiffusionStage.check(self, networks)
        checks.probabilities(ground_truth=self.ground_truth)
        if self.scale_by_std:
            raise ValueError(
                "the latents of a student are scaled as its teacher's: set scale_by_std to False, and weights.vae to "
                "the teacher's run"
            )
        if self.drop_probability:
            raise ValueError(
                f"drop_probability is {self.drop_probability}: a student is told the scale and never goes without its "
                "conditions; set it to 0"
            )
        checks.guidance(
            self.guidance,
            told=self.takes_scale(),
            default=self.guidance_scale,
            teacher=self.teacher_guidance
            or (self.teacher_imitates,) * 2 * bool(self.teacher_imitates),
        )
        self._check_teacher(networks)
        guided = self.frozen_teacher() and not (self.teacher_guidance or self.teacher_imitates)
        if guided and tuple(self.guidance) != (1, 1) and not (self.contexts or self.film):
            raise ValueError(
                f"guidance is {tuple(self.guidance)}, but a teacher without conditions has no two branches: set it to "
                "(1, 1)"
            )
        if self.speech and (self.encoded or "text" in self.contexts):
            raise ValueError(
                "speech needs sound and contexts ('loa',): text acts through LOA alone"
            )
        if {"gpt2", "translator"} <= set(networks):
            if not self.captions:
                raise ValueError("the translator reads captions: captions must be True")
            if len(self.time_pools) != 1:
                raise ValueError(f"GPT-2 makes LOA of one pooling, not of {self.time_pools}")
            if self.loa_tokens not in (0, self._tokens(networks)):
                raise ValueError(
                    f"the teacher was told {self.loa_tokens} LOA tokens, and time_pools {self.time_pools} leave "
                    f"{self._tokens(networks)}"
                )
            checks.translator(networks, tokens=self._tokens(networks))

    def _check_teacher(self, networks: Networks) -> None:
        theirs, own = networks.get("teacher"), networks["unet"]
        student: Any = own
        if student.guidance_features is not None and not self.takes_scale():
            raise ValueError(
                "the student's UNet has the guidance scale as an input: set guidance_input to True, and guidance to a "
                "range"
            )
        if theirs is None:
            return
        differing = first_difference(describe(theirs), describe(own)) or checks.other_heads(
            theirs, own
        )
        if differing:
            field, there, here = differing
            raise ValueError(
                f"the teacher's UNet has {field} = {there} and the student's {here}: a student starts from its "
                "teacher's weights, so both have to be of one shape"
            )

    def noise_schedule(self) -> Schedule:
        """The levels of all timesteps."""
        laid = schedules.schedule(self.schedule)
        return schedules.rescale_zero_terminal_snr(laid) if self.zero_terminal_snr else laid

    def draw(
        self, networks: Networks, key: Key[Array, ""], batch: Arrays, step: Int[Array, ""]
    ) -> Arrays:
        """Noise, each clip's place in 0 .. 1 of the levels, its scale, and whose LOA the batch is told."""
        posterior, noise, place, scale, loa, clap = jax.random.split(key, 6)
        shape = conditions.latent_shape(networks, batch)
        rows = shape[0]
        low, high = self.guidance
        draws: Arrays = {
            "posterior": jax.random.normal(posterior, shape),
            "noise": jax.random.normal(noise, shape),
            "place": densities.places(place, rows, stratified=self.stratified),
            "scale": jax.random.uniform(scale, (rows,), minval=low, maxval=high),
        }
        if 0 < self.ground_truth < 1:
            draws["true"] = jax.random.uniform(loa) < self.ground_truth
        return draws | conditions.draw_clap(
            clap, rows, audio=self.clap_audio, empty=self.clap_empty, per_clip=self.drop == "clip"
        )

    def conditional(self, networks: Networks, params: AllParams, given: Given) -> Conditions:
        """What student and teacher are told of the clips."""
        if "loa" not in self.contexts or self.ground_truth == 1:
            return LatentDiffusionStage.conditional(self, networks, params, given)
        batch, draws = given.batch, given.draws
        heard = {"from_audio": draws.get("clap_audio"), "emptied": draws.get("clap_empty")}
        clap = conditions.clap_vector(networks, params, batch, **heard)
        text = None if self.speech else conditions.text_states(networks, params, batch)
        condition = conditions.translator_condition(networks, params, batch, clap=clap, text=text)
        gpt2: Any = networks["gpt2"]
        tokens = self._tokens(networks)

        def imagined() -> Array:
            return upcast(generate_loa(gpt2, params["gpt2"], condition, n_tokens=tokens))

        loa = either(
            draws["true"] if self.ground_truth else None,
            lambda: self.target(networks, params, given),
            imagined,
        )
        states, mask = text if text is not None and "text" in self.contexts else (None, None)
        return Conditions(loa, states, mask, clap if self.film else None)

    def silent_loa(self, networks: Networks, params: AllParams, given: Given) -> Array:
        """The LOA of no sound: zeros."""
        if self.ground_truth == 1:
            return LatentDiffusionStage.silent_loa(self, networks, params, given)
        gpt2: Any = networks["gpt2"]
        return jnp.zeros((len(given.draws["scale"]), self._tokens(networks), gpt2.n_embd))

    def _tokens(self, networks: Networks) -> int:
        """How many LOA tokens there are."""
        if self.ground_truth == 0 and self.loa_tokens:
            return self.loa_tokens
        grid = conditions.grid_of(networks, self.loa_grid)
        return conditions.loa_tokens(self.time_pools[0], grid)

    def guided(
        self, networks: Networks, params: AllParams, given: Given, told: Conditions
    ) -> Network:
        """The teacher as a function of noisy latents and timesteps, guided by each clip's scale.

        One call of a network that is told the scale, or that is not guided; else one on a doubled batch.
        """
        network: Any = networks.get("teacher", networks["unet"])
        its, scale = params["teacher"], given.draws["scale"]
        if network.guidance_features is not None:
            return asked(network, its, told, scale)
        if not self.frozen_teacher() or self.teacher_imitates or tuple(self.guidance) == (1, 1):
            return asked(network, its, told)
        both = interleaved(self.unconditional(networks, params, given), told)
        return double(asked(network, its, both), scale, repeat=False)

    def student(self, networks: Networks, params: Any, given: Given, told: Conditions) -> Network:
        """A function of noisy latents and timesteps: the UNet with these parameters, told each clip's scale."""
        scale = given.draws["scale"] if self.takes_scale() else None
        return asked(networks["unet"], params, told, scale)

    def figures(
        self,
        loss: Float[Array, " batch"],
        error: Float[Array, " batch"],
        log_snr: Float[Array, " batch"],
    ) -> Metrics:
        """For the log: weighted loss and plain error of x0, also by bands of log SNR."""
        band, count = bands.band_of(log_snr), len(bands.EDGES) + 1
        return {
            "loss/distillation": mean(loss),
            "loss/log_snr": banded(loss, band, count=count),
            "error/log_snr": banded(error, band, count=count),
            "loss/x0": mean(error),
        }
