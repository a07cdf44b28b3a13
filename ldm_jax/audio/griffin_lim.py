"""A wave for a spectrogram without phases, for listening without a vocoder. No network, NumPy or JAX."""

from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from ldm_jax.audio.log_mel import MEL_16K, LogMelSettings
from ldm_jax.audio.stft import istft, like, namespace, stft

BAND_STEPS = 60  # after which the bands are right to about 1 %


def wave_from_log_mel(
    log_mel: Float[np.ndarray | Array, "*batch frames mels"],
    settings: LogMelSettings = MEL_16K,
    *,
    iterations: int = 32,
    seed: int = 0,
) -> Float[np.ndarray | Array, "*batch samples"]:
    """Griffin-Lim on the magnitudes that the bands suggest; frames hop samples (less one hop if centred).

    Args:
        log_mel: natural logarithms of mel magnitudes.
        settings: what they were made by.
        iterations: of Griffin-Lim.
        seed: of the phases that it begins with.
    """
    return griffin_lim(
        magnitude_from_log_mel(log_mel, settings),
        n_fft=settings.n_fft,
        hop=settings.hop,
        pad=settings.pad,
        iterations=iterations,
        seed=seed,
    )


def magnitude_from_log_mel(
    log_mel: Float[np.ndarray | Array, "*batch frames mels"],
    settings: LogMelSettings = MEL_16K,
    *,
    first: Float[np.ndarray | Array, "*batch frames bins"] | None = None,
    steps: int = BAND_STEPS,
) -> Float[np.ndarray | Array, "*batch frames bins"]:
    """Magnitudes >= 0 whose mel bands are nearly exp(log_mel).

    The bank B has far more bins than bands. The multiplicative update
    S <- S * (m B^T) / (S B B^T) of Lee and Seung (2001) lowers |S B - m|^2 and keeps S from going
    below 0, where the pseudo-inverse would. What no band tells apart stays as it was at first.

    Args:
        log_mel: natural logarithms of mel magnitudes.
        settings: what they were made by.
        first: magnitudes to begin with; None is each band spread over its bins.
        steps: updates.
    """
    xp = namespace(log_mel)
    bank = xp.asarray(settings.bank, log_mel.dtype)
    mel = xp.exp(log_mel)
    with jax.default_matmul_precision("highest"):
        target = mel @ bank.T
        flat = np.maximum(settings.bank.sum(0) @ settings.bank.T, 1e-20)
        magnitude = target / like(target, flat) if first is None else first

        unheard = like(target, settings.bank.sum(1) < 1e-9)  # by any band: 1 / 1 leaves them alone

        def improve(_: Any, magnitude: Any) -> Any:
            made = magnitude @ bank @ bank.T + unheard
            ratio = (target + unheard) / xp.maximum(made, 1e-15)  # its square is a float
            return xp.maximum(magnitude * ratio, 1e-10)  # denormal numbers are slow

        return _repeat(steps, improve, magnitude)


def griffin_lim(
    magnitude: Float[np.ndarray | Array, "*batch frames bins"],
    *,
    n_fft: int,
    hop: int,
    pad: int,
    iterations: int = 32,
    momentum: float = 0.99,
    seed: int = 0,
) -> Float[np.ndarray | Array, "*batch samples"]:
    """A wave whose STFT has nearly these magnitudes.

    The fast Griffin-Lim algorithm (Perraudin, Balazs and Sondergaard, 2013): with t the STFT of the
    wave of c, c <- magnitude * phase(t + momentum (t - t_before)). NumPy and JAX begin with the
    same phases, and so do all clips, so that none depends on those beside it. A gradient takes the
    phases that are found as given: through the search for them it would have no bound.

    Args:
        magnitude: of frames as `ldm_jax.audio.stft.stft` cuts them.
        n_fft: length of window and transform.
        hop: from frame to frame.
        pad: samples that were reflected at either end; they are cut off.
        iterations: pairs of an inverse and a forward transform.
        momentum: 0 is the original algorithm of 1984.
        seed: of the first phases, which are uniform.
    """
    xp = namespace(magnitude)
    turns = np.random.default_rng(seed).random(magnitude.shape[-2:], np.float32)
    phase = xp.asarray(np.exp(2j * np.pi * turns), xp.result_type(magnitude.dtype, xp.complex64))
    phase = xp.broadcast_to(phase, magnitude.shape)
    given = jax.lax.stop_gradient(magnitude) if isinstance(magnitude, jax.Array) else magnitude

    def improve(_: Any, state: tuple[Any, Any]) -> tuple[Any, Any]:
        phase, before = state
        wave = istft(given * phase, n_fft=n_fft, hop=hop, pad=pad)
        now = stft(wave, n_fft=n_fft, hop=hop, pad=pad)
        ahead = now + momentum * (now - before)
        return ahead / xp.maximum(xp.abs(ahead), 1e-16), now

    phase, _ = _repeat(iterations, improve, (phase, xp.zeros_like(phase)))
    return istft(magnitude * phase, n_fft=n_fft, hop=hop, pad=pad)


def _repeat(count: int, step: Any, state: Any) -> Any:
    """`step` so many times: a loop in a compiled program for JAX's arrays."""
    if any(isinstance(x, jax.Array) for x in jax.tree.leaves(state)):
        return jax.lax.fori_loop(0, count, step, state)
    for index in range(count):
        state = step(index, state)
    return state
