"""How much a program computes, and how fast the hardware could."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend import core

# Dense FLOP/s of one chip in bfloat16, from the makers' sheets (NVIDIA's figures with sparsity are twice these).
PEAK_FLOPS = {
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5e": 197e12,
    "TPU v5": 459e12,
    "TPU v5p": 459e12,
    "TPU v6 lite": 918e12,
    "TPU v6e": 918e12,
    "TPU7x": 2307e12,
    "NVIDIA A100": 312e12,
    "NVIDIA H100": 989e12,
    "NVIDIA H200": 989e12,
    "NVIDIA B200": 2250e12,
}


def peak_flops(device: Any) -> float | None:
    """FLOP/s that a chip (a `jax.Device`) can reach in bfloat16; None where it is not known (a CPU, say)."""
    matches = [name for name in PEAK_FLOPS if device.device_kind.startswith(name)]
    return PEAK_FLOPS[max(matches, key=len)] if matches else None


def count_flops(function: Callable[..., Any], *args: Any, **kwargs: Any) -> int:
    """Floating-point operations of matrix products and convolutions in a call, two for each multiply-add.

    Counted on the traced program, each scan as often as it runs; XLA's own cost analysis counts a scan's body once.
    Nothing is computed; `args` may be `jax.ShapeDtypeStruct`s. The body of a `while_loop` counts once. A function under
    `jax.jit` is not traced again when it is called with arguments of the same shapes, types and shardings.
    """
    jitted: Any = function if hasattr(function, "trace") else jax.jit(function)
    return _flops(jitted.trace(*args, **kwargs).jaxpr.jaxpr)


def _flops(jaxpr: core.Jaxpr) -> int:
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            total += _dot_flops(equation)
        elif equation.primitive.name == "conv_general_dilated":
            total += _conv_flops(equation)
        else:
            times = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
            total += times * sum(_flops(inner) for inner in _inner_programs(equation.params))
    return total


def _inner_programs(params: dict[str, Any]) -> Iterator[core.Jaxpr]:
    for value in params.values():
        for item in value if isinstance(value, (tuple, list)) else (value,):
            program = getattr(item, "jaxpr", item)  # of a closed one
            if isinstance(program, core.Jaxpr):
                yield program


def _dot_flops(equation: Any) -> int:
    (contracting, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    return (
        2
        * math.prod(equation.outvars[0].aval.shape)
        * math.prod(left[axis] for axis in contracting)
    )


def _conv_flops(equation: Any) -> int:
    kernel = equation.invars[1].aval.shape
    out_features = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
    return 2 * math.prod(equation.outvars[0].aval.shape) * math.prod(kernel) // out_features
