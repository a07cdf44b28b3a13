"""python -m ldm_jax.data.prepare SOURCE --out DIR: audio of any kind as the rows of a TFDS dataset.

SOURCE is a folder, a dataset in the layout in which it was published, or the name of a prepared TFDS dataset. Its
clips become FLAC or Opus of one channel and one rate in DIR/NAME/1.0.0, which `tfds.data_source(NAME, data_dir=DIR)`
reads without TensorFlow. What cannot be used is left out, with the reason in omissions.jsonl; report.html shows what
there is. Run it again after an interruption and it goes on where it was.
"""

import argparse
import os
import pathlib
import sys

from ldm_jax.data.prepare.report import summary
from ldm_jax.data.prepare.run import default_name, prepare
from ldm_jax.data.prepare.settings import Settings
from ldm_jax.data.prepare.splits import SPLITS

# Those of `open_source`.
SOURCE_OPTIONS = ("layout", "captions", "audio", "data_dir", "split", "names", "spoken", "subset",
                  "exclude", "sample_rate")  # fmt: skip


def main() -> int:
    """0 when the dataset is there, 2 with one message where it cannot be, 130 when stopped by Ctrl-C."""
    arguments = _parser().parse_args()
    try:
        return _run(arguments)
    except (ValueError, OSError) as error:
        print(f"ldm_jax.data.prepare: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "ldm_jax.data.prepare: stopped; the same command goes on from here",
            file=sys.stderr,
        )
        return 130


def _parser() -> argparse.ArgumentParser:
    from ldm_jax.data.sources import layouts

    known = "\n".join(f"  {name:<11} {what}" for name, what in layouts().items())
    parser = argparse.ArgumentParser(
        prog="python -m ldm_jax.data.prepare",
        description=str(__doc__).partition("\n\n")[2],
        epilog=f"layouts:\n{known}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", help="a folder or file, or the name of a prepared TFDS dataset")
    parser.add_argument("--out", type=pathlib.Path, required=True, metavar="DIR",
        help="where datasets lie; this one comes to DIR/NAME/1.0.0")  # fmt: skip
    parser.add_argument("--name", help="of the dataset (default: after the source)")
    _add_source(parser.add_argument_group("the source"))
    _add_audio(parser.add_argument_group("the audio"))
    _add_choice(parser.add_argument_group("which clips"))
    _add_work(parser.add_argument_group("the work"))
    return parser


# fmt: off
def _add_source(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--layout", help="how it lies on disk, of those below (default: told by its files)")
    add("--captions", type=pathlib.Path, metavar="FILE", help="its table, where that lies apart")
    add("--audio", type=pathlib.Path, metavar="DIR", help="its audio, where that lies apart")
    add("--data-dir", type=pathlib.Path, metavar="DIR", help="where a TFDS dataset lies")
    add("--split", choices=SPLITS, help="puts every clip into it, whatever the source says")
    add("--names", choices=("none", "file", "path"),
        help="makes captions of names where there are no others")
    add("--spoken", action=argparse.BooleanOptionalAction,
        help="whether texts that are not called captions are transcripts (default: by the layout)")
    add("--subset", help="a part of it, as M of GigaSpeech")
    add("--exclude", type=pathlib.Path, metavar="FILE",
        help="JSON of names to leave out, as WavCaps has it")
    add("--source-rate", type=int, dest="sample_rate", metavar="HZ",
        help="of samples whose dataset does not tell it")


def _add_audio(group: argparse._ArgumentGroup) -> None:
    add, default = group.add_argument, Settings()
    add("--rate", type=int, default=default.rate, help="in Hz (default: %(default)s)")
    add("--codec", choices=("flac", "opus"), default=default.codec,
        help="flac keeps every 16-bit sample, opus takes an eighth of the room (default: %(default)s)")
    add("--channels", choices=("mean", "first"), default=default.channels,
        help="how several become one; first is the published way (default: %(default)s)")
    add("--max-seconds", type=float, default=default.max_seconds, metavar="S",
        help="longer clips are cut, or left out if they have a transcript (default: %(default)s)")
    add("--min-seconds", type=float, default=default.min_seconds, metavar="S",
        help="shorter clips are left out (default: %(default)s)")


def _add_choice(group: argparse._ArgumentGroup) -> None:
    add, default = group.add_argument, Settings()
    add("--validation", type=float, default=default.validation, metavar="SHARE",
        help="of the clips whose source says nothing of splits (default: %(default)s)")
    add("--test", type=float, default=default.test, metavar="SHARE",
        help="likewise (default: %(default)s)")
    add("--require", choices=("caption", "transcript"), default=default.require,
        help="leaves out clips without one")
    add("--kind", choices=("sound", "music", "speech"), default=default.kind,
        help="leaves out clips of another kind")
    add("--limit", type=int, metavar="N", help="only the first N clips")


def _add_work(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--workers", type=int, default=_cores(), metavar="N",
        help="processes (default: one for each core, here %(default)s)")
    add("--shard-clips", type=int, metavar="N",
        help="clips in a file of the dataset (default: 128, or so many that 256 files do)")
    add("--overwrite", action="store_true", help="begin anew, whatever lies there")
    add("--encode", metavar="CHECKPOINT",
        help="then store what its networks make of the clips, as python -m ldm_jax.data.encoding")
    add("--audiomae", metavar="FILE", help="AudioMAE's weights, where the checkpoint has none")
# fmt: on


def _cores() -> int:
    """Those that this process may use, where the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _run(arguments: argparse.Namespace) -> int:
    settings = Settings(
        rate=arguments.rate,
        codec=arguments.codec,
        channels=arguments.channels,
        max_seconds=arguments.max_seconds,
        min_seconds=arguments.min_seconds,
        validation=arguments.validation,
        test=arguments.test,
        require=arguments.require,
        kind=arguments.kind,
        limit=arguments.limit,
        shard_clips=arguments.shard_clips,
    )
    if arguments.workers < 1:
        raise ValueError(f"--workers must be 1 or more, not {arguments.workers}")
    from ldm_jax.data.sources import open_source

    options = {name: getattr(arguments, name) for name in SOURCE_OPTIONS}
    given = {name: value for name, value in options.items() if value is not None}
    source = open_source(arguments.source, **given)
    result = prepare(
        source,
        arguments.out,
        name=arguments.name or default_name(source.name),
        settings=settings,
        origin=arguments.source,
        workers=arguments.workers,
        overwrite=arguments.overwrite,
    )
    print(f"{result.folder}, from {source.layout} {arguments.source}")
    print(summary(result.report, result.omissions))
    print(f"figures in {result.folder / 'report.html'}")
    if arguments.encode:
        from ldm_jax.data.encoding import command

        command.run(result.folder, arguments.encode, audiomae=arguments.audiomae)
    return 0


if __name__ == "__main__":
    sys.exit(main())
