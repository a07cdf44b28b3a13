"""Batches: the same for any number of processes, threads, workers and restarts."""

import itertools
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from ldm_jax.data.features import Text, Wave
from ldm_jax.data.segments import Shaping
from ldm_jax.data.stream import device_batches, examples, host_batches, local_rows
from tests.data.rows import row_of

ROOT = pathlib.Path(__file__).parents[2]
BATCH = 8


def sources(mix=0.5, seed=5):
    """Two sets of short clips with captions; every example is random in all that can be."""
    rng = np.random.default_rng(0)
    sets = [
        [
            row_of(
                0.3 * rng.standard_normal(2000 + 100 * i), captions=(f"{name} {i}", f"a {name} {i}")
            )
            for i in range(size)
        ]
        for name, size in (("dog", 11), ("rain", 30))
    ]
    return examples(
        sets,
        features=(Wave(), Text()),
        shaping=Shaping(seconds=0.125, mix=mix, gain=True),
        weights=(0.6, 0.4),
        seed=seed,
    )


def take(batches, count):
    return list(itertools.islice(batches, count))


def same(one, other):
    return all(
        set(a) == set(b) and all((np.asarray(a[k]) == np.asarray(b[k])).all() for k in a)
        for a, b in zip(one, other, strict=True)
    )


@pytest.fixture(scope="module")
def reference():
    """Twelve batches made one example after another, without grain."""
    made = sources()
    places = np.arange(12 * BATCH).reshape(12, BATCH)
    rows = [[made[int(place)] for place in batch] for batch in places]
    return [{name: np.stack([row[name] for row in batch]) for name in batch[0]} for batch in rows]


def test_reference_is_random_and_mixed(reference):
    captions = [str(caption) for batch in reference for caption in batch["caption"]]
    assert 0.3 < np.mean([" and " in caption for caption in captions]) < 0.7
    assert len(set(captions)) > 60
    sets = np.concatenate([batch["set"] for batch in reference])
    assert np.mean(sets == 0) == pytest.approx(0.6, abs=0.15)
    waves = np.concatenate([batch["wave"] for batch in reference])
    assert len(np.unique(waves[:, 0])) > 90


@pytest.mark.parametrize("threads", [0, 1, 16])
def test_threads_change_nothing(reference, threads):
    assert same(take(host_batches(sources(), batch=BATCH, threads=threads), 12), reference)


def test_resumes_at_any_step(reference):
    for start in (1, 7):
        batches = host_batches(sources(), batch=BATCH, start=start)
        assert same(take(batches, 3), reference[start : start + 3])


def test_another_seed_is_another_stream(reference):
    other = take(host_batches(sources(seed=6), batch=BATCH), 1)[0]
    assert (other["wave"][:, 0] != reference[0]["wave"][:, 0]).all()


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_parts_make_the_whole(reference, processes):
    parts = [
        take(host_batches(sources(), batch=BATCH, rows=np.arange(BATCH)[p::processes]), 4)
        for p in range(processes)
    ]
    for step in range(4):
        for p, part in enumerate(parts):
            assert same([part[step]], [{k: x[p::processes] for k, x in reference[step].items()}])


def sharding(*shape, names=("data",), spec=("data",)):
    mesh = jax.make_mesh(shape, names, axis_types=(AxisType.Auto,) * len(shape))
    return NamedSharding(mesh, PartitionSpec(*spec))


@pytest.mark.parametrize(
    "where",
    [
        lambda: sharding(8),
        lambda: sharding(4, 2, names=("data", "fsdp"), spec=(("data", "fsdp"),)),
        lambda: sharding(2, 4, names=("data", "tensor"), spec=("data",)),
    ],
    ids=["data", "data and fsdp", "rows shared by a tensor axis"],
)
def test_device_batches_lie_as_asked(reference, where):
    batches = take(device_batches(sources(), batch=BATCH, sharding=where(), start=2), 3)
    assert same(batches, reference[2:5])
    for batch in batches:
        assert batch["wave"].sharding.is_equivalent_to(where(), 2)
        assert isinstance(batch["caption"], np.ndarray)


def test_local_rows_of_a_mesh():
    assert local_rows(sharding(8), 16).tolist() == list(range(16))
    with pytest.raises(ValueError, match="a batch of 12 rows cannot be divided evenly"):
        local_rows(sharding(8), 12)


WORKER = """
import sys
import jax

def main(address, count, rank, workers, folder):
    jax.config.update("jax_num_cpu_devices", 4 // count)
    if count > 1:
        jax.distributed.initialize(address, count, rank)
    import numpy as np
    from jax.sharding import AxisType, NamedSharding, PartitionSpec
    from ldm_jax.data.stream import device_batches
    from tests.data.test_stream import BATCH, sources

    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    made = device_batches(sources(), batch=BATCH, sharding=sharding, start=1, workers=workers)
    for step in (1, 2, 3):
        batch = next(made)
        assert batch["wave"].shape == (BATCH, 2000)
        for shard in batch["wave"].addressable_shards:
            first = shard.index[0].start or 0
            np.save(f"{folder}/{step}-{first}.npy", np.asarray(shard.data))

if __name__ == "__main__":  # grain's workers import this file
    main(sys.argv[1], *map(int, sys.argv[2:5]), sys.argv[5])
"""


@pytest.mark.parametrize(
    ("processes", "workers"),
    [
        (2, 0),
        pytest.param(1, 2, marks=pytest.mark.slow),
        pytest.param(4, 0, marks=pytest.mark.slow),
    ],
)
def test_processes_of_a_mesh_see_the_same_batches(
    reference, tmp_path, free_port, processes, workers
):
    """Real processes, joined by jax.distributed, each with its share of four devices."""
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    started = [
        subprocess.Popen(
            [
                sys.executable,
                str(script),
                f"127.0.0.1:{free_port}",
                str(processes),
                str(rank),
                str(workers),
                str(tmp_path),
            ],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(processes)
    ]
    printed = [process.communicate(timeout=240)[0] for process in started]
    assert [process.returncode for process in started] == [0] * processes, printed
    for step in (1, 2, 3):
        parts = [np.load(tmp_path / f"{step}-{first}.npy") for first in range(0, BATCH, 2)]
        assert (np.concatenate(parts) == reference[step]["wave"]).all()
