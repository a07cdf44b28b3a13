"""python -m ldm_jax.data.encoding PREPARED CHECKPOINT: stores what the frozen networks make of a prepared dataset.

Latents of the VAE, LOA of AudioMAE, FLAN-T5's states and CLAP's vectors of captions and sounds are computed on all
devices and written beside the dataset; training then reads them in place of sound. Run it again after an interruption
and it goes on where it was.
"""

import argparse
import sys

from ldm_jax.data.encoding.settings import WHAT, Settings


def main() -> int:
    """0 when everything is there, 2 with one message where it cannot be, 130 when stopped by Ctrl-C."""
    arguments = vars(_parser().parse_args())
    from ldm_jax.data.encoding.command import (
        run,
    )  # slow to import; not before the arguments are good

    try:
        run(**arguments)
    except (ValueError, OSError) as error:
        print(f"ldm_jax.data.encoding: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("ldm_jax.data.encoding: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    defaults = Settings()
    parser = argparse.ArgumentParser(
        prog="python -m ldm_jax.data.encoding", description=(__doc__ or "").partition("\n\n")[2]
    )
    parser.add_argument("prepared", help="folder or name of a prepared dataset")
    parser.add_argument("checkpoint", help="folder, file or Hub id of a whole system")
    parser.add_argument(
        "--what",
        nargs="+",
        choices=WHAT,
        metavar="ENCODING",
        help=f"of {', '.join(WHAT)} (default: all that the checkpoint can make)",
    )
    parser.add_argument(
        "--audiomae", help="AudioMAE's weights, which diffusers folders lack; for loa"
    )
    parser.add_argument("--seconds", type=float, default=defaults.seconds, help="of a window")
    parser.add_argument(
        "--shortest",
        type=float,
        default=defaults.shortest,
        help="seconds that the rest of a clip must have to become a window of its own",
    )
    parser.add_argument(
        "--loa",
        choices=("pooled", "grid"),
        default=defaults.loa,
        help="8 tokens a window, or all of AudioMAE's features, for speech and for random pooling",
    )
    parser.add_argument(
        "--padding",
        choices=("end", "repeat"),
        default=defaults.padding,
        help="zeros behind a short window, or the window again and again, but for speech",
    )
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default=defaults.dtype)
    parser.add_argument("--batch", type=int, default=8, help="windows at a time on each device")
    return parser


if __name__ == "__main__":
    sys.exit(main())
