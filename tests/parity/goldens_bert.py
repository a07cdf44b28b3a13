"""Writes tests/golden/bert.npz."""

from tests import cases_bert as cases
from tests.golden import random_tensors, save
from tests.parity import oracle_bert as oracle


def write() -> None:
    shapes = oracle.shapes(cases.TINY)
    outputs = oracle.run(cases.TINY, random_tensors(shapes), cases.inputs())
    save("bert", shapes=shapes, outputs=outputs)
