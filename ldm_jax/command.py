"""What `sample.py` is asked for: its options, the clips they amount to, and the record kept beside each clip."""

import argparse
import dataclasses
import importlib.metadata
import json
import os
import pathlib
import re
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from ldm_jax import students
from ldm_jax.audio.files import check_format, whole_file, write_audio, write_spectrogram
from ldm_jax.config import PRESETS, Generation, preset
from ldm_jax.diffusion.samplers import SAMPLERS
from ldm_jax.shipped import QUALITIES, QUICK
from ldm_jax.text.prompts import Request, read_prompts

SHARED = (
    "checkpoint",
    "preset",
    "dtype",
    "seconds",
    "steps",
    "guidance_scale",
    "sampler",
    "eta",
    "spacing",
    "karras",
    "candidates",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `sample.py`; defaults are those of `Generation`, or what a checkpoint was distilled for."""
    default = Generation()
    samplers = sorted({*SAMPLERS, *(name for own in students.SAMPLERS.values() for name in own)})
    add = parser.add_argument
    add("prompt", nargs="?", help="what is to be heard")
    add(
        "--prompts", type=pathlib.Path, metavar="FILE", help="one clip a line: .txt, .csv or .jsonl"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--checkpoint",
        default=QUICK,
        help="a folder, an official .pth file, or a Hub id such as cvssp/audioldm2 (default: %(default)s, which comes "
        "with this package)",
    )
    which.add_argument(
        "--quality",
        dest="checkpoint",
        type=_of_quality,
        metavar="{" + ",".join(QUALITIES) + "}",
        help="of the small model that comes with this package: itself (any sampler and steps; by default 200), its "
        "student of 25 steps, or of one",
    )
    add("-o", "--output", type=pathlib.Path, default=pathlib.Path("outputs"),
        help="a .wav, .flac or .ogg file, or a folder (default: outputs)")  # fmt: skip
    add(
        "--seconds",
        type=float,
        help="length (default: of what the checkpoint was trained on; published: 10.24)",
    )
    add("--steps", type=int,
        help=f"sampling steps (default: those of a distilled checkpoint, else {default.steps})")  # fmt: skip
    add("--guidance-scale", type=float,
        help="weight of the prompt; 1 switches guidance off "
        f"(default: that of a distilled checkpoint, else {default.guidance_scale})")  # fmt: skip
    add("--negative-prompt", default="", help="what is not to be heard")
    add("--candidates", type=int, default=default.candidates,
        help="clips drawn a prompt, the best by CLAP is kept (default: %(default)s)")  # fmt: skip
    add("--transcript", help="words to be spoken, for text-to-speech checkpoints")
    add("--sampler", choices=samplers,
        help=f"default: that of a distilled checkpoint, else {default.sampler}")  # fmt: skip
    add("--eta", type=float, help="noise of DDIM, 0 to 1 (default: the preset's)")
    add(
        "--spacing",
        choices=("leading", "trailing", "linspace", "official"),
        help="of the timesteps (default: the preset's)",
    )
    add("--karras", action="store_true", help="Karras noise levels, where the sampler has them")
    add("--seed", type=int, default=default.seed, help="default: %(default)s")
    add("--dtype", choices=("float32", "bfloat16", "float16"),
        help="compute type (default: bfloat16 on GPU and TPU, float32 on CPU)")  # fmt: skip
    add("--preset", choices=sorted(PRESETS), help="whose behaviour is followed (default: official)")
    add("--batch-size", type=int, default=1, help="prompts drawn together (default: %(default)s)")
    add("--spectrogram", action="store_true", help="a picture beside each clip")
    add("--overwrite", action="store_true", help="draw clips again that are there already")


def _of_quality(name: str) -> str:
    """The checkpoint of the package."""
    if name not in QUALITIES:
        raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(QUALITIES)}")
    return QUALITIES[name]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """One clip to be made: where it goes and everything that decides how it sounds."""

    audio: pathlib.Path
    settings: dict[str, Any]
    spectrogram: bool

    @property
    def record(self) -> pathlib.Path:
        """The JSON beside the clip; written last, so that it stands for a finished clip."""
        return self.audio.with_suffix(".json")

    @property
    def seconds(self) -> float:
        """Length of the clip."""
        return self.settings["seconds"]

    @property
    def finished(self) -> bool:
        """Whether a clip of just these settings lies there."""
        try:
            return (
                self.audio.exists()
                and json.loads(self.record.read_text())["settings"] == self.settings
            )
        except (OSError, ValueError, KeyError, TypeError):
            return False

    @staticmethod
    def batches(jobs: Sequence["Job"], size: int) -> Iterator[list["Job"]]:
        """`jobs` in groups of `size`; the last may be smaller."""
        for start in range(0, len(jobs), size):
            yield list(jobs[start : start + size])

    def write(self, clips: Any, row: int, model: Any) -> None:
        """Writes clip `row` of `clips`, its picture where asked, and last its record."""
        write_audio(self.audio, clips.audio[row], clips.sample_rate)
        if self.spectrogram:
            write_spectrogram(
                self.audio.with_suffix(".png"),
                clips.mel[row],
                seconds=clips.mel.shape[1] * model.seconds_per_frame,
                title=self.settings["prompt"][:90],
            )
        record = {
            "settings": self.settings,
            "sample_rate": clips.sample_rate,
            "score": None if clips.scores is None else float(clips.scores[row]),
            "model": model.description,
            "versions": {
                name: importlib.metadata.version(name)
                for name in ("ldm_jax", "jax", "jaxlib", "flax")
            },
        }
        with whole_file(self.record) as temporary:
            temporary.write_text(json.dumps(record, indent=2) + "\n")


def request_of(batch: Sequence[Job], *, size: int) -> dict[str, Any]:
    """Arguments of `AudioLDM2.generate` for a batch, filled up to `size` rows so that no new shape is compiled."""
    rows = [*batch, *[batch[-1]] * (size - len(batch))]
    settings = [job.settings for job in rows]
    first = settings[0]
    shared = {key: first[key] for key in SHARED if key not in ("checkpoint", "preset", "dtype")}
    transcripts = [one["transcript"] for one in settings]
    return {
        "prompts": [one["prompt"] for one in settings],
        "negative_prompt": [one["negative_prompt"] for one in settings],
        "transcript": None if transcripts == [None] * len(rows) else transcripts,
        "seed": [one["seed"] for one in settings],
        **shared,
    }


def plan_jobs(arguments: argparse.Namespace) -> tuple[list[Job], int]:
    """The clips that are still to be made, and how many are there already.

    Raises:
        ValueError: options that contradict each other, are out of range or not what the checkpoint was distilled for,
            a bad prompt file, a checkpoint that is none.
        OSError: a prompt file that cannot be read, an output that cannot be written.
    """
    if (arguments.prompt is None) == (arguments.prompts is None):
        raise ValueError("give either a prompt or --prompts FILE")
    if not 1 <= arguments.batch_size <= 1024:
        raise ValueError(f"--batch-size must be from 1 to 1024, not {arguments.batch_size}")
    given = {field.name: getattr(arguments, field.name) for field in dataclasses.fields(Generation)}
    Generation(**{name: value for name, value in given.items() if value is not None})
    if arguments.prompts is None:
        if not arguments.prompt.strip():
            raise ValueError("the prompt is empty")
        requests = [Request(prompt=arguments.prompt)]
    else:
        requests = read_prompts(arguments.prompts)
    paths = _paths(arguments.output, requests, several=arguments.prompts is not None)
    _check_writable(paths[0].parent)
    from ldm_jax.convert.load import read_own  # imports the networks

    own = read_own(arguments.checkpoint)
    distilled = own.distilled
    if given["seconds"] is None:
        given["seconds"] = own.seconds
    asked = students.settings(distilled, **given)
    used = vars(arguments) | dataclasses.asdict(asked)
    shared = {name: used[name] for name in SHARED}
    shared["preset"] = shared["preset"] or preset("official").name
    jobs = [
        Job(
            audio=path,
            spectrogram=arguments.spectrogram,
            settings={
                "prompt": request.prompt,
                "negative_prompt": request.negative_prompt or arguments.negative_prompt,
                "transcript": request.transcript or arguments.transcript,
                "seed": arguments.seed if request.seed is None else request.seed,
                **shared,
            },
        )
        for request, path in zip(requests, paths, strict=True)
    ]
    for job in jobs:
        Generation(seed=job.settings["seed"])
    students.check_negatives(distilled, asked, [job.settings["negative_prompt"] for job in jobs])
    waiting = jobs if arguments.overwrite else [job for job in jobs if not job.finished]
    return waiting, len(jobs) - len(waiting)


def _paths(
    output: pathlib.Path, requests: Sequence[Request], *, several: bool
) -> list[pathlib.Path]:
    if output.suffix and not output.is_dir():
        check_format(output)
        if several:
            raise ValueError(f"--prompts needs a folder for -o, not the file {output}")
        return [output]
    if output.exists() and not output.is_dir():
        raise ValueError(
            f"{output} is a file without a suffix; -o takes a .wav, .flac or .ogg file, or a folder"
        )
    names = [_slug(request.name or request.prompt) for request in requests]
    if several:
        digits = len(str(len(names) - 1))
        names = [f"{index:0{digits}d}-{name}" for index, name in enumerate(names)]
    return [output / f"{name}.wav" for name in names]


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "clip"


def _check_writable(folder: pathlib.Path) -> None:
    """Raises OSError unless a file can be made in `folder`, which is created if need be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder)
    except OSError as error:
        raise OSError(f"cannot write to {folder}: {error.strerror}") from None
    os.close(handle)
    os.unlink(name)
