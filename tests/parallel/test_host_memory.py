import re
import statistics
import subprocess
import sys

import jax
import pytest

from ldm_jax.convert.lazy import release_pages
from ldm_jax.convert.safetensors_file import read_safetensors, write_safetensors
from ldm_jax.parallel import host_memory
from ldm_jax.parallel.host_memory import give_memory_back
from tests.golden import random_array

of_glibc = pytest.mark.skipif(
    host_memory._of_glibc("mallopt") is None, reason="the allocator is not glibc's"
)
# Prints how many of its pages the system had to give, and clear, each time that a compiled program ran.
REPEATED = """
import resource
import sys
import jax
import jax.numpy as jnp
from ldm_jax.parallel.host_memory import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()


@jax.jit
def program(x):
    for scale in (1.0, 2.0, 3.0):
        x = jnp.tanh(x @ x.T * scale) @ x
    return x


x = jnp.ones((3000, 1000))
for _ in range(15):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    program(x).block_until_ready()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def resident(kind="VmRSS"):
    """Bytes of this process that lie in memory."""
    with open("/proc/self/status") as status:
        return 1024 * int(re.search(rf"{kind}:\s+(\d+)", status.read()).group(1))


def pages_of_repetition(memory):
    """The median of the later ones: the first finds the heap still growing, and other threads fault now and then."""
    environment = {"JAX_PLATFORMS": "cpu", "PYTHONPATH": ":".join(sys.path)}
    command = [sys.executable, "-c", REPEATED, memory]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return statistics.median(int(x) for x in done.stdout.split()[5:])


@of_glibc
def test_memory_that_is_kept_is_not_asked_for_again():
    product = 3000 * 3000 * 4 / 4096  # pages of one of three that each repetition makes anew
    assert pages_of_repetition("") > product
    assert pages_of_repetition("kept") < product / 10


@pytest.mark.parametrize(
    ("asked", "plugins", "expected"),
    [
        ("cpu", ["xla_cuda12"], True),
        ("cpu,cuda", [], True),
        ("cuda,cpu", [], False),
        (None, ["xla_cuda12"], False),
        (None, [], True),
    ],
)
def test_a_cpu_is_recognised_before_jax_looks(monkeypatch, asked, plugins, expected):
    monkeypatch.setattr(host_memory.importlib.metadata, "entry_points", lambda group: plugins)
    monkeypatch.setattr(host_memory.importlib.util, "find_spec", lambda name: None)
    before = jax.config.values["jax_platforms"]
    jax.config.update("jax_platforms", asked)
    try:
        assert host_memory._on_cpu() is expected
    finally:
        jax.config.update("jax_platforms", before)


@of_glibc
def test_freed_memory_goes_back():
    blocks = [b"x" * 100_000 for _ in range(2000)]
    last = blocks[-1]  # lies above the others and so keeps them from being returned
    del blocks
    before = resident()
    give_memory_back()
    assert before - resident() > 100e6
    assert len(last) == 100_000


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_pages_of_a_file_are_dropped_and_read_again(tmp_path):
    path, x = tmp_path / "x.safetensors", random_array("x", (2000, 5000))
    write_safetensors(path, {"x": x}, {})
    view = read_safetensors(path)[0]["x"].T
    total, before = view.sum(), resident("RssFile")
    release_pages(view)
    assert before - resident("RssFile") > 70e6
    assert view.sum() == total
    release_pages(x)  # not a file's: nothing happens
