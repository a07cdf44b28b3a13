"""The vocoder against discriminators of periods and scales: HiFi-GAN (Kong et al., arXiv 2010.05646).

As `train.py` of github.com/jik876/hifi-gan: each batch moves the discriminators first, on the waves of the generator
as it is; then the generator, on those same waves, judged by the discriminators as they have become. Both players here
make the same waves, since the generator has not moved in between.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from ldm_jax.audio.log_mel import LogMelSettings, log_mel
from ldm_jax.audio.multi_resolution_stft import multi_resolution_stft
from ldm_jax.data.features import STAGES, Feature, TextTokenizers
from ldm_jax.models.layers import upcast
from ldm_jax.models.normed_convolution import iterated
from ldm_jax.models.vocoder import HiFiGAN
from ldm_jax.models.vocos import Vocos
from ldm_jax.models.wave_discriminators import Verdict
from ldm_jax.train.losses.adversarial import (
    feature_distance,
    least_squares,
    least_squares_of_fakes,
    once_heard,
)
from ldm_jax.train.metrics import Metrics, mean
from ldm_jax.train.previews import Preview
from ldm_jax.train.representation import Representation
from ldm_jax.train.stages.resynthesis import heard, starts, stretch
from ldm_jax.train.stages.stage import AllParams, Arrays, Given, Networks, Params, Player, Stage
from ldm_jax.train.weight_norm import weight_normed

PASSES = 4  # of discriminators in a published step, each of which goes on with spectral norm's power iteration


class _Pair(NamedTuple):
    """A stretch of sound, and what the generator makes of its spectrogram."""

    real: Float[Array, "batch samples"]
    fake: Float[Array, "batch samples"]


@dataclasses.dataclass(kw_only=True, slots=True)
class VocoderStage(Stage):
    """`vocoder` on stretches of `wave`, against `discriminator`.

    With x the wave, x' the generated one, D_k the discriminators and f_l the outputs of all their layers:

        discriminator    sum_k mean (1 - D_k(x))^2 + mean D_k(x')^2
        generator        sum_k mean (1 - D_k(x'))^2 + feature_weight sum_l mean |f_l(x) - f_l(x')|
                         + mel_weight mean |log-mel(x) - log-mel(x')|
                         + stft_weight (spectral convergence + distance of log magnitudes of x and x')

    A log-mel is that of the stretch alone, as published. 8192 samples have 51 frames at a hop of 160, from which the
    published 16 kHz generator makes 8192 samples; where a generator makes more or fewer, both are cut to the shorter.

    Attributes:
        segment_samples: of a stretch; published are 8192 at 16 kHz and 15,360 at 48 kHz.
        sample_rate: of waves and log-mels, in Hz; this and the next three are those of the data.
        n_fft: of log-mels; their hop and bands are the vocoder's.
        fmin: lower end of the lowest band, in Hz.
        fmax: upper end of the highest band, in Hz.
        loss_fmax: that of the log-mels in the loss, up to half the rate; 0 is `fmax`.
        mel_weight: see above.
        feature_weight: see above.
        stft_weight: of the multi-resolution STFT loss of Parallel WaveGAN (`audio.multi_resolution_stft`); published is
            0.
        disc_start: the first step on which the discriminators learn and are heard; published is 0. A generator that
            has its spectrograms right before costs a fraction of the step until then.
        from_clip: the generator's input is cut from the batch's `log_mel`, for what has been put there in its place
            (reconstructions of a VAE, say); else it is made from the stretch.
        weight_norm: whether the generator trains lengths and directions of its kernels apart, as published.
        previewed: clips in a preview.
    """

    segment_samples: int = 8192
    sample_rate: int = 16_000
    n_fft: int = 1024
    fmin: float = 0.0
    fmax: float = 8_000.0
    loss_fmax: float = 0.0
    mel_weight: float = 45.0
    feature_weight: float = 2.0
    stft_weight: float = 0.0
    disc_start: int = 0
    from_clip: bool = False
    weight_norm: bool = True
    previewed: int = 2

    def trained(self) -> tuple[str, ...]:
        """The vocoder and the discriminators."""
        return ("vocoder", "discriminator")

    def averaged(self) -> tuple[str, ...]:
        """The vocoder."""
        return ("vocoder",)

    def representation(self) -> Representation | None:
        """What is trained in place of the parameters, if not these themselves."""
        return weight_normed((r"^vocoder/",)) if self.weight_norm else None

    def features(
        self, text: TextTokenizers, mel: LogMelSettings, seconds: float
    ) -> tuple[Feature, ...]:
        """The wave, and its log-mel if that is needed.

        Raises:
            ValueError: the data's log-mels are others than this stage's.
        """
        for field in ("sample_rate", "n_fft", "fmin", "fmax"):
            if (value := getattr(self, field)) != (theirs := getattr(mel, field)):
                raise ValueError(
                    f"stage.{field} is {value}, that of the data's log-mels is {theirs}; make them the same"
                )
        wave, mels = STAGES["vocoder"](text, mel, seconds)
        return (wave, mels) if self.from_clip else (wave,)

    def check(self, networks: Networks) -> None:
        """Raises ValueError for another kind of network, or stretches too short for a log-mel."""
        mel = self._mel(_vocoder(networks))
        least = max(mel.n_fft, mel.hop)
        if self.segment_samples < least:
            raise ValueError(
                f"segment_samples is {self.segment_samples}; a log-mel takes at least {least}"
            )

    def draw(
        self, networks: Networks, key: Key[Array, ""], batch: Arrays, step: Int[Array, ""]
    ) -> Arrays:
        """`start` of each row's stretch in frames, evenly from those that leave it within the sound if it fits there.

        Raises:
            ValueError: clips shorter than a stretch.
        """
        return {"start": starts(key, batch, self.segment_samples, _vocoder(networks).hop)}

    def players(self, networks: Networks) -> tuple[Player, ...]:
        """The discriminators, then the vocoder."""
        return (
            Player(
                name="discriminator",
                networks=("discriminator",),
                loss=functools.partial(self._discriminator_loss, networks),
            ),
            Player(
                name="generator",
                networks=("vocoder",),
                loss=functools.partial(self._vocoder_loss, networks),
            ),
        )

    def after(self, networks: Networks, params: AllParams, given: Given) -> AllParams:
        """Spectral norm's vectors, some iterations on."""
        return {"discriminator": iterated(params["discriminator"], iterations=PASSES)}

    def preview(
        self, networks: Networks, params: AllParams, given: Given, key: Key[Array, ""]
    ) -> Preview:
        """Whole clips as they are and as they are made from their log-mels; the mean error of the batch's log-mels."""
        vocoder = _vocoder(networks)
        wave = given.batch["wave"]
        return heard(vocoder, params["vocoder"], wave, self._mel(vocoder), clips=self.previewed)

    def _discriminator_loss(
        self, networks: Networks, params: AllParams, given: Given
    ) -> tuple[Float[Array, ""], Metrics]:
        def judged(judge: Params) -> tuple[Array, Metrics]:
            pair = self._pair(networks, params, given)
            real = _verdicts(networks, judge, pair.real)
            fake = _verdicts(networks, judge, jax.lax.stop_gradient(pair.fake))
            real_scores, fake_scores = ([x.scores for x in verdicts] for verdicts in (real, fake))
            loss = least_squares(real=real_scores, fake=fake_scores)
            figures = {"scores_real": _mean_of(real_scores), "scores_fake": _mean_of(fake_scores)}
            return loss, figures

        return once_heard(judged, params["discriminator"], step=given.step, start=self.disc_start)

    def _vocoder_loss(
        self, networks: Networks, params: AllParams, given: Given
    ) -> tuple[Float[Array, ""], Metrics]:
        pair = self._pair(networks, params, given)
        settings = self._mel(_vocoder(networks), fmax=self.loss_fmax or self.fmax)
        error = jnp.abs(log_mel(pair.real, settings) - log_mel(pair.fake, settings)).mean()

        def judged(fake_wave: Array) -> tuple[Array, Metrics]:
            judge = params["discriminator"]
            real, fake = (_verdicts(networks, judge, wave) for wave in (pair.real, fake_wave))
            fooling = least_squares_of_fakes([x.scores for x in fake])
            real_layers, fake_layers = ([f for x in v for f in x.features] for v in (real, fake))
            features = feature_distance(real=real_layers, fake=fake_layers)
            figures = {"fooling_loss": mean(fooling), "feature_loss": mean(features)}
            return fooling + self.feature_weight * features, figures

        loss, figures = once_heard(judged, pair.fake, step=given.step, start=self.disc_start)
        loss = loss + self.mel_weight * error
        if self.stft_weight:
            convergence, distance = multi_resolution_stft(pair.fake, pair.real)
            stft: Any = (convergence + distance).mean()
            loss = loss + self.stft_weight * stft
            figures = {**figures, "stft_loss": mean(stft)}
        return loss, {**figures, "mel_error": mean(error)}

    def _pair(self, networks: Networks, params: AllParams, given: Given) -> _Pair:
        vocoder = _vocoder(networks)
        settings, start = self._mel(vocoder), given.draws["start"]
        real = stretch(given.batch["wave"], start * settings.hop, self.segment_samples)
        if self.from_clip:
            mel = stretch(given.batch["log_mel"], start, settings.frames(self.segment_samples))
        else:
            mel = log_mel(real, settings)
        fake: Any = vocoder.apply({"params": params["vocoder"]}, mel)
        samples = min(real.shape[-1], fake.shape[-1])
        return _Pair(real[:, :samples], upcast(fake)[:, :samples])

    def _mel(self, vocoder: HiFiGAN | Vocos, *, fmax: float | None = None) -> LogMelSettings:
        return LogMelSettings(
            sample_rate=self.sample_rate,
            n_fft=self.n_fft,
            hop=vocoder.hop,
            num_mels=vocoder.mel_channels,
            fmin=self.fmin,
            fmax=self.fmax if fmax is None else fmax,
        )


def _vocoder(networks: Networks) -> HiFiGAN | Vocos:
    vocoder = networks["vocoder"]
    if not isinstance(vocoder, HiFiGAN | Vocos):
        kind = type(vocoder).__name__
        raise ValueError(f"the network 'vocoder' is a {kind}; it has to be a HiFiGAN or a Vocos")
    return vocoder


def _verdicts(networks: Networks, judge: Params, wave: Array) -> list[Verdict]:
    """In float32, whatever the compute type."""
    out: Any = networks["discriminator"].apply({"params": judge}, wave)
    return jax.tree.map(upcast, out)


def _mean_of(scores: list[Array]) -> Any:
    return mean(jnp.stack([x.mean() for x in scores]))
