"""How good are these clips?

python evaluate.py outputs/ours references/ --preset audioldm_eval -o results/ours
python evaluate.py --compare ours=outputs/ours theirs=outputs/theirs --reference references/ -o results
python evaluate.py --checkpoint FOLDER references/ --captions captions.csv --steps 10 25 100 -o results
"""

import sys
import warnings

from ldm_jax.eval.command import parser


def main() -> int:
    """Prints and writes what the command line asks for; 0 when all was measured, 2 for bad input."""
    arguments = parser().parse_args()
    warnings.formatwarning = lambda message, *_, **__: f"evaluate.py: {message}\n"
    from ldm_jax.eval import running  # imports jax: not before the options are known to be options

    try:
        running.run(arguments)
    except (ValueError, OSError, ImportError) as error:
        print(f"evaluate.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
