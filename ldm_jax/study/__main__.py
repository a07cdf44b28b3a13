"""python -m ldm_jax.study --config=configs/study_weighting.py[:toy] --workdir=runs/study: compares weightings.

The same command goes on where it was interrupted. Fields are set as --config.FIELD=VALUE, as in `train.py`.
"""

import pathlib
import sys

from absl import flags
from ml_collections import config_flags

from ldm_jax.train.command import parse

CONFIG = config_flags.DEFINE_config_file("config", None, "a file of configs/")
WORKDIR = flags.DEFINE_string("workdir", None, "the study's folder: results, table, pictures")


def main() -> int:
    """0 at the end of the study, 143 after a signal (run it again to go on), 2 with one sentence."""
    try:
        parse(sys.argv)
        if CONFIG.value is None or WORKDIR.value is None:
            raise ValueError("give --config=configs/study_weighting.py and --workdir=FOLDER")

        from ldm_jax.parallel.mesh import enable_compilation_cache
        from ldm_jax.study.driver import run
        from ldm_jax.study.settings import Study
        from ldm_jax.train.preemption import EXIT_CODE

        if not isinstance(CONFIG.value, Study):
            raise ValueError(
                "the config is no study but a run of train.py; give configs/study_weighting.py"
            )
        enable_compilation_cache()
        return 0 if run(CONFIG.value, pathlib.Path(WORKDIR.value)) else EXIT_CODE
    except (ValueError, OSError) as error:
        print(f"ldm_jax.study: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
