"""`make`: its options, and what it prints."""

import argparse
import json
import math
import pathlib
import sys
from collections.abc import Callable, Mapping
from typing import Any, cast

KINDS = ("instruction", "noise", "mismatch", "repeat")  # as in `checks`, which imports more


def add_make(commands: Any) -> None:
    """`make`: from folders to a page, or to webMUSHRA's files."""
    parser = commands.add_parser("make", help="a blind page from several systems' clips")
    for options in (_add_design, _add_page, _add_output):
        options(parser.add_argument)
    parser.set_defaults(run=run_make)


def _add_design(add: Callable[..., Any]) -> None:
    add(
        "--system",
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help="clips of one system, a folder or a manifest; once for each",
    )
    add(
        "--captions",
        type=pathlib.Path,
        metavar="TABLE",
        help="what the clips should sound like (CSV, TSV, JSON lines ...); else what lies beside them",
    )
    add(
        "--questions",
        default="ovl,rel",
        help="of ovl, rel and mos, with commas, or mushra alone (default: %(default)s)",
    )
    add(
        "--scale",
        type=int,
        choices=(5, 100),
        default=5,
        help="1 to 5, or 0 to 100 (default: %(default)s)",
    )
    add("--items", type=int, metavar="N", help="draw so many captions (default: all)")
    add("--clips", type=int, metavar="N", help="that one rater hears (default: all, at most 60)")
    add(
        "--checks",
        default=",".join(KINDS),
        help="attention checks (default: %(default)s); '' for none",
    )
    add("--seed", type=int, default=0, help="of all draws (default: %(default)s)")
    add("--reference", metavar="NAME", help="of mushra: the system that is the reference")


def _add_page(add: Callable[..., Any]) -> None:
    add(
        "--loudness",
        type=float,
        default=-23.0,
        metavar="LUFS",
        help="of all clips (default: %(default)s)",
    )
    add("--seconds", type=float, help="cut clips there (default: whole)")
    add(
        "--listen",
        type=float,
        default=1.0,
        metavar="PART",
        help="of a clip to be heard before it can be rated (default: %(default)s)",
    )
    add(
        "--codec",
        choices=("flac", "opus"),
        default="flac",
        help="opus is a fraction of the size, and can be heard (default: %(default)s)",
    )
    add("--title", default="Listening test", help="raters read it (default: %(default)s)")
    add(
        "--intro",
        type=pathlib.Path,
        metavar="FILE",
        help="text that raters read first, paragraphs parted by empty lines",
    )
    add("--post", default="", metavar="URL", help="gets every result as JSON")


def _add_output(add: Callable[..., Any]) -> None:
    add(
        "--out",
        type=pathlib.Path,
        default=pathlib.Path("listening.html"),
        help="the page (default: %(default)s); the key comes beside it as NAME.key.json",
    )
    add("--folder", action="store_true", help="--out is a folder with the sounds beside the page")
    add(
        "--webmushra",
        type=pathlib.Path,
        metavar="FOLDER",
        help="write files for webMUSHRA there instead of a page",
    )
    add("--overwrite", action="store_true", help="replace the page and the key of another test")


def run_make(arguments: argparse.Namespace) -> None:
    """Gathers, makes and writes.

    Raises:
        ValueError: an option or a clip that cannot be used, in one sentence.
        OSError: a file that cannot be read or written.
    """
    from ldm_jax.eval.listening.material import drawn, gather

    systems = _systems(arguments.system)
    _check(arguments)
    for path in (arguments.captions, arguments.intro):
        if path is not None and not path.is_file():
            raise ValueError(f"{path} is not there")
    items, problems = gather(systems, captions=arguments.captions)
    items = drawn(items, arguments.items, seed=arguments.seed)
    for problem in problems:
        print(f"note: {problem}", file=sys.stderr)
    if arguments.webmushra is not None:
        from ldm_jax.eval.listening.webmushra import export

        for line in export(items, arguments.webmushra, _export_settings(arguments)):
            print(line)
        return
    _make_page(arguments, items)


def _make_page(arguments: argparse.Namespace, items: Any) -> None:
    from ldm_jax.audio.files import whole_file
    from ldm_jax.eval.listening.making import make
    from ldm_jax.eval.listening.page import write_folder, write_page

    key_path = arguments.out.with_name(f"{arguments.out.name.removesuffix('.html')}.key.json")
    if arguments.folder and arguments.out.exists():
        raise ValueError(f"{arguments.out} is there already; give a new folder, or remove it first")
    test = make(items, _settings(arguments))
    _spare(key_path, test.page["test"], arguments.overwrite)
    for remark in test.remarks:
        print(f"note: {remark}", file=sys.stderr)
    with whole_file(key_path) as temporary:  # first: a page without its key is of no use
        temporary.write_text(json.dumps(test.key, indent=1) + "\n")
    size = (write_folder if arguments.folder else write_page)(test, arguments.out)
    rows = test.page["rows"]
    length, minutes = max(map(len, rows)), math.ceil(test.minutes)
    compared = f"{_counted(len(items), 'item')} of {_counted(len(test.key['systems']), 'system')}"
    print(
        f"{arguments.out}: {compared}, {size / 1e6:.1f} MB\n"
        f"  a rater hears {length} clips, checks included, in about {_counted(minutes, 'minute')}"
    )
    if len(rows) > 1:
        print(
            f"  every clip is heard equally often after {len(rows)} raters: send links that end in"
            f" ?rater=1 to ?rater={len(rows)}, and from there on"
        )
    else:
        print("  every rater hears every clip: send links that end in ?rater=1, ?rater=2 and so on")
    print(f"{key_path}: which clip is whose. Keep it from raters; the analysis needs it.")
    if size > 150e6 and not arguments.folder:
        print(
            "  the page is large: --folder keeps sounds beside it, --codec opus makes them smaller"
        )


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def _spare(key_path: pathlib.Path, test: str, overwrite: bool) -> None:
    """Raises ValueError where a key would be lost that results may be waiting for."""
    if overwrite or not key_path.exists():
        return
    try:
        before = json.loads(key_path.read_bytes())["test"]
    except (ValueError, KeyError, TypeError):
        before = "unknown"
    if before != test:
        raise ValueError(
            f"{key_path} is the key of another test ({before}), whose results need it:"
            " choose another --out, or give --overwrite"
        )


def _systems(given: list[str]) -> Mapping[str, pathlib.Path]:
    systems: dict[str, pathlib.Path] = {}
    for each in given:
        name, equals, folder = each.partition("=")
        if not (name and equals and folder):
            raise ValueError(f"--system is {each!r}; NAME=FOLDER is expected")
        if name in systems:
            raise ValueError(f"--system {name} is given twice")
        systems[name] = pathlib.Path(folder)
    if not systems:
        raise ValueError("there is no system to be rated: give --system NAME=FOLDER for each")
    return systems


def _check(arguments: argparse.Namespace) -> None:
    checks = [
        ("--loudness", -60 <= arguments.loudness <= -10, "-60 to -10 LUFS are"),
        ("--listen", 0 < arguments.listen <= 1, "a part above 0 and up to 1 is"),
        (
            "--seconds",
            arguments.seconds is None or 0.1 <= arguments.seconds < math.inf,
            "0.1 or more is",
        ),
        ("--seed", arguments.seed >= 0, "0 or more is"),
        (
            "--post",
            arguments.post == "" or arguments.post.startswith(("https://", "http://")),
            "an address with https:// is",
        ),
    ]
    for option, good, expected in checks:
        if not good:
            value = getattr(arguments, option[2:])
            raise ValueError(f"{option} is {value}; {expected} expected")
    unknown = [kind for kind in _checks(arguments) if kind not in KINDS]
    if unknown:
        raise ValueError(f"--checks has {unknown[0]!r}; it can have {', '.join(KINDS)}")


def _checks(arguments: argparse.Namespace) -> tuple[str, ...]:
    return tuple(kind.strip() for kind in arguments.checks.split(",") if kind.strip())


def _intro(path: pathlib.Path | None) -> tuple[str, ...]:
    if path is None:
        return ()
    try:
        written = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8") from None
    return tuple(" ".join(part.split()) for part in written.split("\n\n") if part.strip())


def _settings(arguments: argparse.Namespace) -> Any:
    from ldm_jax.eval.listening.making import Settings
    from ldm_jax.eval.listening.questions import questions_named

    if arguments.questions.strip().lower() == "mushra":
        raise ValueError("mushra needs webMUSHRA: give --webmushra FOLDER and --reference NAME")
    return Settings(
        questions=questions_named(arguments.questions),
        title=arguments.title,
        intro=_intro(arguments.intro),
        scale=arguments.scale,
        length=arguments.clips,
        checks=cast(Any, _checks(arguments)),
        loudness=arguments.loudness,
        seconds=arguments.seconds,
        listen=arguments.listen,
        codec=arguments.codec,
        post=arguments.post,
        seed=arguments.seed,
    )


def _export_settings(arguments: argparse.Namespace) -> Any:
    from ldm_jax.eval.listening.questions import questions_named
    from ldm_jax.eval.listening.webmushra import Export

    mushra = arguments.questions.strip().lower() == "mushra"
    return Export(
        questions=() if mushra else questions_named(arguments.questions),
        reference=arguments.reference,
        title=arguments.title,
        intro=_intro(arguments.intro),
        loudness=arguments.loudness,
        seconds=arguments.seconds,
        seed=arguments.seed,
    )
