"""Writes tests/golden/joint_*.npz."""

from tests import cases_joint as cases
from tests.golden import save
from tests.parity import oracle_joint as oracle


def write() -> None:
    for kind in cases.UNETS:
        shapes = oracle.shapes(kind)
        tensors = cases.weights(shapes)
        outputs = {}
        for name in cases.CASES:
            if cases.kind(name) == kind:
                outputs |= oracle.run(name, tensors)
        save(f"joint_{kind}", shapes=shapes, outputs=outputs)
