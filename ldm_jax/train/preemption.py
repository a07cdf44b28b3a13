"""Being told to stop: SIGTERM from a scheduler, Ctrl-C from a person."""

import signal
from types import FrameType
from typing import Any

import jax
from jax.experimental import multihost_utils

EXIT_CODE = (
    143  # 128 + SIGTERM, as the shell says: a scheduler that restarts what failed restarts this
)


class Preemption:
    """Remembers that a signal came, so that the loop can end between two steps. A second Ctrl-C ends at once.

    With several processes JAX's own notice serves, which makes all of them stop after the same step.
    """

    def __init__(self) -> None:
        """Installs the handlers; `restore` takes them away."""
        self._told = False
        self._before: dict[int, Any] = {}
        if jax.process_count() == 1:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._note)

    def reached(self, step: int) -> bool:
        """Whether to stop after `step`; every process has to ask after each."""
        if jax.process_count() > 1:
            return multihost_utils.reached_preemption_sync_point(step)
        return self._told

    def restore(self) -> None:
        """The handlers that were there before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._told:
            raise KeyboardInterrupt
        self._told = True
