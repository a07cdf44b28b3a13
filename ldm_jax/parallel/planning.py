"""What a compiled step takes of each chip, found without them: memory, messages, operations, the batch that fits."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from jax.sharding import Mesh

from ldm_jax.parallel.collectives import Kind, Traffic, collectives
from ldm_jax.parallel.topology import memory, other_refusal, refusal, traced_for
from ldm_jax.profiling import count_flops, peak_flops

# The TPU compiler spends most of its time on the order in which things are computed. With the least effort it is some
# twenty times as fast; messages stay the same, and memory is what it would be or more.
_QUICK = {"exec_time_optimization_effort": -1.0}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """One step on one mesh, as compiled.

    Attributes:
        chip: kind of the devices.
        chips: how many.
        slices: they lie in.
        mesh: size of each axis.
        rows: of the global batch.
        arguments: bytes on a chip of state, frozen parameters and batch.
        temporaries: bytes on a chip of what is computed between.
        results: bytes on a chip of what the step returns in memory of its own; the state takes its predecessor's.
        room: bytes that a program may use on a chip; None where that is not known.
        traffic: collectives, a step.
        flops: of products and convolutions, in a step on all chips together, what remat computes again included.
        compiled_flops: on one chip, as the compiler counts them: a loop's body once.
        peak: FLOP/s that a chip can reach; None where that is not known.
        seconds: that compiling took.
    """

    chip: str
    chips: int
    slices: int
    mesh: Mapping[str, int]
    rows: int
    arguments: int
    temporaries: int
    results: int
    room: int | None
    traffic: Mapping[Kind, Traffic]
    flops: int
    compiled_flops: float
    peak: float | None
    seconds: float

    @property
    def needed(self) -> int:
        """Bytes that a step takes of each chip."""
        return self.arguments + self.temporaries + self.results

    @property
    def sent(self) -> int:
        """Bytes that each chip sends in a step."""
        return sum(traffic.bytes for traffic in self.traffic.values())

    @property
    def sent_between_slices(self) -> int:
        """Those of messages among chips of different slices."""
        return sum(traffic.bytes for kind, traffic in self.traffic.items() if kind.crosses)

    def step_seconds(self, utilisation: float) -> float | None:
        """Of a step that reaches this part of the chips' peak."""
        return None if self.peak is None else self.flops / self.chips / self.peak / utilisation


def plan(
    step: Any,
    arguments: Sequence[Any],
    *,
    mesh: Mesh,
    rows: int,
    slices: int = 1,
    quick: bool = False,
) -> Plan:
    """Compiles a step for a mesh of chips that need not be there.

    Args:
        step: under `jax.jit`, with what it donates and where its results go.
        arguments: abstract, each leaf with its sharding.
        mesh: of the devices, or of their descriptions (`topology.chips`).
        rows: of the global batch, for the table.
        slices: that they lie in.
        quick: let the TPU compiler think less: a table in minutes, with too much memory in it rather than too little.

    Raises:
        TooLargeError: it does not fit into a chip.
        ValueError: another of a chip's memories does not suffice.
    """
    chip, chips = mesh.devices.flat[0], mesh.devices.size
    started = time.perf_counter()
    with jax.set_mesh(mesh), traced_for(chip.platform):
        flops = count_flops(step, *arguments)
        try:
            options: Any = _QUICK if quick and chip.platform == "tpu" else None
            compiled = step.lower(*arguments).compile(compiler_options=options)
        except jax.errors.JaxRuntimeError as error:
            told = str(error)
            raise refusal(told) or other_refusal(told) or error from None
    held, cost = compiled.memory_analysis(), compiled.cost_analysis() or {}
    return Plan(
        chip=chip.device_kind,
        chips=chips,
        slices=slices,
        mesh=dict(mesh.shape),
        rows=rows,
        arguments=held.argument_size_in_bytes,
        temporaries=held.temp_size_in_bytes,
        results=held.output_size_in_bytes - held.alias_size_in_bytes,
        room=memory(chip),
        traffic=collectives(compiled.as_text(), devices=chips, slices=slices),
        flops=flops,
        compiled_flops=cost.get("flops", 0.0),
        peak=peak_flops(chip),
        seconds=time.perf_counter() - started,
    )


def largest(
    need: Callable[[int], int], *, room: int, first: int = 1, trials: int = 8
) -> dict[int, int]:
    """Finds the largest batch that fits, each trial being a compilation of minutes.

    Memory grows about linearly with rows, so the third trial is where the line through the first two meets `room`;
    what is tried after that halves what is left between the largest that fits and the smallest that does not.

    Args:
        need: bytes that so many rows a chip take, whether or not they fit.
        room: bytes that there are.
        first: rows to begin with.
        trials: at most so many.

    Returns:
        Bytes by rows, of all that was tried. The answer is the largest that needs no more than `room`.
    """
    tried: dict[int, int] = {}
    rows = first
    while rows not in tried and rows >= 1 and len(tried) < trials:
        tried[rows] = need(rows)
        fits = [r for r, bytes_ in tried.items() if bytes_ <= room]
        not_fits = [r for r, bytes_ in tried.items() if bytes_ > room]
        if not fits:
            rows = min(tried) // 2
        elif len(tried) == 1:
            rows = 2 * rows
        else:
            rows = _next(tried, max(fits), min(not_fits, default=None), room)
    return tried


def _next(tried: dict[int, int], fits: int, not_fits: int | None, room: int) -> int:
    """Rows to try between those that fit and those that do not; `fits` itself once that is close enough."""
    low, high = sorted(tried)[:2] if not_fits is None else (fits, not_fits)
    low, high = (sorted(tried)[-2:]) if not_fits is None else (low, high)
    slope = max((tried[high] - tried[low]) / (high - low), 1.0)
    guess = int(low + (room - tried[low]) / slope)
    if not_fits is None:
        return max(guess, fits)
    if not_fits - fits <= max(fits // 16, 1):
        return fits
    return min(max(guess, fits + 1), not_fits - 1)
