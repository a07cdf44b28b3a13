"""The vocoder that leaves phases to Griffin-Lim: magnitudes of a short-time spectrum from its log-mel bands.

A regression, frame by frame: no wave is made, and nobody judges it.
"""

import dataclasses
import functools
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from ldm_jax.audio.log_mel import LogMelSettings, log_mel
from ldm_jax.audio.stft import magnitude
from ldm_jax.data.features import Feature, TextTokenizers, Wave
from ldm_jax.models.vocos import Vocos
from ldm_jax.train.metrics import Metrics, mean
from ldm_jax.train.previews import Preview
from ldm_jax.train.stages.resynthesis import heard, starts, stretch
from ldm_jax.train.stages.stage import AllParams, Arrays, Given, Networks, Player, Stage


@dataclasses.dataclass(kw_only=True, slots=True)
class MagnitudeStage(Stage):
    """`vocoder`, a Vocos with Griffin-Lim, on stretches of `wave`.

    With X the magnitudes of a stretch's spectrum, at least `floor`, and Y those that the vocoder makes of its log-mel
    bands, the mean over rows of

        log_weight mean |ln X - ln max(Y, floor)| + convergence_weight || X - Y || / || X ||,

    the mean over bins and frames, and Frobenius norms.

    Attributes:
        segment_samples: of a stretch.
        sample_rate: of the data, in Hz; the vocoder has to be one for it.
        log_weight: see above.
        convergence_weight: see above.
        floor: see above; a sine of full scale has a magnitude of n_fft / 4.
        previewed: clips in a preview.
    """

    segment_samples: int = 20_480
    sample_rate: int = 16_000
    log_weight: float = 1.0
    convergence_weight: float = 1.0
    floor: float = 1e-4
    previewed: int = 2

    def trained(self) -> tuple[str, ...]:
        """The vocoder."""
        return ("vocoder",)

    def features(
        self, text: TextTokenizers, mel: LogMelSettings, seconds: float
    ) -> tuple[Feature, ...]:
        """The wave.

        Raises:
            ValueError: the data has another rate.
        """
        if mel.sample_rate != self.sample_rate:
            raise ValueError(
                f"stage.sample_rate is {self.sample_rate}, that of the data {mel.sample_rate}; make them the same"
            )
        return (Wave(),)

    def check(self, networks: Networks) -> None:
        """Raises ValueError for another kind of network, or stretches shorter than a window."""
        vocoder = _vocoder(networks)
        if vocoder.sample_rate != self.sample_rate:
            raise ValueError(
                f"the vocoder is one for {vocoder.sample_rate} Hz; stage.sample_rate is {self.sample_rate}"
            )
        if self.segment_samples <= vocoder.n_fft:
            raise ValueError(
                f"segment_samples is {self.segment_samples}; it must be more than {vocoder.n_fft}"
            )

    def draw(
        self, networks: Networks, key: Key[Array, ""], batch: Arrays, step: Int[Array, ""]
    ) -> Arrays:
        """`start` of each row's stretch in frames.

        Raises:
            ValueError: clips shorter than a stretch.
        """
        hop = _vocoder(networks).hop
        return {"start": starts(key, batch, self.segment_samples, hop)}

    def players(self, networks: Networks) -> tuple[Player, ...]:
        """The vocoder."""
        loss = functools.partial(self._loss, networks)
        return (Player(name="model", networks=("vocoder",), loss=loss),)

    def preview(
        self, networks: Networks, params: AllParams, given: Given, key: Key[Array, ""]
    ) -> Preview:
        """Whole clips as they are and as they are made from their log-mels; the mean error of the batch's log-mels."""
        vocoder = _vocoder(networks)
        wave = given.batch["wave"]
        return heard(vocoder, params["vocoder"], wave, vocoder.mel, clips=self.previewed)

    def _loss(
        self, networks: Networks, params: AllParams, given: Given
    ) -> tuple[Float[Array, ""], Metrics]:
        vocoder = _vocoder(networks)
        settings = vocoder.mel
        start = given.draws["start"] * settings.hop
        wave = stretch(given.batch["wave"], start, self.segment_samples)
        spectrum = magnitude(wave, n_fft=settings.n_fft, hop=settings.hop, pad=settings.pad)
        true = jnp.maximum(spectrum, self.floor)
        variables = {"params": params["vocoder"]}
        made: Any = vocoder.apply(variables, log_mel(wave, settings), method="magnitude")
        log_error = jnp.abs(jnp.log(true) - jnp.log(jnp.maximum(made, self.floor))).mean()
        convergence = (_norm(true - made) / jnp.maximum(_norm(true), self.floor)).mean()
        loss = self.log_weight * log_error + self.convergence_weight * convergence
        return loss, {"log_error": mean(log_error), "convergence": mean(convergence)}


def _vocoder(networks: Networks) -> Vocos:
    vocoder = networks["vocoder"]
    if not isinstance(vocoder, Vocos) or not vocoder.griffin_lim:
        kind = "Vocos with phases" if isinstance(vocoder, Vocos) else type(vocoder).__name__
        raise ValueError(
            f"the network 'vocoder' is a {kind}; it has to be a Vocos with griffin_lim above 0"
        )
    return vocoder


def _norm(x: Float[Array, "batch time bins"]) -> Float[Array, " batch"]:
    """Of each row, with a gradient where it is 0."""
    power = (x**2).sum((1, 2))
    return jnp.where(power > 0, jnp.sqrt(jnp.where(power > 0, power, 1.0)), 0.0)
