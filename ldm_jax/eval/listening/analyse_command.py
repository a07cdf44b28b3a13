"""`analyse`: its options, and what it prints."""

import argparse
import pathlib
from typing import Any


def add_analyse(commands: Any) -> None:
    """`analyse`: from results to tables and a figure."""
    parser = commands.add_parser(
        "analyse", help="means, intervals, tests and agreement", aliases=["analyze"]
    )
    add = parser.add_argument
    add(
        "results",
        nargs="+",
        type=pathlib.Path,
        help="raters' JSON files, folders of them, or webMUSHRA's CSV files",
    )
    add("--key", type=pathlib.Path, required=True, help="that `make` wrote")
    add(
        "--out",
        type=pathlib.Path,
        metavar="FOLDER",
        help="write analysis.json, .csv, .md and .png there",
    )
    add("--partial", action="store_true", help="use the ratings of unfinished results too")
    add(
        "--max-failed",
        type=float,
        metavar="SHARE",
        help="of the checks that a rater may fail; above, their ratings are left out (default: 0.25; mushra: 0.15)",
    )
    add(
        "--normalise",
        action="store_true",
        help="z-scores for each rater: from their own mean, in their own deviations",
    )
    add("--draws", type=int, default=2000, help="of the bootstrap (default: %(default)s)")
    add("--seed", type=int, default=0, help="of the bootstrap (default: %(default)s)")
    parser.set_defaults(run=run_analyse)


def run_analyse(arguments: argparse.Namespace) -> None:
    """Reads, computes, prints and writes.

    Raises:
        ValueError: results that are not of this test, or none that count, in one sentence.
        OSError: a file that cannot be read or written.
    """
    from ldm_jax.eval.listening.analysis import analyse
    from ldm_jax.eval.listening.key import read_key
    from ldm_jax.eval.listening.outcome import Rules
    from ldm_jax.eval.listening.results import read_results
    from ldm_jax.eval.listening.tables import plain, write_all

    if arguments.max_failed is not None and not 0 <= arguments.max_failed <= 1:
        raise ValueError(
            f"--max-failed is {arguments.max_failed:g}; a share from 0 to 1 is expected"
        )
    if arguments.draws < 100:
        raise ValueError(f"--draws is {arguments.draws}; at least 100 are needed for an interval")
    key = read_key(arguments.key)
    rules = Rules(
        partial=arguments.partial,
        max_failed=arguments.max_failed,
        normalise=arguments.normalise,
        draws=arguments.draws,
        seed=arguments.seed,
    )
    analysis = analyse(read_results(arguments.results, key), key, rules)
    print(plain(analysis))
    if arguments.out is not None:
        for path in write_all(analysis, arguments.out):
            print(path)
