"""Listening tests: OVL, REL, MOS and MUSHRA, from folders of clips to means with intervals.

python -m ldm_jax.eval.listening make --system ours=outputs/ours --system theirs=outputs/theirs --out test.html
python -m ldm_jax.eval.listening analyse results/*.json --key test.key.json
"""

import argparse
import sys

from ldm_jax.eval.listening.analyse_command import add_analyse
from ldm_jax.eval.listening.make_command import add_make


def main() -> int:
    """0 when all is written, 2 with one message where it cannot be."""
    parser = argparse.ArgumentParser(
        prog="python -m ldm_jax.eval.listening",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="make | analyse")
    add_make(commands)
    add_analyse(commands)
    arguments = parser.parse_args()
    try:
        arguments.run(arguments)
    except (ValueError, OSError) as error:
        print(f"ldm_jax.eval.listening: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
