"""Programs as large as a network: compiled, on a CPU, for little memory."""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.core import Tracer

# XLA's default order on a CPU runs what is independent side by side. That needs 1.4 (VAE) to 2.2 times (vocoder) the
# memory for intermediate arrays, and is no faster where each product keeps all cores busy.
_CPU_OPTIONS = {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}


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
