"""Programs as large as a network: compiled, on a CPU, for little memory."""

import ctypes
import functools
import sys
from collections.abc import Callable
from typing import Any

import jax
from jax.core import Tracer

# XLA's default order on a CPU runs what is independent side by side. That needs 1.4 (VAE) to 2.2 times (vocoder) the
# memory for intermediate arrays, and is no faster where each product keeps all cores busy.
_CPU_OPTIONS = {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}
_COMPILED = "/jax/core/compile/backend_compile_duration"


def program(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """`jax.jit(function, **options)`; on a CPU in the order of execution that needs least memory.

    Within another `jit`, whose options hold, it is the plain one.
    """
    inner = jax.jit(function, **options)

    @functools.cache
    def outermost() -> Callable[..., Any]:
        on_cpu = jax.default_backend() == "cpu"
        return jax.jit(function, **options, compiler_options=_CPU_OPTIONS) if on_cpu else inner

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        traced = any(isinstance(x, Tracer) for x in jax.tree.leaves((args, kwargs)))
        return inner(*args, **kwargs) if traced else outermost()(*args, **kwargs)

    return call


def settled(tree: Any) -> Any:
    """`tree`, on a CPU once it is computed and the memory that its computation freed is given back to the system."""
    if jax.default_backend() == "cpu":
        jax.block_until_ready(tree)
        give_memory_back()
    return tree


def give_memory_back() -> None:
    """What was freed, but kept by glibc for later allocations, goes back to the system; elsewhere nothing is done."""
    if trim := _malloc_trim():
        trim(0)


@functools.cache
def give_memory_back_after_compilation() -> None:
    """From now on; half a gigabyte for a UNet."""

    def listen(event: str, duration_secs: float, **_: str | int) -> None:
        if event == _COMPILED and duration_secs > 0.5:
            give_memory_back()

    jax.monitoring.register_event_duration_secs_listener(listen)


@functools.cache
def _malloc_trim() -> Any:
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
