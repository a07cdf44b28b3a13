"""What glibc does with the memory that a program on a CPU has freed: gives it back to the system, or keeps it.

On other systems, and with other allocators, nothing is done.
"""

import ctypes
import functools
import importlib.metadata
import importlib.util
import sys
from typing import Any

import jax

_COMPILED = "/jax/core/compile/backend_compile_duration"
# Of <malloc.h>.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
_NEVER = -1


def keep_freed_memory() -> None:
    """From now on, where JAX will compute on a CPU: for a process that repeats one program, as training does.

    glibc maps each large array anew and unmaps it when it is freed, so that the system clears its pages again and
    again. Here all threads share the one heap that can grow at will, nothing is mapped, and the end of the heap stays.
    It has to be called before JAX's first computation, whose threads else have heaps of their own.
    """
    if _on_cpu() and (mallopt := _of_glibc("mallopt")):
        for parameter, value in ((_M_ARENA_MAX, 1), (_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _NEVER)):
            mallopt(parameter, value)


def _on_cpu() -> bool:
    """Whether JAX will find nothing but a CPU, told without making it look, which would begin its threads."""
    if asked := jax.config.values["jax_platforms"]:
        return asked.split(",")[0] == "cpu"
    plugins = importlib.metadata.entry_points(group="jax_plugins")
    return not plugins and importlib.util.find_spec("libtpu") is None


def settled(tree: Any) -> Any:
    """`tree`, on a CPU once it is computed and the memory that its computation freed is given back to the system."""
    if jax.default_backend() == "cpu":
        jax.block_until_ready(tree)
        give_memory_back()
    return tree


def give_memory_back() -> None:
    """What was freed, but kept by glibc for later allocations, goes back to the system."""
    if trim := _of_glibc("malloc_trim"):
        trim(0)


@functools.cache
def give_memory_back_after_compilation() -> None:
    """From now on; half a gigabyte for a UNet."""

    def listen(event: str, duration_secs: float, **_: str | int) -> None:
        if event == _COMPILED and duration_secs > 0.5:
            give_memory_back()

    jax.monitoring.register_event_duration_secs_listener(listen)


@functools.cache
def _of_glibc(function: str) -> Any:
    """None where the C library is another one."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return getattr(library, function) if hasattr(library, "gnu_get_libc_version") else None
