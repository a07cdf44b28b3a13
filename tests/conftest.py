"""Eight virtual CPU devices, no accelerator, no hub; programs that are compiled quickly, since most run once."""

import gc
import os
import pathlib

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")  # of processes too

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")

MOST_KEPT = 3e9  # bytes of a process of tests, from which on a file's programs are not kept for the next file's


@pytest.fixture(scope="module", autouse=True)
def _programs_are_forgotten():
    yield
    statm = pathlib.Path("/proc/self/statm")
    if (
        statm.exists()
        and int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") > MOST_KEPT
    ):
        jax.clear_caches()
        gc.collect()
