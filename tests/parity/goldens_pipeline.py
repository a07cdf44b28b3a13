"""Writes tests/golden/pipeline_*.npz: clips by diffusers' AudioLDM2Pipeline on random checkpoints."""

import pathlib
import tempfile

from tests import golden
from tests.cases_pipeline import CASES
from tests.parity import oracle_pipeline


def write() -> None:
    for name, case in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            outputs = oracle_pipeline.run(case, pathlib.Path(folder) / "checkpoint")
        golden.save(f"pipeline_{name}", shapes={}, outputs=outputs)
