"""How much of held-out clips is left after the VAE and the vocoder, beside Griffin-Lim on the true spectrogram.

    .venv/bin/python benchmarks/reconstruction.py --vae runs/small/vae --vocoder runs/small/vocoder \
        --data data/sound data/music data/speech --split test

Each folder's first clips, at most 5.12 s of each. A line for every way from the true log-mel back to a wave: by
Griffin-Lim or by the vocoder, at once or through the VAE's latents (their means). Figures are means over clips, with
half the 95 % interval of a bootstrap: the distance of log-mels in nats, and that of short-time spectra (mean over three
resolutions of spectral convergence plus the mean distance of log magnitudes). The last column is the share of clips on
which a way is nearer than Griffin-Lim on the true log-mel, by the second figure. Padding is not counted.
"""

import argparse
import functools
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from ldm_jax.audio.griffin_lim import wave_from_log_mel
from ldm_jax.audio.log_mel import MEL_16K, log_mel
from ldm_jax.audio.multi_resolution_stft import multi_resolution_stft
from ldm_jax.convert.checkpoint import Checkpoint
from ldm_jax.convert.load import load
from ldm_jax.data.prepared import open_prepared
from ldm_jax.data.segments import Shaping, segment
from ldm_jax.eval.metrics.bootstrap import mean_interval
from ldm_jax.eval.metrics.estimate import Bootstrap

SECONDS, SHORTEST = 5.12, 4096  # samples, for the longest of the transforms
Way = Callable[[Any], Any]  # (1, samples) to (1, about as many samples)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vae", required=True, help="a run or a checkpoint")
    parser.add_argument("--vocoder", required=True, help="likewise")
    parser.add_argument("--data", nargs="+", required=True, help="prepared folders")
    parser.add_argument("--split", default="test")
    parser.add_argument("--clips", type=int, default=50, help="of each folder")
    arguments = parser.parse_args()
    ways = ways_of(opened(arguments.vae), opened(arguments.vocoder))
    print(f"{'':34s} {'log-mel':>16} {'spectra':>16} {'better':>7}")
    for folder in arguments.data:
        waves = list(clips(folder, arguments.split, arguments.clips))
        print(f"{folder}, {arguments.split}, {len(waves)} clips")
        figures = {
            name: np.array([distances(way, *wave) for wave in waves]) for name, way in ways.items()
        }
        base = next(iter(figures.values()))[:, 1]
        for name, values in figures.items():
            columns = " ".join(f"{interval(x):>16}" for x in values.T)
            print(f"  {name:32s} {columns} {np.mean(values[:, 1] < base):7.2f}", flush=True)


def opened(where: str) -> Checkpoint:
    """A checkpoint, or what a run exported."""
    export = pathlib.Path(where) / "export"
    return load(export if export.is_dir() else where)


def clips(folder: str, split: str, count: int) -> Iterator[tuple[np.ndarray, int]]:
    """(wave of 5.12 s, samples of it that are sound) of a split's first clips."""
    shaping = Shaping(seconds=SECONDS, random_start=False, caption="first")
    found = 0
    for row in open_prepared(folder).rows(split):
        part = segment(row, shaping, np.random.default_rng(0))
        if part.samples >= SHORTEST:
            yield part.wave, part.samples
            found += 1
        if found == count:
            return


def ways_of(autoencoder: Checkpoint, voice: Checkpoint) -> dict[str, Way]:
    """From waves to waves, each through the true log-mel."""
    vae: Any = autoencoder.networks["vae"]
    vocoder: Any = voice.networks["vocoder"]

    def coded(mel: Any) -> Any:
        moments = vae.apply({"params": autoencoder.params["vae"]}, mel[..., None], method="encode")
        again = vae.apply({"params": autoencoder.params["vae"]}, moments[0], method="decode")
        return again[..., 0]

    def spoken(mel: Any) -> Any:
        return vocoder.apply({"params": voice.params["vocoder"]}, mel)

    def way(*steps: Callable[[Any], Any]) -> Way:
        def run(wave: Any) -> Any:
            x = log_mel(wave, MEL_16K)
            x = x[:, : x.shape[1] // 4 * 4]
            return functools.reduce(lambda value, step: step(value), steps, x)

        return jax.jit(run)

    return {
        "Griffin-Lim": way(wave_from_log_mel),
        "vocoder": way(spoken),
        "VAE, Griffin-Lim": way(coded, wave_from_log_mel),
        "VAE, vocoder": way(coded, spoken),
    }


def distances(way: Way, wave: np.ndarray, samples: int) -> tuple[float, float]:
    """(of log-mels, of short-time spectra) between a clip and what a way makes of it."""
    made = np.asarray(way(wave[None]))[0]
    size = min(samples, len(made))
    one, other = made[:size], wave[:size]
    mels = [log_mel(x, MEL_16K) for x in (one, other)]
    convergence, magnitude = multi_resolution_stft(one, other)
    return float(np.abs(mels[0] - mels[1]).mean()), float(convergence + magnitude)


def interval(values: np.ndarray) -> str:
    """Mean and half the 95 % interval."""
    low, high = mean_interval(values, Bootstrap(draws=1000, seed=0))
    return f"{values.mean():.3f} ± {((high or 0.0) - (low or 0.0)) / 2:.3f}"


if __name__ == "__main__":
    main()
