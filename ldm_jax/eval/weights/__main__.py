"""python -m ldm_jax.eval.weights NAME ...: gets published weights; without a name, lists what is known and here.

A download that was interrupted goes on where it stopped. CLAP needs `roberta`, its tokeniser, too.
"""

import argparse
import pathlib
import sys

from ldm_jax.eval.cache import home
from ldm_jax.eval.weights.download import download
from ldm_jax.eval.weights.finding import WeightsError, find
from ldm_jax.eval.weights.published import DEFAULTS, PUBLISHED, ROBERTA


def main() -> int:
    """0 when all are there, 2 with one message where one cannot be had."""
    parser = argparse.ArgumentParser(prog="python -m ldm_jax.eval.weights", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PUBLISHED))
    parser.add_argument(
        "--to", type=pathlib.Path, default=home(), metavar="FOLDER", help="default: %(default)s"
    )
    arguments = parser.parse_args()
    arguments.names = [DEFAULTS.get(name, name) for name in arguments.names]
    if unknown := [name for name in arguments.names if name not in PUBLISHED]:
        known = ", ".join(PUBLISHED)
        print(f"ldm_jax.eval.weights: {unknown[0]!r} is not among {known}", file=sys.stderr)
        return 2
    folder = arguments.to.expanduser()
    if not arguments.names:
        _list(folder)
        return 0
    try:
        for name in arguments.names:
            place = folder / ROBERTA if name == "roberta" else folder
            print(download(PUBLISHED[name], place, progress=sys.stderr.isatty()))
    except (ValueError, OSError) as error:
        print(f"ldm_jax.eval.weights: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("ldm_jax.eval.weights: stopped; run again to go on from here", file=sys.stderr)
        return 130
    return 0


def _list(folder: pathlib.Path) -> None:
    own = folder if folder.is_dir() else None
    width = max(map(len, PUBLISHED))
    for name, published in PUBLISHED.items():
        try:
            where = str(find(name, folder=own))
        except WeightsError:
            size = f" ({published.size / 1e9:.2f} GB)" if published.size else ""
            where = f"not here; from {published.address}{size}"
        print(f"{name:{width}}  {where}")


if __name__ == "__main__":
    sys.exit(main())
