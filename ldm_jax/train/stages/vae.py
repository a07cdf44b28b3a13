"""The VAE against a discriminator of patches.

Reconstruction, Kullback-Leibler term, and a PatchGAN that joins late: `AutoencoderKL.training_step` and
`LPIPSWithDiscriminator` of AudioLDM's training code. There each batch moves the discriminator first, on the
reconstruction of the VAE as it is; then the VAE, on that same reconstruction, judged by the discriminator as it has
become. So it is here: both see the same noise, and the VAE has not moved in between.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from ldm_jax.audio.log_mel import LogMelSettings
from ldm_jax.data.features import STAGES, Feature, TextTokenizers
from ldm_jax.models.layers import upcast
from ldm_jax.models.vae import VAE
from ldm_jax.train.losses.adversarial import DISCRIMINATOR_LOSSES, once_heard, score_loss
from ldm_jax.train.losses.vae import (
    CELL_LOSSES,
    adaptive_weight,
    gaussian_kl,
    negative_log_likelihood,
    with_gradient,
)
from ldm_jax.train.metrics import Metrics, mean
from ldm_jax.train.previews import Preview
from ldm_jax.train.stages.stage import AllParams, Arrays, Given, Networks, Params, Player, Stage


class _Coded(NamedTuple):
    """A batch on its way through the VAE."""

    mel: Float[Array, "batch time freq 1"]
    mean: Float[Array, "batch t f z"]
    logvar: Float[Array, "batch t f z"]
    sample: Float[Array, "batch t f z"]


@dataclasses.dataclass(kw_only=True, slots=True)
class VAEStage(Stage):
    """`vae` on `log_mel`, against `discriminator`, with the frozen `lpips` where it has a weight.

    The loss of the VAE is, of sums over the cells of a clip and means over clips,

        reconstruction_weight |x - x'| + perceptual_weight LPIPS(x, x')     over exp(logvar), plus logvar
        + kl_weight KL a number
        - [step >= disc_start] disc_weight a mean(D(x')),   a = |gradient of the above| / |gradient of mean(D(x'))|

    with gradients at the decoder's last kernel. Batch norm and `a` are those of a microbatch, were there several.

    Attributes:
        reconstruction: "l1" or "l2" of each cell.
        reconstruction_weight: of it; published is 1.
        perceptual_weight: of LPIPS; 0 goes without its weights. Published is 1.
        kl_weight: of the divergence's mean over a clip's latents.
        logvar: of the reconstruction, a constant; see `negative_log_likelihood`.
        disc_loss: "hinge" or "logistic".
        disc_weight: of the discriminator's score; 0 trains the VAE alone, as one player without a discriminator.
        disc_start: the first step on which the discriminator learns and is heard. The published 50,001 is compared
            with Lightning's `global_step`, which counts the steps of both optimisers: 25,000 batches.
        previewed: clips in a preview.
    """

    reconstruction: str = "l1"
    reconstruction_weight: float = 1.0
    perceptual_weight: float = 0.0
    kl_weight: float = 1000.0
    logvar: float = 0.0
    disc_loss: str = "hinge"
    disc_weight: float = 0.5
    disc_start: int = 25_000
    previewed: int = 2

    def trained(self) -> tuple[str, ...]:
        """The VAE, and the discriminator if it has a weight."""
        return ("vae", "discriminator") if self.disc_weight else ("vae",)

    def averaged(self) -> tuple[str, ...]:
        """The VAE."""
        return ("vae",)

    def frozen(self) -> tuple[str, ...]:
        """LPIPS, if it has a weight."""
        return ("lpips",) if self.perceptual_weight else ()

    def accumulates(self) -> bool:
        """Not with a discriminator: its batch norm and its weight are the batch's."""
        return not self.disc_weight

    def features(
        self, text: TextTokenizers, mel: LogMelSettings, seconds: float
    ) -> tuple[Feature, ...]:
        """The log-mel spectrogram."""
        return STAGES["vae"](text, mel, seconds)

    def check(self, networks: Networks) -> None:
        """Raises ValueError for another kind of network, an unknown loss or a weight below 0."""
        _vae(networks)
        for field, known in (("reconstruction", CELL_LOSSES), ("disc_loss", DISCRIMINATOR_LOSSES)):
            if (value := getattr(self, field)) not in known:
                raise ValueError(f"{field} is {value!r}; it can be {' or '.join(known)}")
        for field in ("reconstruction_weight", "perceptual_weight", "kl_weight", "disc_weight"):
            if (value := getattr(self, field)) < 0:
                raise ValueError(f"{field} is {value}; it must be at least 0")

    def draw(
        self, networks: Networks, key: Key[Array, ""], batch: Arrays, step: Int[Array, ""]
    ) -> Arrays:
        """`noise` of the latents.

        Raises:
            ValueError: spectrograms that the VAE would not give back in their own shape.
        """
        vae = _vae(networks)
        rows, time, freq = batch["log_mel"].shape
        side = 2 ** (len(vae.block_out_channels) - 1)
        if time % side or freq % side:
            raise ValueError(
                f"log-mels of {time} frames and {freq} bands; this VAE makes latents {side} times "
                f"shorter, so both must be multiples of {side}: choose data.seconds accordingly"
            )
        shape = (rows, time // side, freq // side, vae.latent_channels)
        return {"noise": jax.random.normal(key, shape)}

    def players(self, networks: Networks) -> tuple[Player, ...]:
        """The discriminator, then the VAE; or the VAE alone."""
        vae_loss = functools.partial(self._vae_loss, networks)
        if not self.disc_weight:
            return (Player(name="model", networks=("vae",), loss=vae_loss),)
        return (
            Player(
                name="discriminator",
                networks=("discriminator",),
                loss=functools.partial(self._discriminator_loss, networks),
            ),
            Player(name="generator", networks=("vae",), loss=vae_loss),
        )

    def preview(
        self, networks: Networks, params: AllParams, given: Given, key: Key[Array, ""]
    ) -> Preview:
        """Spectrograms and their reconstructions from the means of their latents; the mean error of the batch."""
        mel, again = jax.device_get(
            _reconstruct(networks["vae"], params["vae"], given.batch["log_mel"])
        )
        images = {}
        for i in range(min(self.previewed, len(mel))):
            images |= {f"clip_{i}_original": mel[i], f"clip_{i}_reconstruction": again[i]}
        return Preview(images=images, figures={"l1": float(np.abs(mel - again).mean())})

    def _discriminator_loss(
        self, networks: Networks, params: AllParams, given: Given
    ) -> tuple[Float[Array, ""], Metrics]:
        def judged(judge: Params) -> tuple[Array, Metrics]:
            coded = _coded(networks, params["vae"], given)
            fake = upcast(_decoded(networks, params["vae"], coded.sample))
            hear = _scores(networks["discriminator"], judge)
            real_scores, fake_scores = hear(coded.mel), hear(jax.lax.stop_gradient(fake))
            loss = DISCRIMINATOR_LOSSES[self.disc_loss](real=real_scores, fake=fake_scores)
            return loss, {"logits_real": mean(real_scores), "logits_fake": mean(fake_scores)}

        return once_heard(judged, params["discriminator"], step=given.step, start=self.disc_start)

    def _vae_loss(
        self, networks: Networks, params: AllParams, given: Given
    ) -> tuple[Float[Array, ""], Metrics]:
        coded = _coded(networks, params["vae"], given)
        kl = gaussian_kl(upcast(coded.mean), upcast(coded.logvar)).mean()
        kernel = params["vae"]["decoder"]["conv_out"]["kernel"]
        # Of this function only the last layer depends on its argument, so that its transpose is that layer's.
        made, at_kernel = jax.vjp(
            lambda kernel: _decoded(networks, params["vae"], coded.sample, last_kernel=kernel),
            kernel,
        )
        fixed = jax.lax.stop_gradient(upcast(made))

        likelihood = functools.partial(self._likelihood, networks, given, coded.mel)
        (total, figures), slope = jax.value_and_grad(likelihood, has_aux=True)(fixed)
        if self.disc_weight:
            hear = _scores(networks["discriminator"], params["discriminator"])

            def judged(fixed: Array) -> tuple[Array, Array, Metrics]:
                score, score_slope = jax.value_and_grad(lambda x: score_loss(hear(x)))(fixed)
                slopes = [x.astype(made.dtype) for x in (slope, score_slope)]
                weight = self.disc_weight * adaptive_weight(*(at_kernel(x)[0] for x in slopes))
                heard = {"g_loss": mean(score), "d_weight": mean(weight)}
                return weight * score, weight * score_slope, heard

            score, score_slope, heard = once_heard(
                judged, fixed, step=given.step, start=self.disc_start
            )
            total, slope, figures = total + score, slope + score_slope, figures | heard
        figures |= {"kl": mean(kl), "posterior_std": mean(jnp.exp(0.5 * upcast(coded.logvar)))}
        return with_gradient(total, upcast(made), slope) + self.kl_weight * kl, figures

    def _likelihood(
        self, networks: Networks, given: Given, mel: Array, made: Array
    ) -> tuple[Float[Array, ""], Metrics]:
        distances = CELL_LOSSES[self.reconstruction](mel, made)
        perceptual = jnp.zeros(len(mel), made.dtype)
        figures = {"rec_loss": mean(distances)}
        if self.perceptual_weight:
            variables = {"params": given.frozen["lpips"]}
            distance: Any = networks["lpips"].apply(variables, mel, made)
            perceptual = distance
            figures["perceptual_loss"] = mean(perceptual)
        loss = negative_log_likelihood(
            self.reconstruction_weight * distances,
            self.perceptual_weight * perceptual,
            logvar=self.logvar,
        )
        return loss, {**figures, "nll_loss": mean(loss)}


def _vae(networks: Networks) -> VAE:
    vae = networks["vae"]
    if not isinstance(vae, VAE):
        raise ValueError(f"the network 'vae' is a {type(vae).__name__}; it has to be a VAE")
    return vae


def _coded(networks: Networks, params: Params, given: Given) -> _Coded:
    mel = given.batch["log_mel"][..., None]
    moments: Any = networks["vae"].apply({"params": params}, mel, method="encode")
    center, logvar = moments
    deviation = jnp.exp(0.5 * logvar)
    noise = given.draws["noise"].astype(deviation.dtype)
    return _Coded(mel, center, logvar, center + deviation * noise)


def _decoded(
    networks: Networks, params: Params, latents: Array, *, last_kernel: Array | None = None
) -> Float[Array, "batch time freq 1"]:
    if last_kernel is not None:
        decoder = params["decoder"]
        last = {**decoder["conv_out"], "kernel": last_kernel}
        params = {**params, "decoder": {**decoder, "conv_out": last}}
    made: Any = networks["vae"].apply({"params": params}, latents, method="decode")
    return made


def _scores(network: nn.Module, params: Params) -> Callable[[Array], Array]:
    def scores(x: Array) -> Array:
        out: Any = network.apply({"params": params}, x)
        return upcast(out)

    return scores


@functools.partial(jax.jit, static_argnames="vae")
def _reconstruct(vae: nn.Module, params: Params, log_mel: Array) -> tuple[Array, Array]:
    made: Any = vae.apply({"params": params}, log_mel[..., None])
    return log_mel, upcast(made[..., 0])
