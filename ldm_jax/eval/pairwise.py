"""Distances between each clip and the reference of its name, by their waves."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from ldm_jax.audio.log_mel import CENTRED_16K
from ldm_jax.audio.reading import AudioError
from ldm_jax.eval.clips import Clip
from ldm_jax.eval.extraction import in_order
from ldm_jax.eval.metrics.spectral import (
    level,
    log_mel_distance,
    log_spectral_distance,
    multi_resolution_stft_distance,
    si_sdr,
)
from ldm_jax.eval.processes import gathered, share
from ldm_jax.eval.report.record import Problem
from ldm_jax.eval.waves import Loaded, Loading, load

Wave = Float[np.ndarray, " samples"]
# Samples by which ConsistencyTTA, as audioldm_eval before it, shifts the generated clip.
HIFIGAN_DELAY = 7 * 160

# (generated, reference, rate of both) -> one number
DISTANCES: Mapping[str, Callable[[Wave, Wave, int], float]] = {
    "lsd": lambda x, y, rate: float(log_spectral_distance(x, y, sample_rate=rate)),
    "lsd_of_consistencytta": lambda x, y, rate: float(
        log_spectral_distance(
            level(x, skip=HIFIGAN_DELAY, peak_with_mean=True),
            level(y, peak_with_mean=True),
            sample_rate=rate,
        )
    ),
    "mrstft": lambda x, y, _: float(multi_resolution_stft_distance(x, y)),
    "mel": lambda x, y, _: float(log_mel_distance(x, y, CENTRED_16K)),
    "si_sdr": lambda x, y, _: float(si_sdr(x, y)),
}


def distances(
    generated: Mapping[str, Clip],
    reference: Mapping[str, Clip],
    names: Sequence[str],
    functions: Sequence[str],
    *,
    loading: Loading,
) -> tuple[dict[str, dict[str, np.ndarray]], tuple[dict[str, float], ...], tuple[Problem, ...]]:
    """(by function and clip a row (1, 1), seconds of clips on either side, files left out); all processes get all.

    Args:
        generated: clips by name.
        reference: likewise.
        names: on both sides.
        functions: keys of `DISTANCES`.
        loading: how a file becomes a wave.
    """

    def measure(name: str) -> tuple[str, tuple[float, ...], dict[str, float], Problem | None]:
        waves: list[Loaded] = []
        for clip in (generated[name], reference[name]):
            try:
                waves.append(load(clip, loading, narrow=False))
            except AudioError as error:
                return name, (), {}, Problem(file=str(clip.path), why=str(error), dropped=True)
        seconds = tuple(one.seconds for one in waves)
        try:
            numbers = {
                key: DISTANCES[key](waves[0].wave, waves[1].wave, loading.rate) for key in functions
            }
        except ValueError as error:
            problem = Problem(file=str(generated[name].path), why=str(error), dropped=True)
            return name, (), {}, problem
        return name, seconds, numbers, None

    found: dict[str, dict[str, np.ndarray]] = {key: {} for key in functions}
    lengths: tuple[dict[str, float], ...] = ({}, {})
    problems: list[Problem] = []
    for part in gathered(list(in_order(measure, share(names)))):
        for name, seconds, numbers, problem in part:
            for side, length in zip(lengths, seconds, strict=False):
                side[name] = length
            for key, number in numbers.items():
                found[key][name] = np.array([[number]])
            if problem is not None:
                problems.append(problem)
    return found, lengths, tuple(problems)
