"""What `evaluate.py` is asked for."""

import argparse
import dataclasses
import pathlib
from collections.abc import Sequence

from ldm_jax.config import Generation
from ldm_jax.eval.metrics.estimate import Bootstrap

MODES = """
  evaluate.py GENERATED REFERENCE               clips of one system against references of the same names
  evaluate.py GENERATED                         what needs no reference: IS; with captions, the CLAP score
  evaluate.py --compare A B ... [--reference R] folders, or the report.json of earlier runs, side by side
  evaluate.py --checkpoint C [REFERENCE]        draws a clip for every caption first, for each of the settings given
"""


def parser() -> argparse.ArgumentParser:
    """The options of `evaluate.py`."""
    made = argparse.ArgumentParser(
        description="Figures of generated clips: FAD, FD, KL, IS, KID, CLAP, spectral distances, WER.",
        usage=MODES.rstrip(),
    )
    add = made.add_argument
    add(
        "inputs",
        nargs="*",
        metavar="FOLDER",
        help="folders of clips, or manifests (CSV, TSV, JSON, JSON lines)",
    )
    add(
        "--compare",
        nargs="+",
        metavar="SYSTEM",
        help="folders or reports, each as PATH or NAME=PATH",
    )
    add("--reference", type=pathlib.Path, help="what the systems of --compare are held against")
    add(
        "--captions",
        type=pathlib.Path,
        metavar="TABLE",
        help="what the clips should sound like, by name",
    )
    add(
        "--preset",
        default="ldm_jax",
        help="whose rules are followed (default: %(default)s); --presets lists them",
    )
    add("--presets", action="store_true", help="lists the presets and what they measure")
    add(
        "--metrics",
        nargs="+",
        metavar="NAME",
        help="only these figures: names of --presets, or their beginnings",
    )
    add("--name", help="of the system, in tables (default: the folder)")
    add(
        "-o",
        "--output",
        type=pathlib.Path,
        metavar="FOLDER",
        help="where report.json, .csv, .md and pictures go",
    )
    _add_networks(made.add_argument_group("networks"))
    _add_running(made.add_argument_group("running"))
    _add_drawing(made.add_argument_group("drawing clips of a checkpoint"))
    return made


def _add_networks(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--weights", type=pathlib.Path, metavar="FOLDER",
        help="where published weights lie; without it, the caches of this library and of other tools")  # fmt: skip
    add("--backbone", nargs="+", default=[], metavar="NAME=PATH",
        help="a network's file or folder: vggish=FILE, clap=FOLDER (a system of this library will do)")  # fmt: skip
    add(
        "--tokenizer",
        type=pathlib.Path,
        metavar="FOLDER",
        help="RoBERTa's, for a CLAP without its own",
    )
    add("--recogniser", metavar="FOLDER", help="a CTranslate2 Whisper model, for word error rates")


def _add_running(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--intervals", type=int, default=200, metavar="DRAWS",
        help="bootstrap draws for the 95%% intervals; 0 for none (default: %(default)s)")  # fmt: skip
    add(
        "--cache",
        type=pathlib.Path,
        metavar="FOLDER",
        help="of features (default: ~/.cache/ldm_jax/eval/features)",
    )
    add("--distributed", nargs="*", metavar="WHERE",
        help="one process of several, on TPU or Slurm; by hand: HOST:PORT, their number, this one's")  # fmt: skip
    add("--no-cache", action="store_true", help="computes all features again and keeps none")


def _add_drawing(group: argparse._ArgumentGroup) -> None:
    default, add = Generation(), group.add_argument
    add("--checkpoint", help="a folder, an official .pth file, or a Hub id")
    own = "default: that of a distilled checkpoint, else"
    add("--steps", type=int, nargs="+", default=[None], help=f"{own} {default.steps}")
    add("--sampler", nargs="+", default=[None], help=f"{own} {default.sampler}")
    add("--guidance-scale", type=float, nargs="+", default=[None],
        help=f"{own} {default.guidance_scale}")  # fmt: skip
    add(
        "--seconds",
        type=float,
        help="length of the clips (default: of what the checkpoint was trained on; published: 10.24)",
    )
    add("--eta", type=float, help="noise of DDIM, 0 to 1 (default: the generation preset's)")
    add(
        "--candidates",
        type=int,
        default=default.candidates,
        help="clips drawn a caption (default: %(default)s)",
    )
    add("--seed", type=int, default=default.seed, help="default: %(default)s")
    add("--dtype", choices=("float32", "bfloat16", "float16"), help="compute type of drawing")
    add("--generation-preset", choices=("official", "diffusers"), help="see sample.py --preset")
    add("--batch-size", type=int, default=1, help="clips drawn together (default: %(default)s)")
    add("--clips", type=int, metavar="N", help="draws only the first N captions")


@dataclasses.dataclass(frozen=True, kw_only=True)
class System:
    """One of the systems of a comparison: clips, or a report that is there already."""

    name: str
    path: pathlib.Path

    @property
    def is_report(self) -> bool:
        """Whether `path` is a report and not a manifest: both may end in .json."""
        return self.path.suffix == ".json" and b'"figures"' in self.path.read_bytes()


def systems(given: Sequence[str]) -> list[System]:
    """From PATH or NAME=PATH.

    Raises:
        ValueError: two of one name, or a path that is not there.
    """
    made: list[System] = []
    for one in given:
        name, separator, path = one.partition("=")
        if not separator:
            name, path = _called(pathlib.Path(one)), one
        if not pathlib.Path(path).exists():
            raise ValueError(f"{path} is not there")
        if name in [system.name for system in made]:
            raise ValueError(f"two systems are called {name!r}; name them: --compare NAME=PATH ...")
        made.append(System(name=name, path=pathlib.Path(path)))
    return made


def _called(path: pathlib.Path) -> str:
    """The name of a folder; of DIR/report.json that of DIR."""
    path = path.resolve()
    return path.parent.name if path.name == "report.json" else path.stem


def named_paths(given: Sequence[str]) -> dict[str, pathlib.Path]:
    """NAME=PATH of --backbone.

    Raises:
        ValueError: another form, or a path that is not there.
    """
    found = {}
    for one in given:
        name, separator, path = one.partition("=")
        if not separator or not name:
            raise ValueError(f"--backbone takes NAME=PATH, not {one!r}")
        if not pathlib.Path(path).expanduser().exists():
            raise ValueError(f"--backbone {name}: {path} is not there")
        found[name] = pathlib.Path(path).expanduser()
    return found


def bootstrap(arguments: argparse.Namespace) -> Bootstrap | None:
    """What --intervals asks for.

    Raises:
        ValueError: fewer than 20 draws, of which no interval can be told, or more than 100,000.
    """
    if arguments.intervals == 0:
        return None
    if not 20 <= arguments.intervals <= 100_000:
        raise ValueError(f"--intervals must be 0 or from 20 to 100000, not {arguments.intervals}")
    return Bootstrap(draws=arguments.intervals, seed=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Process:
    """Arguments of `jax.distributed.initialize`; None where it finds out by itself."""

    coordinator_address: str | None = None
    num_processes: int | None = None
    process_id: int | None = None


def process(arguments: argparse.Namespace) -> Process:
    """What --distributed asks for.

    Raises:
        ValueError: neither nothing nor three values, or no whole numbers.
    """
    given = arguments.distributed
    if not given:
        return Process()
    if len(given) != 3 or not (given[1].isdecimal() and given[2].isdecimal()):
        raise ValueError(
            f"--distributed takes nothing, or HOST:PORT, a number of processes and an index, not {' '.join(given)}"
        )
    return Process(
        coordinator_address=given[0], num_processes=int(given[1]), process_id=int(given[2])
    )
