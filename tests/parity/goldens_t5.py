"""Writes tests/golden/t5_*.npz."""

from tests import cases_t5 as cases
from tests.golden import save
from tests.parity import oracle_t5 as oracle


def write() -> None:
    for name, config in cases.TINY.items():
        shapes = oracle.shapes(config)
        outputs = oracle.run(
            config, cases.weights(config, shapes), cases.inputs(config), dtype="float64"
        )
        save(f"t5_{name}", shapes=shapes, outputs=outputs)
    buckets = {
        f"{num_buckets}_{max_distance}": oracle.bucket(
            cases.OFFSETS, num_buckets=num_buckets, max_distance=max_distance
        )
        for num_buckets, max_distance in cases.BUCKETS
    }
    save("t5_buckets", shapes={}, outputs=buckets)
