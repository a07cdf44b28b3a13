"""The input pipeline on one core, beside torchaudio and the loader of AudioLDM's training code, on the same clips.

    make parity-environment
    .venv-parity/bin/pip install --no-deps torchlibrosa==0.1.0 pandas pytz
    .venv-parity/bin/pip download --no-deps torchaudio==2.11.0
    unzip torchaudio-*.whl 'torchaudio/*' -x 'torchaudio/lib/*' -d peers
    git clone https://github.com/haoheliu/AudioLDM-training-finetuning peers/training
    OMP_NUM_THREADS=1 PYTHONPATH=peers .venv-parity/bin/python benchmarks/data.py --training-code peers/training

(What is used of torchaudio is Python; its compiled part wants another torch.) Rates are clips of 10.24 s a second on
one core, each the median of rounds in which the two sides take turns; the ratio is ours to theirs, above 1 is faster.
Without `--training-code` and the peers' packages, `--alone` measures ours.
"""

import argparse
import io
import itertools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import soundfile

from ldm_jax.audio.clap_features import clap_features
from ldm_jax.audio.kaldi import audiomae_input
from ldm_jax.audio.log_mel import MEL_16K, MEL_48K, log_mel
from ldm_jax.audio.reading import read_audio, to_mono
from ldm_jax.audio.resampling import resample
from ldm_jax.data.encoded_examples import encoded_examples
from ldm_jax.data.encoding.reading import Encodings
from ldm_jax.data.encoding.settings import FORMAT, Settings
from ldm_jax.data.features import AudioMAEInput, LogMel, Wave
from ldm_jax.data.prepare.run import prepare
from ldm_jax.data.prepare.settings import Settings as Preparation
from ldm_jax.data.prepared import open_prepared
from ldm_jax.data.sources import open_source
from ldm_jax.data.stream import Examples, examples, host_batches

SECONDS = 10.24
IN_A_ROW = 5
CLIPS = pathlib.Path(__file__).parents[1] / "tests" / "clips"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=pathlib.Path, default=CLIPS, help="folder of sounds")
    parser.add_argument("--training-code", type=pathlib.Path, help="checkout of the peers' loader")
    parser.add_argument("--alone", action="store_true", help="without peers")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--side", choices=("ours", "theirs"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=pathlib.Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if os.environ.get("OMP_NUM_THREADS") != "1":
        parser.error("set OMP_NUM_THREADS=1: the rates are those of one core")
    if arguments.side:
        print(one_side(arguments))
        return
    with tempfile.TemporaryDirectory() as folder:
        waves = sounds(arguments.clips, count=16)
        print(
            f"{'clips of 10.24 s a second, one core':44s} {'ours':>8s} {'theirs':>8s} {'ratio':>6s}"
        )
        front_ends(waves[0], arguments)
        reading(waves[0], arguments)
        whole_batches(waves, pathlib.Path(folder), arguments)
        latents(pathlib.Path(folder))


def sounds(folder: pathlib.Path, *, count: int) -> list[np.ndarray]:
    """Clips of 10.24 s in stereo at 44.1 kHz, (samples, 2), pieced together from the files in `folder`."""
    pieces = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in (".opus", ".wav", ".flac", ".ogg", ".mp3"):
            wave, rate = read_audio(path)
            pieces.append(resample(to_mono(wave), rate, 44_100))
    length = round(SECONDS * 44_100)
    rng = np.random.default_rng(0)
    clips = []
    for _ in range(count):
        left, right = (
            np.resize(np.concatenate([pieces[i] for i in rng.permutation(len(pieces))]), length)
            for _ in range(2)
        )
        clips.append(np.stack([0.5 * left, 0.3 * left + 0.2 * right], axis=1))
    return clips


def compare(
    name: str, ours: Callable[[], Any], theirs: Callable[[], Any] | None, *, rounds: int
) -> None:
    """Prints both rates and their ratio: medians of `rounds`, in each of which both run a few times in a row."""
    times: list[list[float]] = [[], []]
    sides = (ours,) if theirs is None else (ours, theirs)
    for _ in range(rounds):
        for side, taken in zip(sides, times, strict=False):
            side()  # not timed: the other one has just been in the caches
            start = time.perf_counter()
            for _ in range(IN_A_ROW):
                side()
            taken.append((time.perf_counter() - start) / IN_A_ROW)
    rates = [1 / statistics.median(taken) for taken in times if taken]
    line = f"{name:44s} {rates[0]:8.0f}"
    if theirs is not None:
        ratios = [them / us for us, them in zip(*times, strict=True)]
        line += f" {rates[1]:8.0f} {statistics.median(ratios):6.2f}"
    print(line, flush=True)


def front_ends(clip: np.ndarray, arguments: argparse.Namespace) -> None:
    at = {rate: resample(to_mono(clip), 44_100, rate) for rate in (16_000, 48_000)}
    ten_seconds = at[48_000][:480_000]
    theirs: list[Any] = [None] * 4
    if not arguments.alone:
        import data_peers as peers

        theirs = [
            peers.log_mel(MEL_16K),
            peers.log_mel(MEL_48K),
            peers.audiomae_input,
            peers.clap_features(),
        ]
    rows = [
        ("log-mel, 16 kHz", lambda x: log_mel(x, MEL_16K), at[16_000]),
        ("log-mel, 48 kHz", lambda x: log_mel(x, MEL_48K), at[48_000]),
        ("AudioMAE's filter bank", audiomae_input, at[16_000]),
        ("CLAP's features", clap_features, ten_seconds),
    ]
    for (name, function, wave), peer in zip(rows, theirs, strict=True):
        if peer is not None:
            error = np.linalg.norm(function(wave) - peer(wave)) / np.linalg.norm(peer(wave))
            assert error < 1e-5, f"{name} differs by {error:.1e}"
        compare(
            name,
            lambda function=function, wave=wave: function(wave),
            peer and (lambda peer=peer, wave=wave: peer(wave)),
            rounds=arguments.rounds,
        )


def reading(clip: np.ndarray, arguments: argparse.Namespace) -> None:
    mono = resample(to_mono(clip), 44_100, 16_000)
    files = {
        "FLAC, 16 kHz mono": encoded(mono, 16_000, "FLAC"),
        "FLAC, 44.1 kHz stereo": encoded(clip, 44_100, "FLAC"),
        "MP3, 44.1 kHz stereo": encoded(clip, 44_100, "MP3"),
        "Ogg Vorbis, 44.1 kHz stereo": encoded(clip, 44_100, "OGG"),
    }
    peers: Any = None
    if not arguments.alone:
        import data_peers as peers
    for name, data in files.items():
        compare(
            f"decode {name}",
            lambda data=data: read_audio(data),
            peers and (lambda data=data: peers.decode(data)),
            rounds=arguments.rounds,
        )
    for rate, target in ((44_100, 16_000), (16_000, 48_000)):
        wave = resample(mono, 16_000, rate)
        compare(
            f"resample {rate} to {target} Hz",
            lambda wave=wave, rate=rate, target=target: resample(wave, rate, target),
            peers
            and (lambda wave=wave, rate=rate, target=target: peers.resample(wave, rate, target)),
            rounds=arguments.rounds,
        )
    data = files["FLAC, 44.1 kHz stereo"]

    def ours() -> Any:
        wave, rate = read_audio(data)
        return log_mel(resample(to_mono(wave), rate, 16_000))

    mel = peers and peers.log_mel(MEL_16K)

    def theirs() -> Any:
        wave, rate = peers.decode(data)
        return mel(peers.resample(wave[0].numpy(), rate, 16_000))

    compare(
        "44.1 kHz FLAC to log-mel, 16 kHz",
        ours,
        peers and theirs,
        rounds=arguments.rounds,
    )


def encoded(wave: np.ndarray, rate: int, container: str) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, wave, rate, format=container)
    return stream.getvalue()


def whole_batches(
    waves: list[np.ndarray], folder: pathlib.Path, arguments: argparse.Namespace
) -> None:
    """What latent diffusion reads of random segments: log-mel and AudioMAE's filter bank.

    The peers' loader gives the linear spectrogram too, which costs it next to nothing.
    """
    kept, small = folder / "as they come", folder / "at 16 kHz"
    for k, wave in enumerate(waves):
        for where, x, rate in (
            (kept, wave, 44_100),
            (small, resample(to_mono(wave), 44_100, 16_000), 16_000),
        ):
            where.mkdir(exist_ok=True)
            soundfile.write(where / f"{k:02d}.flac", x, rate)
    prepare(
        open_source(str(kept)),
        folder / "prepared",
        name="clips",
        settings=Preparation(validation=0, test=0),
    )
    for where, name in ((kept, "from 44.1 kHz stereo"), (small, "from 16 kHz mono")):
        ours, theirs = [], []
        for _ in range(4):
            ours.append(in_a_process("ours", folder, arguments))
            if arguments.training_code:
                theirs.append(in_a_process("theirs", where, arguments))
        line = f"{f'whole batches; theirs {name}':44s} {statistics.median(ours):8.0f}"
        if theirs:
            ratio = statistics.median(us / them for us, them in zip(ours, theirs, strict=True))
            line += f" {statistics.median(theirs):8.0f} {ratio:6.2f}"
        print(line, flush=True)
    cores = len(os.sched_getaffinity(0))
    alone = rate_of(host_batches(prepared_clips(folder), batch=8, threads=0))
    threads = rate_of(host_batches(prepared_clips(folder), batch=8, threads=cores))
    workers = rate_of(host_batches(prepared_clips(folder), batch=8, workers=cores))
    print(f"  ours on {cores} cores, as a multiple of one: {threads / alone:.2f} in threads,")
    print(f"  {workers / alone:.2f} in worker processes, batches carried over to the main one")


def in_a_process(side: str, folder: pathlib.Path, arguments: argparse.Namespace) -> float:
    """Clips a second of one loader in a process of its own, as in training."""
    command = [sys.executable, __file__, "--side", side, "--folder", str(folder)]
    if arguments.training_code:
        command += ["--training-code", str(arguments.training_code)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def one_side(arguments: argparse.Namespace) -> float:
    """Clips a second of `--side` on what lies in `--folder`."""
    if arguments.side == "ours":
        return rate_of(host_batches(prepared_clips(arguments.folder), batch=1, threads=0))
    import data_peers as peers

    files = sorted(arguments.folder.glob("*.flac"))
    loader = peers.training_loader(arguments.training_code, files)
    return rate_of(map(loader, itertools.cycle(range(len(files)))))


def prepared_clips(folder: pathlib.Path) -> Examples:
    rows = open_prepared(folder / "prepared" / "clips").rows("train")
    return examples([rows], features=(Wave(), LogMel(frames=1024), AudioMAEInput()))


def rate_of(stream: Iterator[Any], *, batches: int = 64) -> float:
    """Batches a second, once the stream is under way."""
    for _ in range(8):
        next(stream)
    start = time.perf_counter()
    for _ in range(batches):
        next(stream)
    return batches / (time.perf_counter() - start)


def latents(folder: pathlib.Path, *, windows: int = 2048, batch: int = 256) -> None:
    """Rows of the base model's latents (means and deviations, 256 x 16 x 8 each, float16), in random order."""
    settings = Settings(what=("latents",), shard=1024)
    split = folder / "encoding" / "train"
    split.mkdir(parents=True)
    row = np.random.default_rng(0).standard_normal((settings.shard, 256, 16, 16)).astype(np.float16)
    for shard in range(windows // settings.shard):
        np.save(split / f"latents-{shard:05}.npy", row)
    numbers = np.arange(windows)
    length = np.full(windows, round(SECONDS * 16_000))
    np.save(split / "windows.npy", np.stack([numbers, 0 * numbers, length], axis=1))
    np.save(split / "captions.npy", np.zeros(windows, np.int64))
    np.save(split / "caption_offsets.npy", np.arange(windows + 1))
    (split.parent / "captions.json").write_text(json.dumps([""]))
    description = {"format": FORMAT, "settings": settings.to_json(), "captions": 1}
    source = encoded_examples((Encodings(split.parent, "train", description),))
    stream = host_batches(source, batch=batch, threads=0)
    rates = []
    for _ in range(64):
        start = time.perf_counter()
        next(stream)
        rates.append(batch / (time.perf_counter() - start))
    size = row[0].nbytes
    rate = statistics.median(rates)
    print(
        f"\nrows of prepared latents ({size / 1024:.0f} KiB each): {rate:,.0f} a second on one core"
    )
    print(f"  that is {rate * size / 1e9:.1f} GB a second, from the page cache")


if __name__ == "__main__":
    main()
