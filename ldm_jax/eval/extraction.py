"""Clips to features: files read side by side, rows gathered into batches, each network run once over all of them."""

import collections
import concurrent.futures
import dataclasses
import functools
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import jax
import numpy as np
from tqdm import tqdm

from ldm_jax.audio.reading import AudioError
from ldm_jax.convert.native import describe
from ldm_jax.eval.backbones.backbone import Backbone, Inputs
from ldm_jax.eval.backbones.fronts import FRONTS
from ldm_jax.eval.backbones.programs import Runner
from ldm_jax.eval.cache import FeatureCache, feature_key
from ldm_jax.eval.clips import Clip, content_hash
from ldm_jax.eval.processes import gathered, share
from ldm_jax.eval.report.record import Problem
from ldm_jax.eval.waves import Loading, load

READERS = 4  # threads; decoding and FFTs leave the interpreter's lock
AHEAD = 16  # clips read before they are needed

_FACTS = "facts"  # of a clip, beside its features in the cache

Outputs = Mapping[str, np.ndarray]
S = TypeVar("S")
T = TypeVar("T")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Features:
    """What a backbone makes of the clips of one side.

    Attributes:
        outputs: by the output's name, then by the clip's, rows of features.
        seconds: of each clip that was read, as it lies on disk.
        problems: files that were left out, or that needed a rule.
    """

    outputs: Mapping[str, Mapping[str, np.ndarray]]
    seconds: Mapping[str, float]
    problems: tuple[Problem, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Read:
    """One clip as it was read, or found in the cache, or could not be read."""

    clip: Clip
    key: str = ""
    seconds: float = 0.0
    remarks: tuple[str, ...] = ()
    inputs: Inputs | None = None
    outputs: Outputs | None = None
    error: str | None = None


def extract(
    clips: Sequence[Clip],
    backbone: Backbone,
    *,
    loading: Loading,
    front: str,
    runner: Callable[[], Runner] | None = None,
    cache: FeatureCache | None = None,
    progress: bool = False,
) -> Features:
    """Features of clips, on all devices of all processes; every process gets those of all clips.

    Args:
        clips: with names that differ.
        backbone: the network.
        loading: how a file becomes a wave at the backbone's rate.
        front: how a wave becomes its rows; a key of `FRONTS` behind the backbone's kind.
        runner: places the backbone, or gives it as it is placed already; called when there is a row for it.
        cache: where features are kept by content; None computes all.
        progress: whether to show a bar.

    Raises:
        OSError: a file that cannot be opened for another reason than what it holds.
    """
    mine = share(clips)
    runner = functools.cache(lambda: Runner(backbone, "audio")) if runner is None else runner
    read: dict[str, _Read] = {}
    parts: dict[str, Outputs] = {}
    waiting = _Waiting()

    def finish(name: str, outputs: Outputs) -> None:
        parts[name] = outputs
        if cache is not None:
            cache.put(read[name].key, {**outputs, _FACTS: _packed(read[name])})

    with tqdm(total=len(mine), unit="clip", desc=backbone.name, disable=not progress) as bar:
        for one in _read_all(mine, backbone, loading, front, cache):
            read[one.clip.name] = one
            if one.outputs is not None:
                parts[one.clip.name] = one.outputs
            elif one.inputs is not None:
                waiting.add(one.clip.name, one.inputs)
                read[one.clip.name] = dataclasses.replace(one, inputs=None)
                for name, outputs in waiting.full(runner):
                    finish(name, outputs)
            bar.update()
        for name, outputs in waiting.rest(runner):
            finish(name, outputs)
    local = Features(
        outputs=_by_output(parts),
        seconds={name: read[name].seconds for name in parts},
        problems=tuple(_problems(read.values(), parts, backbone)),
    )
    return _joined(gathered(local))


def _read_all(
    clips: Sequence[Clip],
    backbone: Backbone,
    loading: Loading,
    front: str,
    cache: FeatureCache | None,
) -> Iterator[_Read]:
    """The clips in order, `AHEAD` of them in work."""
    prepare = FRONTS[backbone.kind, front]
    network = f"{describe(backbone.module)} {front} {backbone.sha256} {jax.default_backend()}"

    def read(clip: Clip) -> _Read:
        key = ""
        if cache is not None:
            key = feature_key(
                content=content_hash(clip),
                loading=repr(loading),
                backbone=network,
            )
            if (found := cache.get(key)) is not None:
                return _unpacked(clip, found)
        try:
            loaded = load(clip, loading)
        except AudioError as error:
            return _Read(clip=clip, error=str(error))
        inputs = prepare(backbone.module, loaded.wave, loaded.rate)
        return _Read(
            clip=clip, key=key, seconds=loaded.seconds, remarks=loaded.remarks, inputs=inputs
        )

    return in_order(read, clips)


def in_order(function: Callable[[S], T], items: Iterable[S]) -> Iterator[T]:
    """`map` by `READERS` threads, `AHEAD` items ahead."""
    rest = iter(items)
    with concurrent.futures.ThreadPoolExecutor(READERS) as pool:
        queue = collections.deque(
            pool.submit(function, item) for item in itertools.islice(rest, AHEAD)
        )
        try:
            while queue:
                yield queue.popleft().result()
                queue.extend(pool.submit(function, item) for item in itertools.islice(rest, 1))
        finally:
            for future in queue:
                future.cancel()


def _packed(one: _Read) -> np.ndarray:
    return np.array(json.dumps({"seconds": one.seconds, "remarks": one.remarks}))


def _unpacked(clip: Clip, found: Mapping[str, np.ndarray]) -> _Read:
    facts = json.loads(str(found[_FACTS]))
    return _Read(
        clip=clip,
        seconds=facts["seconds"],
        remarks=tuple(facts["remarks"]),
        outputs={name: x for name, x in found.items() if name != _FACTS},
    )


class _Waiting:
    """Rows that wait for enough others of their shapes."""

    def __init__(self) -> None:
        self._rows: dict[tuple[object, ...], list[tuple[str, dict[str, np.ndarray]]]] = {}
        self._missing: dict[str, int] = {}
        self._done: dict[str, list[dict[str, np.ndarray]]] = {}

    def add(self, name: str, inputs: Inputs) -> None:
        """The rows of a clip; a clip without rows never comes back."""
        shape = tuple((key, x.shape[1:], x.dtype.str) for key, x in sorted(inputs.items()))
        count = len(next(iter(inputs.values())))
        self._missing[name] = count
        group = self._rows.setdefault(shape, [])
        group.extend((name, {key: x[i] for key, x in inputs.items()}) for i in range(count))

    def full(self, runner: Callable[[], Runner]) -> Iterator[tuple[str, Outputs]]:
        """Runs as many rows as the runner takes at a time; clips that are complete with it."""
        for group in self._rows.values():
            while group and len(group) >= (size := runner().size):
                rows, group[:] = group[:size], group[size:]
                yield from self._run(rows, runner())

    def rest(self, runner: Callable[[], Runner]) -> Iterator[tuple[str, Outputs]]:
        """Runs all that is left."""
        yield from self.full(runner)
        for group in self._rows.values():
            if group:
                yield from self._run(group, runner())
        self._rows.clear()

    def _run(
        self, rows: list[tuple[str, dict[str, np.ndarray]]], runner: Runner
    ) -> Iterator[tuple[str, Outputs]]:
        inputs = {key: np.stack([row[key] for _, row in rows]) for key in rows[0][1]}
        outputs = runner(inputs)
        for i, (name, _) in enumerate(rows):
            done = self._done.setdefault(name, [])
            done.append({key: x[i] for key, x in outputs.items()})
            if len(done) == self._missing[name]:
                yield name, {key: np.stack([row[key] for row in done]) for key in done[0]}
                del self._done[name], self._missing[name]


def _by_output(parts: Mapping[str, Outputs]) -> dict[str, dict[str, np.ndarray]]:
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, outputs in parts.items():
        for key, x in outputs.items():
            found.setdefault(key, {})[name] = x
    return found


def _problems(
    read: Iterable[_Read], parts: Mapping[str, Outputs], backbone: Backbone
) -> Iterator[Problem]:
    for one in read:
        file = str(one.clip.path)
        if one.error is not None:
            yield Problem(file=file, why=one.error, dropped=True)
            continue
        for remark in one.remarks:
            yield Problem(file=file, why=remark, dropped=False)
        if one.clip.name not in parts:
            why = f"too short for {backbone.name}: {one.seconds:.2f} s give it nothing to hear"
            yield Problem(file=file, why=why, dropped=True)


def _joined(parts: Sequence[Features]) -> Features:
    outputs: dict[str, dict[str, np.ndarray]] = {}
    for part in parts:
        for key, rows in part.outputs.items():
            outputs.setdefault(key, {}).update(rows)
    return Features(
        outputs=outputs,
        seconds={name: s for part in parts for name, s in part.seconds.items()},
        problems=tuple(problem for part in parts for problem in part.problems),
    )
