"""Trains one network, or a few together.

python train.py --config=configs/small/vae.py --workdir=runs/vae
python train.py --config=configs/small/vae.py --workdir=runs/vae --config.optimizer.learning_rate=1e-4
python -m ldm_jax.parallel.launch --processes 2 -- train.py --config=configs/small/vae.py --workdir=runs/vae

The same command goes on where a run was interrupted. `configs/` says what each run costs and gives.
"""

import pathlib
import sys

from absl import flags
from ml_collections import config_flags

from ldm_jax.train.command import parse

CONFIG = config_flags.DEFINE_config_file("config", None, "a file of configs/")
WORKDIR = flags.DEFINE_string("workdir", None, "the run's folder: checkpoints, log, previews")
COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "host:port of the first of several processes"
)
PROCESSES = flags.DEFINE_integer("processes", None, "how many there are, where nothing tells")
PROCESS = flags.DEFINE_integer("process", None, "which of them this is")


def main() -> int:
    """0 at the end of the run, 143 after a signal (run it again to go on), 1 and 2 with one sentence."""
    try:
        parse(sys.argv)
        if CONFIG.value is None or WORKDIR.value is None:
            raise ValueError("give --config=configs/NAME.py and --workdir=FOLDER")

        # These import jax: not before the flags are known to be good.
        from ldm_jax.parallel import distributed
        from ldm_jax.parallel.host_memory import keep_freed_memory

        keep_freed_memory()
        try:
            distributed.start(COORDINATOR.value, PROCESSES.value, PROCESS.value)
        except RuntimeError as error:
            raise ValueError(error) from None

        from ldm_jax.train.loop import train
        from ldm_jax.train.preemption import EXIT_CODE

        return 0 if train(CONFIG.value, pathlib.Path(WORKDIR.value)) else EXIT_CODE
    except (ValueError, OSError) as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        from ldm_jax.train.checkpoints import CheckpointingError
        from ldm_jax.train.loop import BadUpdatesError

        if not isinstance(error, (CheckpointingError, BadUpdatesError)):
            raise
        print(f"train.py: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
