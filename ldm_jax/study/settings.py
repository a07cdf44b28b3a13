"""What a study is told: typed fields, filled in by `configs/study_weighting.py` and by flags."""

import dataclasses
import functools
from typing import Any

from ml_collections import ConfigDict

from ldm_jax.diffusion import schedules, weightings
from ldm_jax.diffusion.weightings import Weighting
from ldm_jax.distill import consistency
from ldm_jax.distill.grid import check_weights, uniform_grid
from ldm_jax.distill.progressive import chain
from ldm_jax.train.config import Training

METHODS = ("progressive", "consistency")
# All of `diffusion.weightings`, BSA in its three readings. "p2" would by default be "sigmoid".
ALL = (
    *("uniform", "snr", "snr_plus_one", "truncated", "min_snr", "soft_min_snr", "sigmoid"),
    *("p2:gamma=0.5", "edm", "debiased", "inverse", "tango"),
    *("bsa", "bsa:reading=sum", "bsa:reading=smooth"),
)


@dataclasses.dataclass(kw_only=True, slots=True)
class Study:
    """Every method with every weighting and seed; each is a cell of its own.

    Attributes:
        weightings: names, with options as in "min_snr:gamma=3"; in a config's file also functions of log SNR.
        reference: the one that the others are compared with, seed by seed.
        seeds: how many, from 0. A seed fixes order of the data, noise and levels, and all weightings share it.
        methods: of `METHODS`.
    """

    weightings: tuple[str | Weighting, ...] = ALL
    reference: str = "bsa"
    seeds: int = 5
    methods: tuple[str, ...] = METHODS


@dataclasses.dataclass(kw_only=True, slots=True)
class ToyStudy(Study):
    """Small networks on a mixture of Gaussians, whose perfect denoiser is the teacher.

    Attributes:
        schedule: of the noise, see `diffusion.schedules`.
        teacher_steps: of the perfect denoiser's DDIM.
        students: steps of each round's student.
        points: of the grid of consistency distillation.
        few_steps: numbers of steps that a consistency student is sampled in.
        clusters: of the mixture, see `mixture.nested`.
        within: components of each.
        dim: of a point.
        width: of the networks.
        layers: of the networks.
        pretraining: weighting of the network that all students of a seed begin as.
        pretraining_steps: of that.
        round_steps: of each round.
        consistency_steps: of consistency distillation.
        batch: points a step.
        learning_rate: of Adam at first; it falls to 0 in a straight line, in every round anew.
        noises: from which samples are drawn, a power of 2.
        per_level: noisy points of each level at which x0 is asked.
    """

    schedule: str = "scaled_linear"
    teacher_steps: int = 200
    students: tuple[int, ...] = (100, 50, 25, 5, 1)
    points: int = 18
    few_steps: tuple[int, ...] = (1, 2, 4)
    clusters: int = 4
    within: int = 4
    dim: int = 4
    width: int = 64
    layers: int = 3
    pretraining: str = "snr_plus_one"
    pretraining_steps: int = 4000
    round_steps: int = 400
    consistency_steps: int = 1000
    batch: int = 128
    learning_rate: float = 2e-3
    noises: int = 2048
    per_level: int = 128


@dataclasses.dataclass(kw_only=True, slots=True)
class RunStudy(Study):
    """Ordinary runs of `train.py`, each in a folder of its own, and their students held against a dataset's clips.

    Attributes:
        progressive: what a run is, but for its weighting and seed; its stage is a `ProgressiveStage`.
        consistency: likewise, with a `ConsistencyStage`.
        few_steps: numbers of steps that a consistency student is sampled in.
        system: a checkpoint with the networks that runs do not train: VAE, vocoder, text encoders, tokenizers.
        teacher: a checkpoint that is measured too, or "". The most steps of it are what "map_error" is measured from:
            where its sampler takes the same noise.
        teacher_steps: numbers of steps that it is sampled in.
        teacher_spacing: of its timesteps. "trailing" begins where the students do, at the noisiest; AudioLDM 2's own
            "leading" takes noise for what it is at a lower level, in few steps a far lower one. "" is the checkpoint's.
        prepared: datasets that `python -m ldm_jax.data.prepare` wrote.
        split: of them, whose captions are the prompts and whose clips the references.
        clips: of each dataset, at most.
        seconds: of the clips that are drawn.
        padding: of references, "end" or "repeat", to that length, which longer ones are cut to; "" leaves them.
        batch_size: clips drawn together.
        dtype: compute type of drawing; "" is the device's.
        preset: of figures, see `evaluate.py --presets`.
        metrics: only these of it; () is all.
        primary: the figures that summary and pictures are about.
        backbones: files or folders of networks by name, where the preset's published ones are not found.
        backbone_folder: where published networks lie; "" is the usual places.
        keep_clips: whether what was drawn stays after it was measured.
    """

    progressive: Training | None = None
    consistency: Training | None = None
    few_steps: tuple[int, ...] = (1, 2, 4)
    system: str = ""
    teacher: str = ""
    teacher_steps: tuple[int, ...] = (200, 100, 50, 25, 1)
    teacher_spacing: str = "trailing"
    prepared: tuple[str, ...] = ()
    split: str = "test"
    clips: int = 1000
    seconds: float = 10.24
    padding: str = ""
    batch_size: int = 8
    dtype: str = ""
    preset: str = "ldm_jax"
    metrics: tuple[str, ...] = ()
    primary: tuple[str, ...] = ("frechet_distance.cnn14_16k", "clap_text")
    backbones: ConfigDict = dataclasses.field(default_factory=ConfigDict)
    backbone_folder: str = ""
    keep_clips: bool = False

    def runs(self) -> dict[str, Training]:
        """Those of the methods that are asked for."""
        given = {"progressive": self.progressive, "consistency": self.consistency}
        return {name: run for name in self.methods if (run := given[name]) is not None}


def called(weighting: str | Weighting) -> str:
    """A weighting's name in tables and folders."""
    if isinstance(weighting, str):
        return weighting
    of: Any = weighting.func if isinstance(weighting, functools.partial) else weighting
    return getattr(of, "__name__", type(of).__name__)


def by_name(study: Study) -> dict[str, str | Weighting]:
    """The weightings by what they are called."""
    return {called(weighting): weighting for weighting in study.weightings}


def check(study: Study) -> None:
    """Raises ValueError, in one sentence, for a study that cannot be made."""
    names = by_name(study)
    if len(names) < len(study.weightings):
        raise ValueError(
            f"two weightings have one name: {', '.join(map(called, study.weightings))}"
        )
    if len(names) < 2:
        raise ValueError(f"weightings are {', '.join(names)}: a comparison takes at least 2")
    if study.reference not in names:
        raise ValueError(
            f"reference is {study.reference!r}, which is none of the weightings {', '.join(names)}"
        )
    if study.seeds < 2:
        raise ValueError(f"seeds is {study.seeds}: an interval takes at least 2")
    if unknown := [name for name in study.methods if name not in METHODS]:
        raise ValueError(f"there is no method {unknown[0]!r}; there are {', '.join(METHODS)}")
    if not study.methods:
        raise ValueError(f"methods is empty; there are {', '.join(METHODS)}")
    for weighting in study.weightings:
        weightings.weighting(weighting)
    {ToyStudy: _check_toy, RunStudy: _check_runs}[type(study)](study)


def _check_toy(study: ToyStudy) -> None:
    schedule = schedules.schedule(study.schedule)
    laid = chain(schedule, study.teacher_steps, study.students)
    grid = uniform_grid(schedule, study.points)
    for weighting in (study.pretraining, *study.weightings):
        check_weights(laid.grid, weightings.weighting(weighting), "v")
        consistency.check(
            grid,
            weighting=weightings.weighting(weighting),
            prediction="v",
            boundary="network",
            teacher_prediction="v",
        )
    if not all(1 <= steps < study.points for steps in study.few_steps):
        raise ValueError(
            f"few_steps are {study.few_steps}; a grid of {study.points} points allows 1 to {study.points - 1}"
        )
    if study.noises < 2 or study.noises & (study.noises - 1):
        raise ValueError(f"noises is {study.noises}; it must be a power of 2")
    for name in ("round_steps", "consistency_steps", "pretraining_steps", "batch", "per_level"):
        if getattr(study, name) < 1:
            raise ValueError(f"{name} must be at least 1, not {getattr(study, name)}")


def _check_runs(study: RunStudy) -> None:
    if missing := [name for name in study.methods if name not in study.runs()]:
        raise ValueError(f"{missing[0]} is one of the methods, but there is no run of it")
    if not study.prepared:
        raise ValueError(
            "prepared names no dataset: python -m ldm_jax.data.prepare SOURCE --out DIR makes one"
        )
    if study.clips < 1:
        raise ValueError(f"clips must be at least 1, not {study.clips}")
    if study.padding not in ("", "end", "repeat"):
        raise ValueError(f"padding is {study.padding!r}; it can be 'end', 'repeat' or ''")
