"""The one loop that every stage runs in."""

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from ldm_jax.data.stream import device_batches
from ldm_jax.parallel.mesh import enable_compilation_cache, on_host, rows
from ldm_jax.profiling import count_flops
from ldm_jax.train import examples, looks, optimizer, record
from ldm_jax.train.checkpoints import Checkpoints
from ldm_jax.train.config import Training
from ldm_jax.train.export import write_export
from ldm_jax.train.log import Log
from ldm_jax.train.meter import Meter, Recent
from ldm_jax.train.metrics import Metrics
from ldm_jax.train.preemption import Preemption
from ldm_jax.train.setting_up import setup
from ldm_jax.train.setup import Setup
from ldm_jax.train.stages.stage import AllParams, Arrays
from ldm_jax.train.state import TrainState


class BadUpdatesError(RuntimeError):
    """Too many updates in a row had a loss or gradient that is not finite."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """What stays the same while the loop goes round."""

    setup: Setup
    folder: pathlib.Path
    source: Any
    shapes: Arrays
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
    config = made.config
    source: Any = examples.source(config, made.features, training=True)
    writes = jax.process_index() == 0
    about = record.describe(
        config,
        made.descriptions,
        made.stage.trained(),
        tuple(made.sampled(round=n) for n in range(made.stage.rounds())),
    )
    notes = record.check(folder, about)
    checkpoints = Checkpoints(
        folder, keep=config.every.keep, keep_every=config.every.keep_every, about=about["config"]
    )
    with jax.set_mesh(made.mesh), contextlib.ExitStack() as stack:
        frozen = made.frozen()
        shapes = made.abstract_batch(source.batch(np.zeros(1, np.int64)))
        state, held, told = _state(made, folder, checkpoints, source, frozen, shapes)
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
            shapes=shapes,
            held=held,
            frozen=frozen,
            log=log,
            checkpoints=checkpoints,
        )
        return _rounds(run, state, start)


def _rounds(run: Run, state: TrainState, start: int) -> bool:
    """Steps from `start` on; whether the last one was reached."""
    made, config, every = run.setup, run.setup.config, run.setup.config.every
    step = made.compiled(run.shapes)
    figures = Figures(run, step, state)
    looking = looks.Looking(made, run.held, run.frozen, run.log)
    preemption = Preemption()
    number = start
    if 0 < start < config.steps and _due(start, made.round_steps):
        # It may have been killed after the round's last checkpoint, and before the export.
        _export(run, looking.params(state), state.constants, after=start)
    try:
        for number, (batch, waited) in enumerate(_batches(run, start), start=start + 1):
            with _profiled(run, number):
                state, metrics = step(
                    state, run.held, run.frozen, examples.on_device(batch), made.key
                )
            figures.add(number, metrics, state, batch, waited)
            stopping = preemption.reached(number) or number == config.steps
            if stopping or _due(number, every.log):
                figures.write(number)
            run.log.advance()
            run.checkpoints.check()
            if stopping or _due(number, every.checkpoint):
                figures.read()  # a run that goes bad ends before it is kept
                run.checkpoints.save(number, state)
            if _due(number, every.validation) or _due(number, every.preview):
                looking(number, state)
                figures.meter.restart()
            if number < config.steps and _due(number, made.round_steps):
                _export(run, looking.params(state), state.constants, after=number)
            if stopping:
                break
    finally:
        preemption.restore()
        run.checkpoints.close()
    if number < config.steps:
        run.log.say(f"stopped after step {number}; the same command goes on from there")
        return False
    _export(run, looking.params(state), state.constants, after=number)
    return True


class Figures:
    """What steps report, read one step late: while the host reads, the device works on the next."""

    def __init__(self, run: Run, step: Any, state: TrainState) -> None:
        """Counts the step's operations; nothing is computed."""
        self._run = run
        self._unread: tuple[int, Any, Any, Any] | None = None
        self._skipped = 0
        config = run.setup.config
        self._recent = Recent(config.bad_updates)
        self.meter = Meter(batch=config.batch, flops=_flops(run, step, state))

    def add(
        self, number: int, metrics: Metrics, state: TrainState, batch: Arrays, waited: float
    ) -> None:
        """Takes a step that was begun, and reads the one before.

        Raises:
            BadUpdatesError: see `read`.
        """
        self.read()
        self._recent.add(number, batch)
        counts = state.skipped + 0, state.skipped_in_a_row + 0  # their own buffers are donated
        self._unread = number, metrics, *counts
        self.meter.wait(waited)

    def read(self) -> None:
        """Waits for the last step.

        Raises:
            BadUpdatesError: as many updates in a row as the config allows were not finite.
        """
        if self._unread is None:
            return
        (number, metrics, skipped, bad), self._unread = jax.device_get(self._unread), None
        self._skipped = int(skipped)
        self.meter.add(metrics)
        limit = self._run.setup.config.bad_updates
        if bad < limit:
            return
        clips = {
            name: None
            for step, arrays in self._recent
            if number - limit < step <= number
            for name in examples.names_of(self._run.source, arrays)
        }
        more = f" and {len(clips) - 20} more" if len(clips) > 20 else ""
        raise BadUpdatesError(
            f"{limit} updates in a row, up to step {number}, had a loss or gradient that is not finite and were "
            "skipped; "
            f"they saw the clips {', '.join(list(clips)[:20])}{more}"
        )

    def write(self, number: int) -> None:
        """A line of the log."""
        self.read()
        config = self._run.setup.config
        # Which the optimiser counts, from the beginning of the round.
        updates = (number - 1) % self._run.setup.round_steps - self._skipped
        length = self._run.setup.round_steps
        rate = optimizer.learning_rate(config.optimizer, updates, total_steps=length)
        self._run.log.write(number, {**self.meter.line(), "learning_rate": float(rate)})


def _export(run: Run, params: AllParams, constants: Arrays, *, after: int) -> None:
    """What was trained, as it is to be used: a checkpoint of ours.

    In `export/`; what a round has ended with before the last, in `rounds/STEP/export/`.
    """
    setup = run.setup
    wanted = {name: params[name] for name in setup.stage.averaged()}
    host, constants = on_host((wanted, constants))
    folder = run.folder if after == setup.config.steps else run.folder / "rounds" / f"{after:08}"
    if jax.process_index() == 0:
        folder.mkdir(parents=True, exist_ok=True)
        system = setup.as_sampled(setup.opened, after=after)
        write_export(system, host, folder / "export", constants=constants)
        run.log.say(f"{', '.join(wanted)} written to {folder / 'export'}")


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
    made: Setup,
    folder: pathlib.Path,
    checkpoints: Checkpoints,
    source: Any,
    frozen: AllParams,
    shapes: Arrays,
) -> tuple[TrainState, dict[str, Any], list[str]]:
    """(state, held, messages): from the run's own checkpoints, another run's, given weights or from scratch."""
    config = made.config
    abstract, _, _ = made.abstract(shapes)
    if found := checkpoints.restore(abstract):
        state, damaged = found
        return (
            state,
            made.held(shapes),
            [*damaged, f"goes on after step {int(state.step)} of {folder}"],
        )
    if config.resume:
        other = pathlib.Path(config.resume)
        record.read(other)
        theirs = Checkpoints(other, keep=10**9, keep_every=0, about={})
        found = theirs.restore(abstract)
        theirs.close()
        if not found:
            raise ValueError(f"resume: {other} has no checkpoint")
        state, damaged = found
        return (
            state,
            made.held(shapes),
            [*damaged, f"starts from step {int(state.step)} of {other}"],
        )
    first = next(
        device_batches(source, batch=config.batch, sharding=rows(made.mesh), ahead=0, threads=0)
    )
    constants = made.constants(frozen, examples.on_device(first))
    state, held = made.begin(shapes, constants)
    given = [name for name in made.stage.trained() if made.opened.params.get(name) is not None]
    return state, held, [f"starts from given weights of {', '.join(given)}"] if given else []


def _flops(run: Run, step: Any, state: TrainState) -> int:
    """Operations of the whole step, which is traced here; with remat, of what is computed again too."""
    return count_flops(step, state, run.held, run.frozen, run.shapes, run.setup.key)


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
