"""Figures between two lines of the log: sums of metrics, and where the time went."""

import collections
import resource
import time
from typing import Any

import jax
import numpy as np

from ldm_jax import profiling
from ldm_jax.train.metrics import Metrics, add, figures


class Meter:
    """Adds up what steps report; `line` gives the means and starts anew."""

    def __init__(self, *, batch: int, flops: int | None) -> None:
        """`batch` rows a step and `flops` of the model a step (None where they are not counted)."""
        self._batch, self._flops = batch, flops
        self._device = jax.devices()[0]
        self.restart()

    def restart(self) -> None:
        """Forgets everything, so that compilation, validation and such count nowhere."""
        self._metrics: Metrics = {}
        self._steps, self._waited = 0, 0.0
        self._since = time.perf_counter()

    def wait(self, seconds: float) -> None:
        """Time that was spent waiting for data."""
        self._waited += seconds

    def add(self, metrics: Metrics) -> None:
        """One step's figures, on the host."""
        self._metrics = add(self._metrics, metrics)
        self._steps += 1

    def line(self) -> dict[str, Any]:
        """Means over the steps since the last line, speed and memory."""
        elapsed = time.perf_counter() - self._since
        step = elapsed / max(self._steps, 1)
        out = figures(self._metrics)
        out |= {
            "step_seconds": step,
            "data_wait": self._waited / elapsed,
            "clips_per_second": self._batch / step,
            **_memory(self._device),
        }
        if self._flops:
            rate = self._flops / step
            out["tflops"] = rate / 1e12
            if peak := profiling.peak_flops(self._device):
                out["share_of_peak"] = rate / (peak * jax.device_count())
        self.restart()
        return out


class Recent:
    """Which clips the last batches held, for the message when updates go bad."""

    def __init__(self, count: int) -> None:
        """Of the last `count` batches."""
        self._batches: collections.deque[tuple[int, dict[str, np.ndarray]]] = collections.deque(
            maxlen=count
        )

    def add(self, step: int, batch: dict[str, Any]) -> None:
        """What says where a batch's rows came from (this process's)."""
        kept = {name: batch[name] for name in ("set", "row", "window") if name in batch}
        self._batches.append((step, kept))

    def __iter__(self) -> Any:
        """(step, arrays) from the oldest on, on the host."""
        for step, kept in self._batches:
            yield step, {name: local(x) for name, x in kept.items()}


def local(x: Any) -> np.ndarray:
    """The rows of a batch's array that this process holds, in order, each once."""
    if not isinstance(x, jax.Array):
        return np.asarray(x)
    pieces = {shard.index[0].start or 0: np.asarray(shard.data) for shard in x.addressable_shards}
    return np.concatenate([pieces[start] for start in sorted(pieces)])


def _memory(device: Any) -> dict[str, float]:
    """GB at most so far: of the accelerator, or of the process where that is the device."""
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "peak_bytes_in_use" in stats:
        return {"memory_gb": stats["peak_bytes_in_use"] / 1e9}
    return {"memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6}
