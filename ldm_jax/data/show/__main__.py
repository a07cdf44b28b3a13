"""python -m ldm_jax.data.show DATASET: a page to look at a dataset and listen to it.

Draws clips of a prepared dataset, or of any source as it lies, and writes one HTML file with their spectrograms,
players, captions and what else is known of them.
"""

import argparse
import pathlib
import sys

from ldm_jax.audio.files import whole_file


def main() -> int:
    """0 when the page is written, 2 with one message where it cannot be."""
    parser = argparse.ArgumentParser(prog="python -m ldm_jax.data.show", description=__doc__)
    parser.add_argument(
        "dataset", help="folder or name of a prepared dataset, or any source of `data.prepare`"
    )
    parser.add_argument("--split", help="draw from this one alone (default: all)")
    parser.add_argument("--count", type=int, default=24, help="clips (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw (default: %(default)s)")
    parser.add_argument("--layout", help="of a source, where it is not found out")
    parser.add_argument(
        "--out", type=pathlib.Path, default=pathlib.Path("page.html"), help="default: %(default)s"
    )
    arguments = parser.parse_args()
    if arguments.count < 1:
        parser.error(f"--count must be 1 or more, not {arguments.count}")
    try:
        return _run(arguments)
    except (ValueError, OSError) as error:
        print(f"ldm_jax.data.show: {error}", file=sys.stderr)
        return 2


def _run(arguments: argparse.Namespace) -> int:
    from ldm_jax.data.show.page import page
    from ldm_jax.data.show.sampling import look

    summary, cards = look(
        arguments.dataset,
        split=arguments.split,
        count=arguments.count,
        seed=arguments.seed,
        layout=arguments.layout,
    )
    content = page(summary, cards).encode("utf-8")
    with whole_file(arguments.out) as temporary:
        temporary.write_bytes(content)
    print(
        f"{arguments.out}: {len(cards):,} of {summary.clips:,} clips, {len(content) / 1e6:.1f} MB"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
