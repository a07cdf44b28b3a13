"""Weight tables: how tensors of a published file become parameters, and back.

A table is a tuple of rules. A rule pairs names of published tensors with parameter paths through
placeholders:

    Rule("blocks.{i}.resnets.{j}.conv1.weight", "blocks_{i}/resnets_{j}/conv1/kernel", CONV2D)

`{i}` stands for digits, `{name:word}` for letters, digits and underscores, `{name:any}` for
anything; a placeholder means the same on both sides, so the table is read both ways. A rule of
several sources or several paths joins or splits tensors. `convert` uses every tensor once and fills
every parameter once, or says by name what does not fit.
"""

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from flax import traverse_util

Params = dict[str, Any]


class ConversionError(ValueError):
    """Tensors and parameters do not match; the message lists each by name."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transform:
    """A reversible change of layout, of the sources' arrays by `forward`, and back.

    Each takes arrays and returns a tuple of arrays, in the order of the rule's names.
    """

    forward: Callable[..., tuple[np.ndarray, ...]]
    backward: Callable[..., tuple[np.ndarray, ...]] | None


def permutation(*axes: int) -> Transform:
    """Transposition to `axes`, undone on the way back."""
    inverse = tuple(int(i) for i in np.argsort(axes))
    return Transform(
        forward=lambda x: (x.transpose(axes),), backward=lambda x: (x.transpose(inverse),)
    )


def split(parts: int, then: Transform) -> Transform:
    """One tensor cut along its first axis into `parts` parameters, each then put through `then`."""
    back = then.backward
    return Transform(
        forward=lambda x: tuple(then.forward(part)[0] for part in np.split(x, parts)),
        backward=None if back is None else lambda *xs: (np.concatenate([back(x)[0] for x in xs]),),
    )


IDENTITY = Transform(forward=lambda x: (x,), backward=lambda x: (x,))
LINEAR = permutation(1, 0)  # (out, in) -> (in, out)
CONV1D = permutation(2, 1, 0)  # (out, in, k) -> (k, in, out)
CONV2D = permutation(2, 3, 1, 0)  # (out, in, h, w) -> (h, w, in, out)
CONV_TRANSPOSE1D = permutation(2, 0, 1)  # (in, out, k) -> (k, in, out), taps not flipped
POINTWISE_AS_LINEAR = Transform(  # a 1x1 convolution (out, in, 1, 1) as (in, out)
    forward=lambda x: (x.reshape(x.shape[:2]).T,), backward=lambda x: (x.T[:, :, None, None],)
)


@dataclasses.dataclass(frozen=True)
class Rule:
    """Tensors named `source` become the parameters at `path` ("/"-separated) by `transform`.

    `rename` maps the placeholders' values (strings) of a source name to those of the path, where
    they differ; such a rule is read one way only.
    """

    source: str | tuple[str, ...]
    path: str | tuple[str, ...]
    transform: Transform = IDENTITY
    rename: Callable[[dict[str, str]], dict[str, str]] | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of the published tensors."""
        return (self.source,) if isinstance(self.source, str) else self.source

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of the parameters."""
        return (self.path,) if isinstance(self.path, str) else self.path


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """All rules of one network in one published naming.

    Attributes:
        rules: tried in order; the first whose pattern matches a whole name takes it.
        ignored: patterns of names that carry no parameter of ours (position ids, masks, unused
            heads).
        aliases: (pattern of another name for a tied tensor, name it is known by); equal copies are
            used once.
    """

    rules: Sequence[Rule]
    ignored: Sequence[str] = ()
    aliases: Sequence[tuple[str, str]] = ()


_PLACEHOLDER = re.compile(r"\{(\w+)(?::(\w+))?\}")
_KINDS = {None: r"\d+", "word": r"\w+", "any": r".+"}


def _pattern(template: str) -> re.Pattern[str]:
    seen: set[str] = set()
    parts, end = [], 0
    for match in _PLACEHOLDER.finditer(template):
        name, kind = match.groups()
        parts.append(re.escape(template[end : match.start()]))
        parts.append(f"(?P={name})" if name in seen else f"(?P<{name}>{_KINDS[kind]})")
        seen.add(name)
        end = match.end()
    return re.compile("".join(parts) + re.escape(template[end:]))


def _fill(template: str, values: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda match: values[match.group(1)], template)


def _groups(
    present: Mapping[str, Any],
    rules: Sequence[Rule],
    side: Callable[[Rule], tuple[str, ...]],
    *,
    ignored: Sequence[str] = (),
    unknown: list[str],
) -> Iterator[tuple[Rule, dict[str, str], list[str]]]:
    """(rule, its placeholders' values, names it takes), each name once; the rest to `unknown`."""
    compiled = {template: _pattern(template) for rule in rules for template in side(rule)}
    skipped = [_pattern(template) for template in ignored]
    done: set[str] = set()
    for name in present:
        if name in done:
            continue
        found = next(
            (
                (rule, match.groupdict())
                for rule in rules
                for template in side(rule)
                if (match := compiled[template].fullmatch(name))
            ),
            None,
        )
        if found is None:
            if not any(pattern.fullmatch(name) for pattern in skipped):
                unknown.append(name)
            continue
        rule, values = found
        names = [_fill(template, values) for template in side(rule)]
        if absent := [other for other in names if other not in present]:
            unknown.append(f"{name} (without {', '.join(absent)})")
            continue
        done.update(names)
        yield rule, values, names


def _flat(tree: Params) -> dict[str, Any]:
    return {"/".join(path): leaf for path, leaf in traverse_util.flatten_dict(tree).items()}


def _without_aliases(tensors: Mapping[str, Any], table: Table) -> dict[str, Any]:
    kept = dict(tensors)
    for alias, template in table.aliases:
        pattern = _pattern(alias)
        for name in list(kept):
            if match := pattern.fullmatch(name):
                target = _fill(template, match.groupdict())
                value = kept.pop(name)
                if target not in kept:
                    kept[target] = value
                elif not np.array_equal(kept[target], value):
                    raise ConversionError(
                        f"{name} and {target} should be the same tensor but differ"
                    )
    return kept


def _complaint(network: str, problems: Mapping[str, Sequence[str]], verb: str) -> str:
    lines = [f"the weights do not fit {network}; nothing was {verb}"]
    for title, names in problems.items():
        if names:
            lines.append(f"  {title} ({len(names)}):")
            lines.extend(f"    {name}" for name in names)
    return "\n".join(lines)


def convert(tensors: Mapping[str, Any], table: Table, expected: Params, *, network: str) -> Params:
    """Parameters from published tensors.

    Args:
        tensors: arrays by published name; what becomes one when asked (`__array__`) is read once.
        table: of the naming that `tensors` follow.
        expected: the tree of shapes that the network's `init` gives (`jax.eval_shape`), without
            "params".
        network: what to call it in errors.

    Returns:
        NumPy arrays in the structure of `expected`, in the types of the file.

    Raises:
        ConversionError: a tensor without a rule, a parameter left empty or filled twice, or a wrong
            shape.
    """
    want = {path: tuple(leaf.shape) for path, leaf in _flat(expected).items()}
    filled: dict[str, np.ndarray] = {}
    unknown, twice, wrong = [], [], []
    present = _without_aliases(tensors, table)
    for rule, values, names in _groups(
        present, table.rules, lambda rule: rule.sources, ignored=table.ignored, unknown=unknown
    ):
        values = rule.rename(values) if rule.rename else values
        paths = [_fill(template, values) for template in rule.paths]
        sources = [np.asarray(present[name]) for name in names]
        try:
            arrays = rule.transform.forward(*sources)
        except ValueError:  # another number of axes, or a length that cannot be split
            shapes = ", ".join(f"{n}: {x.shape}" for n, x in zip(names, sources, strict=True))
            wrong.append(f"{shapes} for {', '.join(f'{p} {want.get(p)}' for p in paths)}")
            filled.update(dict.fromkeys(paths, sources[0]))
            continue
        for path, array in zip(paths, arrays, strict=True):
            if path in filled:
                twice.append(f"{path} (again from {names[0]})")
            elif path not in want:
                unknown.append(f"{names[0]} (no parameter {path})")
            else:
                filled[path] = array
                if array.shape != want[path]:
                    wrong.append(f"{names[0]}: {array.shape} for {path} {want[path]}")
    problems = {
        "tensors that no parameter takes": unknown,
        "parameters that no tensor fills": [path for path in want if path not in filled],
        "parameters filled twice": twice,
        "wrong shapes": wrong,
    }
    if any(problems.values()):
        raise ConversionError(_complaint(network, problems, "loaded"))
    return traverse_util.unflatten_dict({tuple(path.split("/")): filled[path] for path in want})


def export(params: Params, table: Table, *, network: str) -> dict[str, np.ndarray]:
    """The inverse of `convert`: published names and layouts.

    Raises:
        ConversionError: a parameter that no two-way rule names, or two that share a name.
    """
    flat = _flat(params)
    rules = [rule for rule in table.rules if rule.transform.backward and not rule.rename]
    tensors: dict[str, np.ndarray] = {}
    unknown, twice = [], []
    for rule, values, paths in _groups(flat, rules, lambda rule: rule.paths, unknown=unknown):
        assert rule.transform.backward is not None
        arrays = rule.transform.backward(*(np.asarray(flat[path]) for path in paths))
        for template, array in zip(rule.sources, arrays, strict=True):
            name = _fill(template, values)
            if name in tensors:
                twice.append(f"{name} (again from {paths[0]})")
            tensors[name] = np.asarray(
                array, order="C"
            )  # ascontiguousarray would add an axis to ()
    if unknown or twice:
        problems = {"parameters without a published name": unknown, "tensors filled twice": twice}
        raise ConversionError(_complaint(network, problems, "written"))
    return tensors
