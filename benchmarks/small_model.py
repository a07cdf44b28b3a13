"""The small model and its students on held-out captions, between the best and the worst that the same figures can say.

    .venv/bin/python -m benchmarks.small_model --data data/sound data/music data/speech --musicnn FOLDER \
        --systems small:dpmsolver++:25 small-fast small-instant --out results/small

For captions of each folder's held-out splits, each once, every system draws a clip, judged beside what bounds it on
both sides:

    real          the held-out clips themselves (their own distance is 0)
    train         as many clips of the train split: how far apart two sets of real clips are
    coded         held-out clips through the VAE and the vocoder: the best that the system's decoders allow
    vocoder, griffin-lim, coded griffin-lim    by the vocoder alone, by Griffin-Lim in its place, and that after the VAE
    SYSTEM        drawn from the held-out captions
    SYSTEM, shuffled   the same clips under each other's captions: what chance is
    prior         VAE and vocoder on latents of pure noise
    noise, silence

A system is CHECKPOINT[:SAMPLER[/SPACING][:STEPS[:CANDIDATES]]]; what is left out are its own, and of several candidates
CLAP chooses. With `--seeds N` every system draws N clips a caption, and its figures are means over these N sets. FD is
the Frechet distance of embeddings to those of the held-out clips: musicnn's, which nothing here was trained with, and
those of the small model's own AudioMAE and CLAP. R@10 is how often a clip is among the ten of all that are nearest to
its caption, kind how often it is taken for what it is, both by `benchmarks/judging.py`. Calls are of the UNet, a clip.
A table in Markdown; the clips stay in `--out`, where a second call goes on.
"""

import argparse
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from benchmarks.judging import Example, Judge
from benchmarks.systems import system as named
from ldm_jax import AudioLDM2
from ldm_jax.audio.files import write_audio
from ldm_jax.audio.griffin_lim import wave_from_log_mel
from ldm_jax.audio.log_mel import MEL_16K, log_mel
from ldm_jax.audio.reading import read_audio
from ldm_jax.convert.load import load, read_own
from ldm_jax.data.prepared import open_prepared
from ldm_jax.data.segments import Shaping, segment
from ldm_jax.eval.backbones.opening import open_backbone
from ldm_jax.eval.cache import FeatureCache
from ldm_jax.eval.clips.clip import Clip, ClipSet
from ldm_jax.eval.drawing import draw
from ldm_jax.eval.evaluation import Options, evaluate
from ldm_jax.eval.presets import PRESETS, chosen
from ldm_jax.pipeline.synthesis import decode, vocode
from ldm_jax.shipped import DEFAULT, shipped

RATE, FITTED = 16_000, 300  # clips of each kind that the judge is fitted to
FIGURES = {"musicnn": ("FD musicnn",), "own_encoders": ("FD AudioMAE", "FD CLAP")}
NEAREST = 10
MUSICNN = "musicnn:MTT_musicnn"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--systems", nargs="*", default=[f"{DEFAULT}:dpmsolver++:25"])
    add("--musicnn", help="folder of its weights, as in the package; else it is looked for")
    add("--data", nargs="+", required=True, help="prepared folders, one a kind")
    add("--split", nargs="+", default=["test", "validation"])
    add("--clips", type=int, default=30, help="of each folder, at most")
    add("--seeds", type=int, default=1, help="clips that every system draws for a caption")
    add("--guidance-scale", type=float)
    add("--batch-size", type=int, default=4)
    add("--out", type=pathlib.Path, default=pathlib.Path("results/small"))
    add("--draw-only", action="store_true", help="no bounds, no figures")
    arguments = parser.parse_args()
    seconds = read_own(DEFAULT).seconds
    held = held_out(arguments.data, arguments.split, arguments.clips, seconds, once=True)
    sides = Sides(
        arguments.out, [Clip(name=x.name, path=arguments.out, captions=(x.caption,)) for x in held]
    )
    draws = {
        system: [system, *(f"{system}, seed {k}" for k in range(1, arguments.seeds))]
        for system in arguments.systems
    }
    calls = {
        system: drawn(system, name, sides, k, arguments.guidance_scale, arguments.batch_size)
        for system, names in draws.items()
        for k, name in enumerate(names)
    }
    if arguments.draw_only:
        return
    fitted = held_out(arguments.data, ["train"], FITTED, seconds, once=False)
    bounds(sides, held, fitted)
    musicnn = open_backbone(MUSICNN, arguments.musicnn)
    backbones = {name: open_backbone(name, load_path(DEFAULT)) for name in ("clap", "audiomae")}
    backbones[MUSICNN] = musicnn
    judge = Judge(musicnn, load(DEFAULT), fitted, cache=arguments.out / "heard.npz")
    columns = [label for labels in FIGURES.values() for label in labels]
    print("| |calls|" + "|".join(columns) + "|R@10|kind|\n|---|" + "---:|" * (len(columns) + 3))
    kinds = sides.in_order(np.array([example.kind for example in held]))
    rows = {name: [name] for name in ("real", "train", *WAYS)}
    for system, names in draws.items():
        rows |= {system: names, f"{system}, shuffled": [f"{name}, shuffled" for name in names]}
    for row, names in (rows | {name: [name] for name in ("prior", "noise", "silence")}).items():
        found = [distances(sides.side(name), sides.side("real"), backbones) for name in names]
        heard = [judged(sides.side(name), judge, kinds) for name in names]
        cells = [str(calls.get(row, ""))]
        cells += [interval([x[label] for x in found]) for label in columns]
        cells += [share(hits) for hits in zip(*heard, strict=True)]
        print(f"| {row} | " + " | ".join(cells) + " |", flush=True)
    print(f"\n{len(held)} clips; chance of R@{NEAREST}: {NEAREST / len(held):.2f}")


def distances(side: ClipSet, real: ClipSet, backbones: dict[str, Any]) -> dict[str, Any]:
    """The estimates of a side's distances to real clips, by label."""
    return {
        figure.label: figure.estimate
        for preset in FIGURES
        for figure in evaluate(
            side,
            real,
            preset=chosen(PRESETS[preset], ("frechet_distance",)),
            backbones=backbones,
            system=side.source,
            options=Options(cache=FeatureCache()),
        ).figures
    }


def judged(side: ClipSet, judge: Judge, kinds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each clip of a side, whether it is among the nearest to its caption, and whether it is taken for its kind."""
    waves = [read_audio(clip.path)[0][:, 0] for clip in side.clips]
    near = judge.ranks(waves, [clip.captions[0] for clip in side.clips]) < NEAREST
    return near, judge.kinds(waves) == kinds


def drawn(
    system: str, name: str, sides: "Sides", seed: int, scale: float | None, batch: int
) -> int:
    """Draws a system's clips, where they are not there yet, to the side `name`; how often a clip calls the UNet."""
    told = named(system, guidance_scale=scale, seed=seed)
    model = AudioLDM2.from_pretrained(told.checkpoint)
    source = {"checkpoint": told.checkpoint, "preset": None, "dtype": None}
    folder = sides.folder / sides.folder_of(name)
    draw(model, sides.clips, folder, told.generation, source=source, batch=batch, progress=True)
    return told.calls


def bounds(sides: "Sides", held: Sequence[Example], fitted: Sequence[Example]) -> None:
    """Writes what the systems' figures lie between."""
    model = AudioLDM2.from_pretrained(DEFAULT)
    waves = np.stack([example.wave for example in held])
    kinds = [example.kind for example in held]
    firsts = [
        [x for x in fitted if x.kind == kind][: kinds.count(kind)] for kind in sorted(set(kinds))
    ]
    generator = np.random.default_rng(0)
    sides.write("real", waves)
    sides.write("train", np.stack([x.wave for first in firsts for x in first]))
    for name, way in WAYS.items():
        sides.write(name, np.stack([way(model, wave) for wave in waves]))
    sides.write("prior", prior(model, waves, generator))
    sides.write("noise", 0.1 * generator.standard_normal(waves.shape))
    sides.write("silence", 1e-5 * generator.standard_normal(waves.shape))


class Sides:
    """A folder a system, in each a clip for every held-out caption."""

    def __init__(self, folder: pathlib.Path, clips: Sequence[Clip]) -> None:
        self.folder, self.clips = folder, clips

    def write(self, name: str, waves: np.ndarray) -> None:
        """One wave a clip."""
        (self.folder / name).mkdir(parents=True, exist_ok=True)
        for clip, wave in zip(self.clips, waves, strict=True):
            write_audio(self.folder / name / f"{clip.name}.wav", wave.astype(np.float32), RATE)

    def side(self, name: str) -> ClipSet:
        """The clips of one system, sorted by name; "X, shuffled" are those of X under other clips' captions."""
        system = name.removesuffix(", shuffled")
        folder = self.folder / self.folder_of(system)
        captions = [clip.captions for clip in self.clips]
        if system != name:
            captions = captions[len(captions) // 3 :] + captions[: len(captions) // 3]
        clips = [
            dataclasses.replace(clip, path=folder / f"{clip.name}.wav", captions=caption)
            for clip, caption in zip(self.clips, captions, strict=True)
        ]
        return ClipSet(source=name, clips=tuple(sorted(clips, key=lambda clip: clip.name)))

    @staticmethod
    def folder_of(system: str) -> str:
        """Below `folder`."""
        return system.replace("/", "_").replace(":", "_").replace(", ", "_")

    def in_order(self, values: np.ndarray) -> np.ndarray:
        """`values` of the clips as `side` sorts them."""
        return values[np.argsort([clip.name for clip in self.clips])]


def held_out(
    folders: Sequence[str], splits: Sequence[str], count: int, seconds: float, *, once: bool
) -> list[Example]:
    """`examples` of all folders, a kind each."""
    return [
        example
        for kind, folder in enumerate(folders)
        for example in examples(folder, splits, count, kind, seconds, once=once)
    ]


def examples(
    folder: str, splits: Sequence[str], count: int, kind: int, seconds: float, *, once: bool
) -> list[Example]:
    """Clips of some splits at random; with `once` each caption once."""
    shaping = Shaping(seconds=seconds, random_start=False, caption="first", padding="repeat")
    found: list[Example] = []
    said = set()
    sets = [open_prepared(folder).rows(split) for split in splits]
    places = [(rows, i) for rows in sets for i in range(len(rows))]
    for place in np.random.default_rng(0).permutation(len(places)):
        rows, i = places[place]
        part = segment(rows[i], shaping, np.random.default_rng(0))
        if part.caption and not (once and part.caption in said):
            said.add(part.caption)
            found.append(Example(f"{kind}-{len(found):03}", kind, part.caption, part.wave))
        if len(found) == count:
            break
    return found


def mel_of(wave: np.ndarray) -> np.ndarray:
    """The log-mel, (1, frames, mels)."""
    return np.asarray(log_mel(wave[None].astype(np.float32), MEL_16K))


def coded(model: AudioLDM2, mel: np.ndarray) -> Any:
    """A log-mel through the VAE, by the mean of its latents."""
    vae: Any = model.networks.vae
    params = model.weights.of("vae", rare=True)
    encode = _encoder(vae)
    latents = vae.scaling_factor * encode(params["vae"], mel[:, : mel.shape[1] // 4 * 4, :, None])
    return decode(model.networks, params, latents)


@functools.cache
def _encoder(vae: Any) -> Any:
    return jax.jit(lambda params, mel: vae.apply({"params": params}, mel, method="encode")[0])


def voiced(model: AudioLDM2, mel: Any, samples: int) -> np.ndarray:
    """A log-mel to a wave by the vocoder."""
    params = model.weights.of("vocoder")
    return _fitted(vocode(model.networks, params, mel), samples)


def without_vocoder(mel: Any, samples: int) -> np.ndarray:
    """The same by Griffin-Lim."""
    return _fitted(_griffin_lim(mel), samples)


_griffin_lim = jax.jit(functools.partial(wave_from_log_mel, settings=MEL_16K))


def _fitted(waves: Any, samples: int) -> np.ndarray:
    """The first of a batch of one, cut or filled up with zeros."""
    wave = np.asarray(waves)[0, :samples]
    return np.pad(wave, (0, samples - len(wave)))


WAYS: dict[str, Callable[[AudioLDM2, np.ndarray], np.ndarray]] = {
    "coded": lambda model, wave: voiced(model, coded(model, mel_of(wave)), len(wave)),
    "vocoder": lambda model, wave: voiced(model, mel_of(wave), len(wave)),
    "griffin-lim": lambda model, wave: without_vocoder(mel_of(wave), len(wave)),
    "coded griffin-lim": lambda model, wave: without_vocoder(coded(model, mel_of(wave)), len(wave)),
}


def prior(model: AudioLDM2, waves: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """What decoders make of latents that are noise of variance 1."""
    shape = model.latent_shape(model.checkpoint.seconds)
    params = model.weights.of("vae")

    def one(wave: np.ndarray) -> np.ndarray:
        latents = generator.standard_normal((1, *shape)).astype(np.float32)
        return voiced(model, decode(model.networks, params, latents), len(wave))

    return np.stack([one(wave) for wave in waves])


def load_path(name: str) -> pathlib.Path:
    """The folder of a checkpoint of the package."""
    folder = shipped(name)
    assert folder is not None
    return folder


def share(hits: Sequence[np.ndarray]) -> str:
    """A share of clips and half its 95 % interval over captions, each of which has a mean over its draws."""
    each = np.mean(hits, axis=0)
    return f"{each.mean():.3f} ± {1.96 * each.std() / np.sqrt(len(each)):.3f}"


def interval(estimates: Sequence[Any]) -> str:
    """Mean over draws of the value and of half its 95 % interval."""
    value = np.mean([x.value for x in estimates])
    if any(x.low is None for x in estimates):
        return f"{value:.3f}"
    return f"{value:.3f} ± {np.mean([(x.high - x.low) / 2 for x in estimates]):.3f}"


if __name__ == "__main__":
    main()
