"""The translator: GPT-2 learns to continue encoded conditions with the language of audio that AudioMAE hears.

Liu et al., "AudioLDM 2", arXiv 2308.05734, section III-C; `Sequence2AudioMAE` of haoheliu/AudioLDM-training-finetuning.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from ldm_jax.audio.log_mel import LogMelSettings
from ldm_jax.data.features import STAGES, ClapAudio, Feature, TextTokenizers
from ldm_jax.models.loa import GRID
from ldm_jax.train import checks, conditions
from ldm_jax.train.losses.translator import (
    PENALTIES,
    ahead_error,
    draw_ahead,
    teacher_forced_error,
)
from ldm_jax.train.metrics import Metrics, mean
from ldm_jax.train.stages.stage import AllParams, Arrays, Given, Networks, Player, Stage


@dataclasses.dataclass(kw_only=True, slots=True)
class TranslatorStage(Stage):
    """`gpt2` and `translator` (for speech `phoneme_encoder` too) on CLAP's vector and T5's states, or phonemes.

    loss = teacher_weight * (error one token ahead) + ahead_weight * (error of a roll-out of 2 to 8 tokens)

    Attributes:
        encoded: whether batches hold encodings, so that no frozen network is needed.
        speech: the second stream is phonemes, and not T5's states.
        penalty: of errors: "l1" as in the released code, "mse" as in the paper.
        teacher_weight: published is 2 without a roll-out (the term stands in for the other) and 1 with it.
        ahead_weight: published is 0, or 1 with `use_ar_gen_loss`.
        dropout: whether GPT-2's dropout is on one token ahead; a roll-out is always without.
        time_pool: patches that a token spans in time, and in frequency at most; 8 makes the 8 tokens of sound and
            music, 1 the 512 of speech.
        loa_grid: AudioMAE's patches in time and frequency of windows whose LOA is stored, (32, 8) for 5.12 s; not read
            where AudioMAE is run.
        clap_audio: probability that a clip's CLAP vector is that of its sound and not of its caption.
        clap_empty: probability that it is that of ""; the released code has 0.1.
    """

    encoded: bool = False
    speech: bool = False
    penalty: str = "l1"
    teacher_weight: float = 2.0
    ahead_weight: float = 0.0
    dropout: bool = True
    time_pool: int = 8
    loa_grid: tuple[int, int] = GRID
    clap_audio: float = 0.0
    clap_empty: float = 0.0

    def trained(self) -> tuple[str, ...]:
        """GPT-2, what joins its input, and for speech what reads phonemes."""
        return ("gpt2", "translator", *(("phoneme_encoder",) if self.speech else ()))

    def frozen(self) -> tuple[str, ...]:
        """What encodes the batch."""
        if self.encoded:
            return ()
        return ("audiomae", "clap", *(() if self.speech else ("t5",)))

    def held_out(self) -> "TranslatorStage":
        """Without dropout, from captions as they are."""
        return dataclasses.replace(self, dropout=False, clap_audio=0.0, clap_empty=0.0)

    def features(
        self, text: TextTokenizers, mel: LogMelSettings, seconds: float
    ) -> tuple[Feature, ...]:
        """AudioMAE's input, tokens of the caption and, for speech, phonemes."""
        return (
            *STAGES["translator"](text, mel, seconds),
            *((ClapAudio(),) if self.clap_audio else ()),
            *(text.empty() if self.clap_empty else ()),
        )

    def check(self, networks: Networks) -> None:
        """Raises ValueError for unknown or impossible settings, and networks whose widths do not fit."""
        checks.choice("penalty", self.penalty, PENALTIES)
        checks.probabilities(clap_audio=self.clap_audio, clap_empty=self.clap_empty)
        if self.encoded and self.speech:
            raise ValueError("encodings hold no phonemes: speech needs sound, set encoded to False")
        if min(self.teacher_weight, self.ahead_weight) < 0 or not (
            self.teacher_weight or self.ahead_weight
        ):
            raise ValueError(
                f"teacher_weight {self.teacher_weight} and ahead_weight {self.ahead_weight}: neither may be negative, "
                "and one has to be above 0"
            )
        grid = conditions.grid_of(networks, self.loa_grid)
        checks.pooling((self.time_pool,), grid)
        tokens = conditions.loa_tokens(self.time_pool, grid)
        if self.ahead_weight and tokens < 2:
            raise ValueError(f"a roll-out takes 2 tokens at least, and time_pool leaves {tokens}")
        checks.translator(networks, tokens=tokens)

    def draw(
        self, networks: Networks, key: Key[Array, ""], batch: Arrays, step: Int[Array, ""]
    ) -> Arrays:
        """What is taken for each clip, where a roll-out begins and ends, and keys for dropout."""
        clap, ahead, dropout = jax.random.split(key, 3)
        rows = len(batch["loa" if self.encoded else "fbank"])
        draws = conditions.draw_clap(clap, rows, audio=self.clap_audio, empty=self.clap_empty)
        if self.ahead_weight:
            tokens = conditions.loa_tokens(
                self.time_pool, conditions.grid_of(networks, self.loa_grid)
            )
            draws["start"], draws["steps"] = draw_ahead(ahead, tokens)
        if self.dropout:
            draws["dropout"] = jax.random.split(dropout, rows)
        return draws

    def players(self, networks: Networks) -> tuple[Player, ...]:
        """All networks down one loss."""
        loss = functools.partial(self._loss, networks)
        return (Player(name="model", networks=self.trained(), loss=loss),)

    def _loss(
        self, networks: Networks, trained: AllParams, given: Given
    ) -> tuple[Float[Array, ""], Metrics]:
        params, batch, draws = {**given.frozen, **trained}, given.batch, given.draws
        target = conditions.true_loa(
            networks,
            params,
            batch,
            time_pools=(self.time_pool,),
            grid=conditions.grid_of(networks, self.loa_grid),
        )
        condition = conditions.translator_condition(
            networks,
            params,
            batch,
            clap=conditions.clap_vector(
                networks,
                params,
                batch,
                from_audio=draws.get("clap_audio"),
                emptied=draws.get("clap_empty"),
            ),
            text=None if self.speech else conditions.text_states(networks, params, batch),
        )
        gpt2: Any = networks["gpt2"]
        known = (gpt2, params["gpt2"], condition, target)
        loss, figures = jnp.zeros(()), {}
        if self.teacher_weight:
            error = teacher_forced_error(*known, penalty=self.penalty, keys=draws.get("dropout"))
            loss += self.teacher_weight * error.mean()
            figures["loss/teacher_forced"] = mean(error)
        if self.ahead_weight:
            error = ahead_error(
                *known, start=draws["start"], steps=draws["steps"], penalty=self.penalty
            )
            loss += self.ahead_weight * error.mean()
            figures["loss/ahead"] = mean(error)
        return loss, figures
