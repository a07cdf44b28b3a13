"""What is trained need not be the parameters themselves: chosen ones of them, or factors that they are made from.

A representation takes parameters apart into what an optimiser moves (and a checkpoint holds, and a moving average
follows) and what stays, and makes the parameters again:

    trained, held = split(params, key)
    params == join(trained, held)                            # leaf by leaf, bit for bit
    gradient = jax.grad(lambda trained: loss(join(trained, held)))(trained)

Trees are {network: parameters}, on both sides. Patterns are regular expressions, searched for in paths such as
`unet/mid_block/attentions_0/proj_in/kernel`.
"""

import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from flax import traverse_util
from jaxtyping import Array, Key

Tree = dict[str, Any]
Split = Callable[[Tree, Key[Array, ""]], tuple[Tree, Tree]]
Join = Callable[[Tree, Tree], Tree]

EVERYTHING = ("",)
# Parameters that no run moves: tables that are made, not learnt (`models.audiomae.FIXED`); statistics of a data set,
# by which a vocoder may normalise its input; the token table of GPT-2, which reads embeddings and never tokens.
FIXED = (
    r"^audiomae/(decoder_)?pos_embed$",
    r"^vocoder/(mean|scale)$",
    r"^gpt2/wte/",
)


class Representation(NamedTuple):
    """A pair of pure functions of trees.

    Attributes:
        split: (parameters, key) to (what is trained, what is held); the key is for factors that start at random.
            Raises ValueError for a pattern that no path has.
        join: (what is trained, what is held) to the parameters. Also of some of the networks only.
    """

    split: Split
    join: Join


def chosen(patterns: Sequence[str] = EVERYTHING) -> Representation:
    """The parameters whose paths have one of `patterns`, without those that are `FIXED`; the others are held."""

    def split(params: Tree, key: Key[Array, ""]) -> tuple[Tree, Tree]:
        del key
        paths = flat(params)
        picked = {path for path in matching(paths, patterns) if not has(path, FIXED)}
        trained = {path: x for path, x in paths.items() if path in picked}
        held = {path: x for path, x in paths.items() if path not in picked}
        return nested(trained, params), nested(held, params)

    return Representation(split, merged)


def then(first: Representation, second: Representation) -> Representation:
    """`second` applied to what `first` trains. What both hold must lie at different paths, as it does for `chosen`."""

    def split(params: Tree, key: Key[Array, ""]) -> tuple[Tree, Tree]:
        outer, held = first.split(params, key)
        trained, more = second.split(outer, key)
        return trained, {"first": held, "second": more}

    def join(trained: Tree, held: Tree) -> Tree:
        return first.join(second.join(trained, held["second"]), held["first"])

    return Representation(split, join)


def merged(one: Tree, other: Tree) -> Tree:
    """The union of two nested dictionaries that have no leaf in common."""
    out = dict(one)
    for name, value in other.items():
        both = isinstance(value, Mapping) and name in out
        out[name] = merged(out[name], dict(value)) if both else value
    return out


def flat(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Leaves by path, parts joined by "/"."""
    leaves: dict[str, Any] = traverse_util.flatten_dict(dict(tree), sep="/")
    return leaves


def nested(leaves: Mapping[str, Any], like: Iterable[str] = ()) -> Tree:
    """The inverse of `flat`; every network of `like` is there, if need be empty."""
    tree: Tree = traverse_util.unflatten_dict(dict(leaves), sep="/")
    return {name: {} for name in like} | tree


def has(path: str, patterns: Sequence[str]) -> bool:
    """Whether one of `patterns` is found in `path`."""
    return any(_compiled(pattern).search(path) for pattern in patterns)


def matching(paths: Iterable[str], patterns: Sequence[str]) -> list[str]:
    """Those of `paths` that have one of `patterns`.

    Raises:
        ValueError: a pattern that none of them has, or that is no regular expression.
    """
    paths = list(paths)
    for pattern in patterns:
        if not any(_compiled(pattern).search(path) for path in paths):
            example = f" (they are like {paths[len(paths) // 2]})" if paths else ""
            raise ValueError(f"no parameter's path has {pattern!r} in it{example}")
    return [path for path in paths if has(path, patterns)]


@functools.lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(f"the pattern {pattern!r} is no regular expression: {error}") from None
