"""Joint fine-tuning of the latent diffusion model and the translator, which learns what the UNet makes of its LOA.

Liu et al., "AudioLDM 2", arXiv 2308.05734, section III-E; `SequenceGenAudioMAECond.forward` and
`LatentDiffusion.shared_step` of haoheliu/AudioLDM-training-finetuning. For each batch a probability switcher gives the
UNet the true LOA, or what GPT-2 makes up by its own free roll-out. The gradient of the diffusion loss goes through the
roll-out into GPT-2, the translator and, for speech, the phoneme encoder. In either case they are taught by their
own loss too; where the conditions are taken away they are not run.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from ldm_jax.audio.log_mel import LogMelSettings
from ldm_jax.data.features import Feature, TextTokenizers
from ldm_jax.diffusion.objective import Objective
from ldm_jax.models.translator import Condition
from ldm_jax.train import checks, conditions
from ldm_jax.train.losses.diffusion import Conditions, diffusion_loss, either
from ldm_jax.train.losses.roll_out import roll_out
from ldm_jax.train.losses.translator import PENALTIES, teacher_forced_error
from ldm_jax.train.metrics import Metrics, mean
from ldm_jax.train.stages.latent_diffusion import LatentDiffusionStage
from ldm_jax.train.stages.stage import AllParams, Arrays, Given, Networks


@dataclasses.dataclass(kw_only=True, slots=True)
class JointStage(LatentDiffusionStage):
    """`unet`, `gpt2` and `translator` down one loss.

    loss = diffusion loss + teacher_weight * (error of LOA one token ahead, of clips that keep their conditions)

    Attributes:
        ground_truth: probability of true LOA; the paper has 0.25. At 1 there is no roll-out in the program.
        switch: "batch" as published, or "clip": whether that is decided for all clips at once. By clip, the roll-out is
            computed for every batch.
        penalty: of the translator's errors: "l1" as in the released code, "mse" as in the paper.
        teacher_weight: published is 2; see `losses.translator`.
        dropout: whether GPT-2's dropout is on one token ahead; the roll-out is always without, the released code
            has it there too.
        speech: the translator's second stream is phonemes, whose encoder is trained too; see `SpeechStage`.
    """

    ground_truth: float = 0.25
    switch: str = "batch"
    penalty: str = "l1"
    teacher_weight: float = 2.0
    dropout: bool = True
    speech: bool = False

    def trained(self) -> tuple[str, ...]:
        """The UNet, GPT-2 and what makes its input."""
        return ("unet", "gpt2", "translator", *(("phoneme_encoder",) if self.speech else ()))

    def frozen(self) -> tuple[str, ...]:
        """What encodes the batch."""
        if self.encoded:
            return ()
        return ("vae", "audiomae", "clap", *(() if self.speech else ("t5",)))

    def held_out(self) -> "JointStage":
        """No condition is taken away, and no dropout; the switch goes on, which decides what is learnt."""
        without = LatentDiffusionStage.held_out(self)
        assert isinstance(without, JointStage)
        return dataclasses.replace(without, dropout=False)

    def features(
        self, text: TextTokenizers, mel: LogMelSettings, seconds: float
    ) -> tuple[Feature, ...]:
        """As of `LatentDiffusionStage`; for speech without what only T5 reads."""
        if self.speech:
            text = dataclasses.replace(text, t5=None)
        return LatentDiffusionStage.features(self, text, mel, seconds)

    def check(self, networks: Networks) -> None:
        """Raises ValueError for unknown or impossible settings, and networks that do not fit."""
        LatentDiffusionStage.check(self, networks)
        checks.choice("switch", self.switch, ("batch", "clip"))
        checks.choice("penalty", self.penalty, PENALTIES)
        checks.probabilities(ground_truth=self.ground_truth)
        if self.encoded and self.speech:
            raise ValueError("encodings hold no phonemes: speech needs sound, set encoded to False")
        if "loa" not in self.contexts or len(self.time_pools) != 1:
            raise ValueError(
                "the translator makes LOA of one pooling for a UNet that reads it, but contexts are "
                f"{self.contexts} and time_pools {self.time_pools}"
            )
        if self.speech and "text" in self.contexts:
            raise ValueError(
                "with speech, text acts through LOA alone: contexts are to be ('loa',)"
            )
        if not self.captions:
            raise ValueError("the translator reads captions: captions must be True")
        if self.teacher_weight < 0:
            raise ValueError(f"teacher_weight is {self.teacher_weight}; it must be at least 0")
        grid = conditions.grid_of(networks, self.loa_grid)
        (pool,) = self.time_pools
        checks.translator(networks, tokens=conditions.loa_tokens(pool, grid))

    def draw(
        self, networks: Networks, key: Key[Array, ""], batch: Arrays, step: Int[Array, ""]
    ) -> Arrays:
        """As of `LatentDiffusionStage`, with `true` for the switcher and keys `dropout`."""
        key, switch, dropout = jax.random.split(key, 3)
        draws = LatentDiffusionStage.draw(self, networks, key, batch, step)
        rows = len(draws["timesteps"])
        if 0 < self.ground_truth < 1:
            shape = (rows,) if self.switch == "clip" else ()
            draws["true"] = jax.random.uniform(switch, shape) < self.ground_truth
        if self.dropout and self.teacher_weight:
            draws["dropout"] = jax.random.split(dropout, rows)
        return draws

    def _taught(
        self, networks: Networks, params: AllParams, given: Given
    ) -> tuple[Conditions, Float[Array, " batch"], Bool[Array, " batch"]]:
        """(what the UNet is told, the translator's error, whether there is one) of clips that keep their conditions."""
        batch, draws = given.batch, given.draws
        clap = conditions.clap_vector(
            networks,
            params,
            batch,
            from_audio=draws.get("clap_audio"),
            emptied=draws.get("clap_empty"),
        )
        text = None if self.speech else conditions.text_states(networks, params, batch)
        condition = conditions.translator_condition(networks, params, batch, clap=clap, text=text)
        target = self.target(networks, params, given)
        loa = self._switched(networks, params, draws, condition, target)
        states, mask = text if text is not None and "text" in self.contexts else (None, None)
        told = Conditions(loa, states, mask, clap if self.film else None)
        error = jnp.zeros(len(target))
        if self.teacher_weight:
            gpt2: Any = networks["gpt2"]
            error = teacher_forced_error(
                gpt2,
                params["gpt2"],
                condition,
                target,
                penalty=self.penalty,
                keys=draws.get("dropout"),
            )
        return told, error, jnp.ones(len(target), bool)

    def _switched(
        self,
        networks: Networks,
        params: AllParams,
        draws: Arrays,
        condition: Condition,
        target: Float[Array, "batch tokens width"],
    ) -> Float[Array, "batch tokens width"]:
        """True LOA, or GPT-2's own."""
        gpt2: Any = networks["gpt2"]

        def made_up() -> Array:
            loa = roll_out(gpt2, params["gpt2"], condition, n_tokens=target.shape[1])
            return loa.astype(target.dtype)

        if self.ground_truth == 1:
            return target
        if self.ground_truth == 0:
            return made_up()
        return either(draws["true"], lambda: target, made_up)

    def _loss(
        self, networks: Networks, objective: Objective, trained: AllParams, given: Given
    ) -> tuple[Float[Array, ""], Metrics]:
        params, draws = {**given.frozen, **trained}, given.draws
        rows = len(draws["timesteps"])

        def untold() -> tuple[Conditions, Array, Array]:
            told = self.unconditional(networks, params, given)
            return told, jnp.zeros(rows), jnp.zeros(rows, bool)

        told, error, counted = either(
            draws.get("drop"), untold, lambda: self._taught(networks, params, given)
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
        # A clip without conditions adds 0 to the mean: the released code has no such loss in a batch without.
        loss += self.teacher_weight * error.mean()
        figures["loss/teacher_forced"] = mean(error, counted)
        figures["dropped"] = mean(~counted)
        if "true" in draws:
            figures["true_loa"] = mean(draws["true"])
        return loss, figures
