"""The small model on held-out captions, between the best and the worst that the same figures can say.

    .venv/bin/python benchmarks/small_model.py --data data/sound data/music data/speech --judge FOLDER \
        --clips 20 --steps 25 --sampler dpmsolver++ --out results/small

For captions of each folder's held-out splits, each once, a clip is drawn, and judged by CLAP and AudioMAE of `--judge`
beside what bounds it on both sides:

    real          the held-out clips themselves (their own distance is 0)
    train         as many clips of the train split: how far apart two sets of real clips are
    coded         held-out clips through the VAE and the vocoder: the best that the system's decoders allow
    STEPS         drawn from the held-out captions
    STEPS, shuffled   the same clips under each other's captions: what chance is
    prior         VAE and vocoder on latents of pure noise
    noise, silence

FD is the Frechet distance of embeddings to those of the held-out clips, R@10 how often a clip's caption finds it among
the ten nearest of all, kind how often a linear map from CLAP's embeddings, fitted to clips of the train split, takes
it for what it is (sound, music, speech). The judge should be no network that the clips were made with. A table in
Markdown; the clips stay in `--out`, where a second call goes on.
"""

import argparse
import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from ldm_jax import AudioLDM2
from ldm_jax.audio.clap_features import SAMPLE_RATE as CLAP_RATE
from ldm_jax.audio.clap_features import clap_features
from ldm_jax.audio.files import write_audio
from ldm_jax.audio.log_mel import MEL_16K, log_mel
from ldm_jax.audio.reading import read_audio
from ldm_jax.audio.resampling import resample
from ldm_jax.config import Generation
from ldm_jax.convert.load import load
from ldm_jax.data.prepared import open_prepared
from ldm_jax.data.segments import Shaping, segment
from ldm_jax.eval.backbones.opening import open_backbone
from ldm_jax.eval.cache import FeatureCache
from ldm_jax.eval.clips.clip import Clip, ClipSet
from ldm_jax.eval.drawing import draw
from ldm_jax.eval.evaluation import Options, evaluate
from ldm_jax.eval.presets import PRESETS
from ldm_jax.pipeline.synthesis import decode, vocode
from ldm_jax.shipped import DEFAULT

RATE, FITTED = 16_000, 100  # clips of each kind that the judge of kinds is fitted to
FIGURES = ("FD CLAP", "FD AudioMAE", "CLAP_T", "R@10")


@dataclasses.dataclass(frozen=True)
class Example:
    """A prepared clip's segment."""

    name: str
    kind: int
    caption: str
    wave: np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--checkpoint", default=DEFAULT)
    add("--judge", required=True, help="a checkpoint with clap and audiomae")
    add("--data", nargs="+", required=True, help="prepared folders, one a kind")
    add("--split", nargs="+", default=["test", "validation"])
    add("--clips", type=int, default=20, help="of each folder, at most")
    add("--steps", type=int, nargs="+", default=[25])
    add("--sampler", default="dpmsolver++")
    add("--guidance-scale", type=float, default=3.5)
    add("--batch-size", type=int, default=4)
    add("--out", type=pathlib.Path, default=pathlib.Path("results/small"))
    arguments = parser.parse_args()
    model = AudioLDM2.from_pretrained(arguments.checkpoint)
    seconds = model.checkpoint.seconds
    held, some = (
        [
            example
            for kind, folder in enumerate(arguments.data)
            for example in examples(folder, splits, count, kind, seconds, once=once)
        ]
        for splits, count, once in (
            (arguments.split, arguments.clips, True),
            (["train"], max(FITTED, arguments.clips), False),
        )
    )
    sides = Sides(
        arguments.out, [Clip(name=x.name, path=arguments.out, captions=(x.caption,)) for x in held]
    )
    kinds = [example.kind for example in held]
    waves = np.stack([example.wave for example in held])
    firsts = [
        [x for x in some if x.kind == kind][: kinds.count(kind)] for kind in sorted(set(kinds))
    ]
    generator = np.random.default_rng(0)
    sides.write("real", waves)
    sides.write("train", np.stack([x.wave for first in firsts for x in first]))
    sides.write("coded", coded(model, waves))
    for steps in arguments.steps:
        generation = Generation(
            seconds=seconds,
            steps=steps,
            sampler=arguments.sampler,
            guidance_scale=arguments.guidance_scale,
        )
        draw(
            model,
            sides.clips,
            arguments.out / str(steps),
            generation,
            source={"checkpoint": arguments.checkpoint, "preset": None, "dtype": None},
            batch=arguments.batch_size,
            progress=True,
        )
    sides.write("prior", prior(model, waves, generator))
    sides.write("noise", 0.1 * generator.standard_normal(waves.shape))
    sides.write("silence", 1e-5 * generator.standard_normal(waves.shape))
    judge_of_kinds = kind_judge(arguments.judge, some)
    backbones = {name: open_backbone(name, arguments.judge) for name in ("clap", "audiomae")}
    columns = (*FIGURES, "kind")
    print("| |" + "|".join(columns) + "|\n|---|" + "---:|" * len(columns))
    drawn = [str(steps) for steps in arguments.steps]
    shuffled = [f"{name}, shuffled" for name in drawn]
    for name in ("real", "train", "coded", *drawn, *shuffled, "prior", "noise", "silence"):
        found = {
            figure.label: interval(figure.estimate)
            for figure in evaluate(
                sides.side(name),
                sides.side("real"),
                preset=PRESETS["own_encoders"],
                backbones=backbones,
                system=name,
                options=Options(cache=FeatureCache()),
            ).figures
        }
        right = judge_of_kinds([clip.path for clip in sides.side(name).clips]) == np.array(
            sides.in_order(kinds)
        )
        cells = [found.get(label, "") for label in FIGURES] + [f"{right.mean():.2f}"]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


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
        system, _, shuffled = name.partition(", ")
        captions = [clip.captions for clip in self.clips]
        if shuffled:
            captions = captions[len(captions) // 3 :] + captions[: len(captions) // 3]
        clips = [
            dataclasses.replace(
                clip, path=self.folder / system / f"{clip.name}.wav", captions=caption
            )
            for clip, caption in zip(self.clips, captions, strict=True)
        ]
        return ClipSet(source=name, clips=tuple(sorted(clips, key=lambda clip: clip.name)))

    def in_order(self, values: Sequence[int]) -> list[int]:
        """`values` of the clips as `side` sorts them."""
        by_name = {clip.name: value for clip, value in zip(self.clips, values, strict=True)}
        return [by_name[name] for name in sorted(by_name)]


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


def coded(model: AudioLDM2, waves: np.ndarray) -> np.ndarray:
    """Waves through the VAE (means of the latents) and the vocoder."""
    vae: Any = model.networks.vae
    params = model.weights.of("vae", "vocoder", rare=True)
    encode = jax.jit(lambda mel: vae.apply({"params": params["vae"]}, mel, method="encode")[0])

    def one(wave: np.ndarray) -> np.ndarray:
        mel = log_mel(wave[None].astype(np.float32), MEL_16K)
        latents = vae.scaling_factor * encode(mel[:, : mel.shape[1] // 4 * 4, :, None])
        return voiced(model, latents, wave.shape[-1])[0]

    return np.stack([one(wave) for wave in waves])


def prior(model: AudioLDM2, waves: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """What decoders make of latents that are noise of variance 1."""
    shape = model.latent_shape(model.checkpoint.seconds)
    return np.concatenate(
        [
            voiced(model, generator.standard_normal((1, *shape)).astype(np.float32), len(wave))
            for wave in waves
        ]
    )


def voiced(model: AudioLDM2, latents: Any, samples: int) -> np.ndarray:
    """Scaled latents to waves."""
    params = model.weights.of("vae", "vocoder")
    mel = decode(model.networks, params, latents)
    return np.asarray(vocode(model.networks, params, mel))[:, :samples]


def kind_judge(
    where: str, fitted: Sequence[Example]
) -> Callable[[Sequence[pathlib.Path]], np.ndarray]:
    """From files to the kinds that a linear map of CLAP's embeddings, least squares on `fitted`, takes them for."""
    checkpoint = load(where)
    clap: Any = checkpoint.networks["clap"]
    embed = jax.jit(
        lambda x: clap.apply({"params": checkpoint.params["clap"]}, x, method="embed_audio")
    )

    def vector(wave: np.ndarray) -> np.ndarray:
        features = clap_features(resample(wave, RATE, CLAP_RATE), padding="repeatpad")
        return np.append(np.asarray(embed(features[None].astype(np.float32)))[0], 1.0)

    x = np.stack([vector(example.wave) for example in fitted])
    wanted = np.eye(1 + max(e.kind for e in fitted))[[e.kind for e in fitted]]
    weights = np.linalg.solve(x.T @ x + 0.1 * np.eye(x.shape[1]), x.T @ wanted)

    def judge(files: Sequence[pathlib.Path]) -> np.ndarray:
        return np.array([(vector(read_audio(file)[0][:, 0]) @ weights).argmax() for file in files])

    return judge


def interval(estimate: Any) -> str:
    """Value and half the 95 % interval."""
    if estimate.low is None:
        return f"{estimate.value:.3f}"
    return f"{estimate.value:.3f} ± {(estimate.high - estimate.low) / 2:.3f}"


if __name__ == "__main__":
    main()
