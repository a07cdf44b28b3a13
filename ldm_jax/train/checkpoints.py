"""Checkpoints of a run: written in the background, kept by a rule, verified before they are used.

    RUN/checkpoints/00001000/     by orbax: any mesh and any number of processes can read it
    RUN/checksums/00001000.json   size and CRC-32 of each of its files

Orbax reads a damaged file without complaint where it still parses, hence the sums. They are written after the
checkpoint is complete; one without sums (the run was killed in between) counts as whole, since orbax gives a
checkpoint its name only when it is.
"""

import json
import pathlib
import shutil
import threading
import time
import zlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from absl import logging
from jax.experimental import multihost_utils
from orbax.checkpoint import v1 as ocp

from ldm_jax.audio.files import whole_file

_KEPT = ocp.training.preservation_policies


class CheckpointingError(RuntimeError):
    """A checkpoint could not be written or read; the message is one sentence that says what is left."""


class Checkpoints:
    """The checkpoints in a run's folder."""

    def __init__(
        self, run: pathlib.Path, *, keep: int, keep_every: int, about: dict[str, Any]
    ) -> None:
        """Opens the folder, makes it if need be, and removes what an interrupted write left behind.

        Args:
            run: the run's folder.
            keep: how many of the last ones stay.
            keep_every: those at multiples of so many steps stay for good; 0 is none.
            about: JSON that is kept with the checkpoints.
        """
        self._folder, self._sums = run / "checkpoints", run / "checksums"
        rules: Any = [_KEPT.LatestN(keep)]
        if keep_every:
            rules.append(_KEPT.EveryNSteps(keep_every))
        keeping: Any = _KEPT.AnyPreservationPolicy(rules)
        logging.set_verbosity(logging.FATAL)  # a failed write is told once, by us
        self._orbax = ocp.training.Checkpointer(
            str(self._folder.absolute()),
            preservation_policy=keeping,
            step_name_format=ocp.path.step.standard_name_format(step_format_fixed_length=8),
            custom_metadata=about,
            cleanup_tmp_directories=True,
        )
        self._writer: threading.Thread | None = None
        self._error: Exception | None = None

    def save(self, step: int, state: Any) -> None:
        """Begins to write; returns when the state may be donated. Every process has to call it.

        Raises:
            CheckpointingError: this one or the one before could not be written.
        """
        self.wait()
        try:
            response = self._orbax.save_async(step, _as_dict(state), force=True)
        except Exception as error:
            raise self._failure(error) from error
        self._writer = threading.Thread(target=self._finish, args=(step, response))
        self._writer.start()

    def check(self) -> None:
        """Raises CheckpointingError if a write in the background has failed meanwhile."""
        if self._error is not None:
            raise self._failure(self._error) from self._error

    def wait(self) -> None:
        """Until what was begun is written, with its checksums; raises as `check`."""
        if self._writer is not None:
            self._writer.join()
            self._writer = None
        self.check()

    def restore(self, abstract: Any, *, step: int | None = None) -> tuple[Any, list[str]] | None:
        """The newest state whose files are whole, on the shardings of `abstract`.

        Where the newest is asked for, damaged ones are set aside in `checkpoints-damaged/`, so that their numbers are
        free again.

        Args:
            abstract: `jax.ShapeDtypeStruct`s with shardings, in a state.
            step: a certain one; None is the newest.

        Returns:
            The state, and a sentence for each damaged checkpoint that was passed over; None where there is none.

        Raises:
            CheckpointingError: there are some, but none is whole.
        """
        steps = [step] if step is not None else self.steps()[::-1]
        damaged = []
        for candidate in steps:
            if fault := self._fault(candidate):
                damaged.append(f"checkpoint {candidate} is damaged ({fault})")
                if step is None:
                    self._set_aside(candidate)
                continue
            return self._load(candidate, abstract), damaged
        if damaged:
            raise CheckpointingError(
                f"no checkpoint in {self._folder} is whole: {'; '.join(damaged)}"
            )
        return None

    def steps(self) -> list[int]:
        """Those that are complete, oldest first."""
        found = [path.name for path in self._folder.glob("*") if path.name.isdigit()]
        return sorted(int(name) for name in found)

    def close(self) -> None:
        """Waits for what is being written; raises as `check`."""
        try:
            self.wait()
        finally:
            if self._error is None:
                self._orbax.close()

    def _load(self, step: int, abstract: Any) -> Any:
        try:
            loaded = self._orbax.load(step, _as_dict(abstract))
        except Exception as error:
            raise CheckpointingError(
                f"checkpoint {step} in {self._folder} does not fit this run: its networks, optimizer, LoRA or chosen "
                "parameters are others; choose another folder, or the settings that it was made with"
            ) from error
        return abstract.replace(**loaded)

    def _finish(self, step: int, response: Any) -> None:
        """In the background: waits for orbax, then adds the checksums and drops those of removed checkpoints."""
        try:
            response.result()
            if jax.process_index() == 0:
                sums = checksums(self._path(step))
                self._sums.mkdir(exist_ok=True)
                with whole_file(self._sums / f"{step:08}.json") as temporary:
                    temporary.write_text(json.dumps(sums, indent=1) + "\n")
                for path in self._sums.glob("*.json"):
                    if not self._path(int(path.stem)).exists():
                        path.unlink()
        except Exception as error:  # told by `check` on the main thread
            self._error = error

    def _failure(self, error: Exception) -> CheckpointingError:
        self._error = error
        self._remove_unfinished()
        kept = self.steps()
        left = f"the last whole one is {kept[-1]}" if kept else "there is no earlier one"
        told = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        return CheckpointingError(
            f"a checkpoint could not be written to {self._folder} ({told}); {left}"
        )

    def _remove_unfinished(self) -> None:
        """Gives a full disk its space back.

        Orbax tells of the first file that fails while its other writers go on, and these make their folders anew: so
        it is done again until nothing has come for 0.3 s, and left to the next start after 5 s.
        """
        quiet = 0
        for _ in range(50):
            left = list(self._folder.glob("*.orbax-checkpoint-tmp"))
            quiet = 0 if left else quiet + 1
            if quiet > 3:
                return
            for path in left:
                shutil.rmtree(path, ignore_errors=True)
            time.sleep(0.1)

    def _fault(self, step: int) -> str | None:
        """What is wrong with a checkpoint's files, the same on every process."""
        fault = None
        if jax.process_index() == 0:
            try:
                wanted = json.loads((self._sums / f"{step:08}.json").read_text())
            except (OSError, ValueError):
                wanted = None
            if wanted is not None:
                fault = _difference(wanted, checksums(self._path(step)))
        if jax.process_count() == 1:
            return fault
        padded = np.zeros(256, np.uint8)
        told = (fault or "").encode()[:256]
        padded[: len(told)] = np.frombuffer(told, np.uint8)
        shared = np.asarray(multihost_utils.broadcast_one_to_all(padded))
        return shared.tobytes().rstrip(b"\\0").decode(errors="replace") or None

    def _set_aside(self, step: int) -> None:
        if jax.process_index() == 0:
            aside = self._folder.with_name("checkpoints-damaged")
            aside.mkdir(exist_ok=True)
            shutil.rmtree(aside / self._path(step).name, ignore_errors=True)
            self._path(step).rename(aside / self._path(step).name)
            (self._sums / f"{step:08}.json").unlink()
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices(f"checkpoint {step} set aside")
        self._orbax.reload()

    def _path(self, step: int) -> pathlib.Path:
        return self._folder / f"{step:08}"


def checksums(folder: pathlib.Path) -> dict[str, list[int]]:
    """[bytes, CRC-32] of every file in a folder, by its path therein."""
    out = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        size = crc = 0
        for block in _blocks(path):
            size, crc = size + len(block), zlib.crc32(block, crc)
        out[path.relative_to(folder).as_posix()] = [size, crc]
    return out


def _blocks(path: pathlib.Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            yield block


def _difference(wanted: dict[str, list[int]], found: dict[str, list[int]]) -> str | None:
    for name, sums in wanted.items():
        if name not in found:
            return f"{name} is missing"
        if found[name] != sums:
            return f"{name} has changed"
    return None


def _as_dict(state: Any) -> dict[str, Any]:
    """A dataclass of pytrees as a dictionary, without what is empty: orbax has no place for that."""
    fields = {name: getattr(state, name) for name in state.__dataclass_fields__}
    return {name: value for name, value in fields.items() if jax.tree.leaves(value)}
