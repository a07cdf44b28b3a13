"""What the devices of a compiled program say to each other: read from its text, XLA's HLO."""

import functools
import math
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

_KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_COLLECTIVE = re.compile(rf" = (.*?) ({'|'.join(_KINDS)}|ragged-all-to-all)(-start)?\(")
# Between slices the TPU compiler hands a sum to the host: " = (f32[8,128]{1,0}, u32[], token[]) send(...)".
_BETWEEN = re.compile(r" = \((.*?), u32\[\].*? send\(.*_xla_megascale_transfer_type=\"(\w+)\"")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([^\s(]+) \(.*\{$")
_CALLED = re.compile(
    r"(?:calls|to_apply|body|true_computation|false_computation)=%?([^\s,)}]+)"
    r"|(?:branch_computations|called_computations)=\{([^}]*)\}"
)
_TRIPS = re.compile(r'known_trip_count"?:\{"?n"?:"?(\d+)')
_ARRAY = re.compile(r"\b(pred|[a-z]+\d+\w*)\[([\d,]*)\]")
_IOTA = re.compile(r"\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?")
_MESH = re.compile(r"mesh\[(.*?)\](.*?)\{(.*?)\}")
_ORDER = re.compile(r"device_ids=\(\[([\d,]+)\](?:T\(([\d,]+)\))?\)")
_SUB_AXIS = re.compile(r"'([^']+)'(?::\((\d+)\)(\d+))?")


class Kind(NamedTuple):
    """What sets one collective apart from others.

    Attributes:
        name: "all-reduce", "all-gather", "reduce-scatter", "all-to-all" or "collective-permute".
        devices: how many take part in one.
        crosses: whether they lie in several slices.
    """

    name: str
    devices: int
    crosses: bool


class Traffic(NamedTuple):
    """All collectives of a kind in one run of the program.

    Attributes:
        count: how many each device takes part in.
        bytes: that each device sends, by the ring algorithms.
    """

    count: int
    bytes: int


class _Message(NamedTuple):
    kind: Kind
    bytes: int  # that each device sends
    channel: str  # its number; where it has none, its name


def collectives(text: str, *, devices: int, slices: int = 1) -> dict[Kind, Traffic]:
    """Reads a program's collectives. Those in a loop count as often as it runs, where the compiler knows that.

    Of n devices each sends 2 (n-1)/n of what an all-reduce reduces, (n-1)/n of what an all-gather yields, a
    reduce-scatter takes or an all-to-all exchanges, and all of what a permute moves.

    Args:
        text: `jax.stages.Compiled.as_text()`.
        devices: that the program is for.
        slices: of so many devices each, in their order.
    """
    programs, entry = _computations(text)

    @functools.cache
    def runs(name: str) -> dict[_Message, int]:
        """How often each message is sent when a computation runs once."""
        found: dict[_Message, int] = {}
        for line in programs.get(name, ()):
            if match := _COLLECTIVE.search(line):
                inner = {_read(line, match, devices, slices, within=name): 1}
            elif match := _BETWEEN.search(line):
                inner = {_read_between(line, match, slices): 1}
            else:
                trips = _TRIPS.search(line) if " while(" in line else None
                times = int(trips.group(1)) if trips else 1
                inner = {
                    message: times * number
                    for called in _called(line)
                    for message, number in runs(called).items()
                }
            # One message may stand in several computations, which start it, overlap it with products and end it.
            found |= {m: max(number, found.get(m, 0)) for m, number in inner.items()}
        return found

    total: dict[Kind, Traffic] = {}
    for message, number in runs(entry).items():
        if message.kind.devices > 1:
            count, size = total.get(message.kind, Traffic(0, 0))
            total[message.kind] = Traffic(count + number, size + number * message.bytes)
    return dict(sorted(total.items()))


def _computations(text: str) -> tuple[dict[str, list[str]], str]:
    """Lines that call something or communicate, by computation, and the one that is run."""
    programs: dict[str, list[str]] = {}
    entry, lines = "", []
    for line in text.splitlines():
        if line.startswith((" ", "}")):
            if any(kept.search(line) for kept in (_CALLED, _COLLECTIVE, _BETWEEN)):
                lines.append(line)
        elif match := _COMPUTATION.match(line):
            lines = programs.setdefault(match.group(2), [])
            entry = match.group(2) if match.group(1) else entry
    return programs, entry


def _called(line: str) -> Iterator[str]:
    for one, several in _CALLED.findall(line):
        yield from (name.strip().lstrip("%") for name in (one or several).split(","))


def _read(line: str, match: re.Match[str], devices: int, slices: int, *, within: str) -> _Message:
    """One collective, in the computation `within`."""
    result, name, start = match.groups()
    arrays = [_bytes(kind, shape) for kind, shape in _ARRAY.findall(result)]
    if start and name == "all-gather":
        arrays = arrays[len(arrays) // 2 :]  # after its operands
    elif start and name == "collective-permute":
        arrays = arrays[1:2]  # operand, result, two contexts
    groups = _groups(line, devices)
    n, size = groups.shape[1], sum(arrays)
    if name == "all-reduce" and within.startswith("all-reduce-scatter"):
        name, size = "reduce-scatter", size // n  # each keeps its part of the sum
    sent = _sent(name, size, n)
    crosses = bool((np.ptp(groups // (devices // slices), axis=1) > 0).any())
    channel = re.search(r"channel_id=(\d+)", line)
    return _Message(
        Kind(name, n, crosses), sent, channel.group(1) if channel else line.split(" = ", 1)[0]
    )


def _read_between(line: str, match: re.Match[str], slices: int) -> _Message:
    """What a chip and its counterparts in the other slices exchange through their hosts."""
    result, transfer = match.groups()
    size = sum(_bytes(kind, shape) for kind, shape in _ARRAY.findall(result))
    name = transfer.lower().replace("_", "-")
    sent = _sent(name, size, slices)
    return _Message(Kind(name, slices, True), sent, line.split(" = ", 1)[0])


def _sent(name: str, size: int, n: int) -> int:
    """Bytes that each of `n` devices sends, of a result of `size`."""
    if name == "all-reduce":
        return 2 * size * (n - 1) // n
    if name == "reduce-scatter":
        return size * (n - 1)  # `size` is the part that stays
    if name == "collective-permute":
        return size
    return size * (n - 1) // n


def _bytes(kind: str, shape: str) -> int:
    bits = 8 if kind == "pred" else int(re.findall(r"\d+", kind)[0])
    return math.prod(_numbers(shape)) * bits // 8


def _groups(line: str, devices: int) -> Int[np.ndarray, "groups size"]:
    """Which devices talk to each other, in any of the notations that XLA prints."""
    if pairs := re.search(r"source_target_pairs=\{(.*?\})\}", line):
        return _listed(pairs.group(1))
    attribute = line.split("replica_groups=", 1)[1] if "replica_groups=" in line else ""
    if attribute.startswith("{{"):
        return _listed(attribute[1 : attribute.index("}}") + 1])
    if attribute.startswith("["):
        shape, dims, order = _IOTA.match(attribute).groups()  # type: ignore[union-attr]
        return _iota(dims, order).reshape(_numbers(shape))
    if attribute.startswith("mesh["):
        return _mesh_groups(attribute, devices)
    return np.arange(devices)[None]


def _listed(text: str) -> Int[np.ndarray, "groups size"]:
    return np.array([_numbers(group) for group in re.findall(r"\{([\d,]+)\}", text)])


def _iota(dims: str, order: str | None) -> Int[np.ndarray, " devices"]:
    """0, 1, ... in the shape `dims`, transposed by `order`, and flat again."""
    shape = _numbers(dims)
    grid = np.arange(math.prod(shape)).reshape(shape)
    return (grid if order is None else grid.transpose(_numbers(order))).reshape(-1)


def _mesh_groups(text: str, devices: int) -> Int[np.ndarray, "groups size"]:
    """mesh['a'=2,'b'=4] {'b','a':(1)2}: devices that differ in the axes named, or in a part (before)size of one.

    `device_ids=([4,2]T(1,0))` in between says in which order the devices fill the mesh; else in their own.
    """
    axes, placed, named = _MESH.match(text).groups()  # type: ignore[union-attr]
    sizes = {name: int(size) for name, size in re.findall(r"'([^']+)'=(\d+)", axes)}
    order = _ORDER.search(placed)
    parts = {
        name: (int(before), int(size)) if size else (1, sizes[name])
        for name, before, size in _SUB_AXIS.findall(named)
    }
    shape, inside = [], []
    for name, size in sizes.items():
        before, part = parts.get(name, (1, 1))
        inside.append(len(shape) + 1)
        shape += [before, part, size // (before * part)]
    ids = _iota(*order.groups()) if order else np.arange(devices)
    grid = ids.reshape(shape)
    outside = [axis for axis in range(grid.ndim) if axis not in inside]
    return grid.transpose(outside + inside).reshape(-1, math.prod(shape[i] for i in inside))


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",") if number.strip()]
