"""The one loop that every stage runs in."""

import contextlib
import dataclasses
import functools
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from ldm_jax.data.stream import device_batches
from ldm_jax.parallel.mesh import enable_compilation_cache, replicated, rows
from ldm_jax.profiling import count_flops
from ldm_jax.train import examples, looks, optimizer, record
from ldm_jax.train.checkpoints import Checkpoints
from ldm_jax.train.config import Training
from ldm_jax.train.log import Log
from ldm_jax.train.meter import Meter, Recent
from ldm_jax.train.preemption import Preemption
from ldm_jax.train.setup import Setup, setup
from ldm_jax.train.stages.stage import AllParams
from ldm_jax.train.state import TrainState


class BadUpdatesError(RuntimeError):
    """Too many updates in a row had a loss or gradient that is not finite."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """What stays the same while the loop goes round."""

    setup: Setup
    folder: pathlib.Path
    source: Any
    held: dict[str, Any]
    frozen: AllParams
    log: Log
    checkpoints: Checkpoints


def train(config: Training, folder: pathlib.Path) -> bool:
    """Trains, from where the run in `folder` stood if there is one; see `ldm_jax.train.config.Training`.

    Returns:
        Whether it came to its end; False where a signal ended it after a checkpoint.

    Raises:
        ValueError: whatever is wrong with the config, in one sentence, before anything is compiled.
        CheckpointingError: a checkpoint that cannot be written or read.
        BadUpdatesError: the loss stays NaN; the message names the clips.
    """
    enable_compilation_cache()
    made = setup(config)
    source = examples.source(config, made.features, training=True)
    writes = jax.process_index() == 0
    about = record.describe(config, made.descriptions, made.stage.trained())
    notes = record.check(folder, about)
    checkpoints = Checkpoints(
        folder, keep=config.every.keep, keep_every=config.every.keep_every, about=about["config"]
    )
    with jax.set_mesh(made.mesh), contextlib.ExitStack() as stack:
        frozen = made.frozen()
        state, held, told = _state(made, folder, checkpoints, source, frozen)
        start = int(state.step)
        if writes:
            record.write(folder, about)
        log = Log(
            folder, steps=config.steps, start=start, writes=writes, tensorboard=config.tensorboard
        )
        stack.callback(log.close)
        for note in (*notes, *told):
            log.say(note)
        run = Run(
            setup=made,
            folder=folder,
            source=source,
            held=held,
            frozen=frozen,
            log=log,
            checkpoints=checkpoints,
        )
        return _rounds(run, state, start)


def _rounds(run: Run, state: TrainState, start: int) -> bool:
    """Steps from `start` on; whether the last one was reached."""
    made, config = run.setup, run.setup.config
    recent = Recent(config.bad_updates)
    preemption = Preemption()
    looking = looks.Looking(made, run.held, run.frozen, run.log)
    step_of = meter = last = None
    number = start
    try:
        for number, (batch, waited) in enumerate(_batches(run, start), start=start + 1):
            if step_of is None:
                step_of = made.compiled(batch)
                meter = Meter(batch=config.batch, flops=_flops(run, state, batch))
            recent.add(number, batch)
            with _profiled(run, number):
                state, metrics = step_of(
                    state, run.held, run.frozen, examples.on_device(batch), made.key
                )
            # The step before is read while this one runs: the device never waits for the host.
            if last is not None:
                _read(run, last, meter, recent)
            last = (number, metrics, state.skipped_in_a_row + 0)
            meter.wait(waited)
            stopping = preemption.reached(number) or number == config.steps
            due = functools.partial(_due, number)
            if stopping or due(config.every.log) or due(config.every.checkpoint):
                _read(run, last, meter, recent)
                last = None
            if stopping or due(config.every.log):
                _line(run, number, meter)
            run.log.advance()
            run.checkpoints.check()
            if stopping or due(config.every.checkpoint):
                run.checkpoints.save(number, state)
            if due(config.every.validation) or due(config.every.preview):
                looking(number, state)
                meter.restart()
            if stopping:
                break
    finally:
        preemption.restore()
        run.checkpoints.close()
    if number < config.steps:
        run.log.say(f"stopped after step {number}; the same command goes on from there")
    return number >= config.steps


def _batches(run: Run, start: int) -> Iterator[tuple[dict[str, Any], float]]:
    """Batches from `start` up to the last one, each with the seconds that it was waited for."""
    config, data = run.setup.config, run.setup.config.data
    made = device_batches(
        run.source,
        batch=config.batch,
        sharding=rows(run.setup.mesh),
        start=start,
        threads=data.threads,
        workers=data.workers,
        ahead=data.ahead,
    )
    for _ in range(start, config.steps):
        began = time.perf_counter()
        batch = next(made)
        yield batch, time.perf_counter() - began


def _state(
    made: Setup, folder: pathlib.Path, checkpoints: Checkpoints, source: Any, frozen: AllParams
) -> tuple[TrainState, dict[str, Any], list[str]]:
    """(state, held, messages): from the run's own checkpoints, another run's, given weights or from scratch."""
    config = made.config
    one = made.abstract_batch(source.batch(np.zeros(1, np.int64)))
    abstract, _, _ = made.abstract(one)
    if found := checkpoints.restore(abstract):
        state, damaged = found
        return state, made.held(one), [*damaged, f"goes on after step {int(state.step)} of {folder}"]
    if config.resume:
        other = pathlib.Path(config.resume)
        record.read(other)
        theirs = Checkpoints(other, keep=10**9, keep_every=0, about={})
        found = theirs.restore(abstract)
        theirs.close()
        if not found:
            raise ValueError(f"resume: {other} has no checkpoint")
        state, damaged = found
        return state, made.held(one), [*damaged, f"starts from step {int(state.step)} of {other}"]
    first = next(
        device_batches(
            source, batch=config.batch, sharding=rows(made.mesh), ahead=0, threads=0
        )
    )
    constants = made.constants(frozen, examples.on_device(first))
    state, held = made.begin(one, constants)
    given = [name for name in made.stage.trained() if made.opened.params.get(name) is not None]
    return state, held, [f"starts from given weights of {', '.join(given)}"] if given else []


def _read(run: Run, last: Any, meter: Meter, recent: Recent) -> None:
    """Takes one step's figures to the host, and ends the run where too many updates went wrong."""
    number, metrics, bad = last
    metrics, bad = jax.device_get((metrics, bad))
    meter.add(metrics)
    limit = run.setup.config.bad_updates
    if bad < limit:
        return
    clips = {
        name: None
        for step, arrays in recent
        if number - limit < step <= number
        for name in examples.names_of(run.source, arrays)
    }
    some = ", ".join(list(clips)[:20]) + (f" and {len(clips) - 20} more" * (len(clips) > 20))
    raise BadUpdatesError(
        f"{limit} updates in a row, up to step {number}, had a loss or gradient that is not finite and were skipped; "
        f"they saw the clips {some}"
    )


def _line(run: Run, number: int, meter: Meter) -> None:
    config = run.setup.config
    rate = optimizer.learning_rate(config.optimizer, number - 1, total_steps=config.steps)
    run.log.write(number, {**meter.line(), "learning_rate": float(rate)})


def _flops(run: Run, state: TrainState, batch: dict[str, Any]) -> int | None:
    """Operations of the whole step; with remat, of what is computed again too."""
    shapes = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype),
        (state, run.held, run.frozen, examples.on_device(batch), run.setup.key),
    )
    return count_flops(run.setup.step, *shapes)


def _due(number: int, interval: int) -> bool:
    return bool(interval) and number % interval == 0


@contextlib.contextmanager
def _profiled(run: Run, number: int) -> Iterator[None]:
    """A trace of the steps `config.profile`, first and last included, in `profile/`."""
    chosen = run.setup.config.profile
    if chosen and number == chosen[0]:
        jax.profiler.start_trace(str(run.folder / "profile"))
    with jax.profiler.StepTraceAnnotation("train", step_num=number):
        yield
    if chosen and number == chosen[1]:
        jax.effects_barrier()
        jax.profiler.stop_trace()
