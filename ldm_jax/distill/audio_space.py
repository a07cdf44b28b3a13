"""Fine-tuning a one-step student by ear: losses on its x0 as latents, as a spectrogram, as sound, and as CLAP hears it.

Stage 3 of ConsistencyTTA (Bai et al., arXiv 2309.10740; github.com/Bai-YT/ConsistencyTTA, `tools/losses.py`): gradients
reach the latents through the frozen VAE's decoder, HiFi-GAN, resampling, CLAP's spectrogram and its audio tower. Clips
are heard `chunk` at a time, and what lies within a network is computed again on the way back: the memory is that of one
network on one chunk, and between the networks 1 MB for each clip of 10 s. How much that is, a compiler says without
arrays: `jax.jit(...).lower(...)` of `jax.ShapeDtypeStruct`s, `.compile().memory_analysis().temp_size_in_bytes`.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ldm_jax.audio.multi_resolution_stft import multi_resolution_stft
from ldm_jax.diffusion.objective import squared_error
from ldm_jax.distill.hearing import (
    AllParams,
    Networks,
    clap_embedding_of,
    in_groups,
    mel_of,
    text_embedding_of,
    waves_of_mel,
)
from ldm_jax.models.layers import upcast


class Sound(NamedTuple):
    """Clips in every form that a term compares; a form is None where no term needs it.

    Attributes:
        latents: of the diffusion model.
        mel: natural-log mel spectrograms.
        waves: within [-1, 1].
        clap: CLAP's vectors of the sound; those of a reference are of the true sound.
        text: CLAP's vectors of the captions, which only a reference has.
    """

    latents: Float[Array, "batch time freq channels"]
    mel: Float[Array, "batch frames mels"] | None = None
    waves: Float[Array, "batch samples"] | None = None
    clap: Float[Array, "batch dim"] | None = None
    text: Float[Array, "batch dim"] | None = None


class Term(NamedTuple):
    """A distance, one value a clip, of a form of the student's clips (`ours`) from one of the reference (`theirs`)."""

    ours: str
    theirs: str
    distance: Callable[[Array, Array], Array]


def cosine_distance(
    x: Float[Array, "batch dim"], y: Float[Array, "batch dim"]
) -> Float[Array, " batch"]:
    """1 - x.y / (|x| |y|), in at least float32."""
    x, y = (upcast(z) / jnp.linalg.norm(upcast(z), axis=-1, keepdims=True) for z in (x, y))
    return 1 - (x * y).sum(axis=-1)


def stft_distance(
    x: Float[Array, "batch samples"], y: Float[Array, "batch samples"]
) -> Float[Array, " batch"]:
    """Spectral convergence plus distance of log magnitudes; see `multi_resolution_stft`."""
    convergence, log_distance = multi_resolution_stft(x, y)
    return jnp.asarray(convergence + log_distance)


TERMS: dict[str, Term] = {
    "latent": Term("latents", "latents", squared_error),
    "mel": Term("mel", "mel", squared_error),
    "stft": Term("waves", "waves", stft_distance),
    "clap_text": Term("clap", "text", cosine_distance),
    "clap_audio": Term("clap", "clap", cosine_distance),
}


@dataclasses.dataclass(kw_only=True, slots=True, unsafe_hash=True)
class AudioSpace:
    """The loss sum_k w_k d_k of a clip, and how it is computed. What only terms of weight 0 need is not.

    ConsistencyTTA's losses are latent 1 with clap_text and clap_audio 0.1; latent 0.7 with mel 0.3; latent 0.8 with
    stft 0.1. It multiplies each by the Min-SNR weight.

    Attributes:
        latent: weight of the latents' mean squared error.
        mel: of the decoded log-mels' mean squared error.
        stft: of the waves' spectral convergence plus distance of log magnitudes.
        clap_text: of 1 - cos(CLAP of the sound, CLAP of the caption).
        clap_audio: of 1 - cos(CLAP of the sound, CLAP of the true sound).
        sample_rate: of waves, the vocoder's and the true ones, in Hz.
        seconds: of each wave that count, from its start. CLAP hears 10 s at most.
        centred: see `hearing.waves_of_mel`.
        chunk: clips at once, on all devices together; a multiple of the devices among which rows are divided.
        remat: whether the way back computes again what lies within a network; else that is kept, of the whole batch.
    """

    latent: float = 1.0
    mel: float = 0.0
    stft: float = 0.0
    clap_text: float = 0.0
    clap_audio: float = 0.0
    sample_rate: int = 16_000
    seconds: float = 10.0
    centred: bool = False
    chunk: int = 1
    remat: bool = True

    def __post_init__(self) -> None:
        """Raises ValueError for a weight that is negative or not finite, for none above 0, for nothing to hear."""
        for name in TERMS:
            if not 0 <= (weight := getattr(self, name)) < float("inf"):
                raise ValueError(f"the weight {name} is {weight}; it has to be finite, at least 0")
        if not self.weights:
            raise ValueError(f"every weight is 0; set one of {', '.join(TERMS)}")
        if self.chunk < 1 or self.samples < 1:
            raise ValueError(
                f"chunk is {self.chunk}, seconds {self.seconds} and sample_rate {self.sample_rate};"
                " they have to be above 0"
            )

    @property
    def weights(self) -> dict[str, float]:
        """Those above 0, by term."""
        return {name: weight for name in TERMS if (weight := getattr(self, name)) > 0}

    @property
    def samples(self) -> int:
        """Of each wave that count."""
        return round(self.seconds * self.sample_rate)


def reference_of(
    networks: Networks,
    params: AllParams,
    target: Float[Array, "batch time freq channels"],
    *,
    space: AudioSpace,
    sound: Float[Array, "batch samples"] | None = None,
    tokens: tuple[Int[Array, "batch length"], Bool[Array, "batch length"]] | None = None,
) -> Sound:
    """What the student's clips are compared with, in the forms that the terms need, without a gradient.

    Vectors that are known already, as an encoded dataset's `clap_audio` and `clap_text`, take the place of `sound` and
    `tokens`: `reference._replace(clap=..., text=...)`.

    Args:
        networks: those that the terms need, in their compute types.
        params: of the networks.
        target: latents that the student should say: the clip's own, or ConsistencyTTA's target network's.
        space: the terms.
        sound: true waves at `space.sample_rate`.
        tokens: (ids, mask) of the captions, for CLAP.

    Raises:
        ValueError: a batch that `space.chunk` does not divide.
    """
    target, params = jax.lax.stop_gradient((target, params))
    forms = {TERMS[name].theirs for name in space.weights}
    heard = forms & {"mel", "waves"}
    reference = Sound(target)
    if heard:
        listen = functools.partial(_forms, networks, params, space=space, needed=heard)
        reference = in_groups(listen, target, chunk=space.chunk)
    if "text" in forms and tokens is not None:
        reference = reference._replace(text=text_embedding_of(networks, params, *tokens))
    if "clap" in forms and sound is not None:
        hear = functools.partial(clap_embedding_of, networks, params, rate=space.sample_rate)
        vectors = in_groups(hear, sound[:, : space.samples], chunk=space.chunk)
        reference = reference._replace(clap=vectors)
    return jax.lax.stop_gradient(reference)


def audio_space_loss(
    networks: Networks,
    params: AllParams,
    latents: Float[Array, "batch time freq channels"],
    reference: Sound,
    *,
    space: AudioSpace,
) -> tuple[Float[Array, " batch"], dict[str, Float[Array, " batch"]]]:
    """(sum_k w_k d_k, every d_k with a weight) of each clip, in at least float32, with a gradient to `latents` alone.

    With its gradient it costs two evaluations of the decoder, the vocoder and CLAP's audio tower, or three with
    `space.remat`.

    Args:
        networks: those that the terms need, in their compute types.
        params: of the networks.
        latents: x0 as the student says.
        reference: from `reference_of`.
        space: the terms.

    Raises:
        ValueError: a batch that `space.chunk` does not divide; a reference without a form that a term needs.
    """
    for name, weight in space.weights.items():
        if getattr(reference, TERMS[name].theirs) is None:
            raise ValueError(
                f"the weight {name} is {weight}, but the reference has no {TERMS[name].theirs!r}: give reference_of"
                f" what that is made of, or set {name} to 0"
            )
    reference, params = jax.lax.stop_gradient((reference, params))
    needed = {TERMS[name].ours for name in space.weights}

    def distances(latents: Array, reference: Sound) -> dict[str, Array]:
        student = _forms(networks, params, latents, space=space, needed=needed)
        return {
            name: _step(TERMS[name].distance, space)(
                getattr(student, TERMS[name].ours), getattr(reference, TERMS[name].theirs)
            )
            for name in space.weights
        }

    terms = in_groups(distances, latents, reference, chunk=space.chunk)
    weighted = (weight * terms[name] for name, weight in space.weights.items())
    return sum(weighted, start=jnp.zeros((), jnp.float32)), terms


def _forms(
    networks: Networks, params: AllParams, latents: Array, *, space: AudioSpace, needed: set[str]
) -> Sound:
    """Latents in the forms of `needed`, through no network that those do without."""
    sound = Sound(latents)
    if needed & {"mel", "waves", "clap"}:
        sound = sound._replace(mel=_step(mel_of, space, networks)(params, latents))
    if needed & {"waves", "clap"}:
        vocode = _step(waves_of_mel, space, networks, centred=space.centred)
        sound = sound._replace(waves=vocode(params, sound.mel)[:, : space.samples])
    if "clap" in needed:
        hear = _step(clap_embedding_of, space, networks, rate=space.sample_rate)
        sound = sound._replace(clap=hear(params, sound.waves))
    return sound


def _step(
    function: Callable[..., Any], space: AudioSpace, *static: Any, **options: Any
) -> Callable[..., Any]:
    """The function of its remaining arguments, of which alone the way back remembers anything (see `remat`)."""
    bound = functools.partial(function, *static, **options)
    return jax.checkpoint(bound) if space.remat else bound
