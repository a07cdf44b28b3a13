"""python -m ldm_jax.convert SRC DST: a published checkpoint, in any layout, as a folder of ours or of diffusers'.

SRC is a folder in the diffusers layout, an official single `.pth`, a folder of ours, a Hub id, or with --network the
weights of one network alone (AudioMAE, CLAP, FLAN-T5, GPT-2, VITS ...). Nothing is written unless everything fits.
"""

import argparse
import pathlib
import sys

from ldm_jax.convert import diffusers_folder, native, single
from ldm_jax.convert.checkpoint import count_params
from ldm_jax.convert.load import load

LAYOUTS = {"ldm_jax": native.save, "diffusers": diffusers_folder.save}


def main() -> int:
    """0 when the folder is written, 2 with one message where it cannot be."""
    parser = argparse.ArgumentParser(prog="python -m ldm_jax.convert", description=__doc__)
    parser.add_argument("source", help="folder, file or Hub id")
    parser.add_argument("destination", type=pathlib.Path, help="folder to write")
    parser.add_argument(
        "--layout", choices=sorted(LAYOUTS), default="ldm_jax", help="of the folder written"
    )
    parser.add_argument(
        "--network", choices=sorted(single.READERS), help="the source is this network alone"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the folder if it is there"
    )
    arguments = parser.parse_args()
    try:
        source, network = arguments.source, arguments.network
        checkpoint = single.load(source, network) if network else load(source)
        LAYOUTS[arguments.layout](checkpoint, arguments.destination, overwrite=arguments.overwrite)
    except (ValueError, OSError) as error:
        print(f"ldm_jax.convert: {error}", file=sys.stderr)
        return 2
    for name, params in checkpoint.params.items():
        print(f"{name:16} {count_params(params):>13,} parameters")
    print(f"written to {arguments.destination}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
