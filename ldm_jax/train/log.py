"""What a run tells: a line of JSON an interval, a bar on a terminal, TensorBoard's files where wanted."""

import json
import pathlib
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from tqdm import tqdm

from ldm_jax.audio.files import write_audio, write_spectrogram
from ldm_jax.train.previews import Preview

_SHOWN = ("loss", "generator/loss", "discriminator/loss", "clips_per_second")


class Log:
    """Writes on the first process alone; on the others every method does nothing."""

    def __init__(
        self, run: pathlib.Path, *, steps: int, start: int, writes: bool, tensorboard: bool
    ) -> None:
        """Opens `log.jsonl` to append.

        Args:
            run: the run's folder.
            steps: of the whole run, for the bar.
            start: steps that lie behind.
            writes: whether this process is the one that does.
            tensorboard: whether event files are written to `tensorboard/`.

        Raises:
            ValueError: TensorBoard is asked for and not installed.
        """
        self._folder, self._writes = run, writes
        self._events: Any = None
        if not writes:
            return
        run.mkdir(parents=True, exist_ok=True)
        self._file = (run / "log.jsonl").open("a+")
        if self._file.tell():  # a kill may have cut the last line off
            self._file.seek(self._file.tell() - 1)
            self._file.write("" if self._file.read() == "\n" else "\n")
        terminal = sys.stderr.isatty()
        self._bar = tqdm(
            total=steps, initial=start, unit="step", disable=None if terminal else True
        )
        if tensorboard:
            self._events = _event_writer(run / "tensorboard")

    def advance(self) -> None:
        """The bar goes on by a step."""
        if self._writes:
            self._bar.update()

    def write(self, step: int, figures: Mapping[str, Any]) -> None:
        """One line: step, time, figures; those that are not finite as null."""
        if not self._writes:
            return
        line = {
            "step": step,
            "time": round(time.time(), 3),
            **{k: _json(v) for k, v in figures.items()},
        }
        try:
            self._file.write(json.dumps(line, allow_nan=False) + "\n")
            self._file.flush()
        except OSError as error:
            raise OSError(f"{self._file.name} cannot be written: {error.strerror}") from None
        self._bar.set_postfix({k: f"{figures[k]:.4g}" for k in _SHOWN if k in figures})
        if self._events is not None:
            for name, value in figures.items():
                for label, number in _scalars(name, value):
                    self._events.add_scalar(label, number, step)

    def say(self, message: str) -> None:
        """One sentence to whoever watches, above the bar."""
        if self._writes:
            self._bar.write(message, file=sys.stderr)

    def show(self, step: int, preview: Preview) -> None:
        """A preview's sounds and pictures to `previews/STEP/`, its figures to the log.

        All pictures have one scale of colours, so that an original and what was made of it can be compared.
        """
        if not self._writes:
            return
        folder = self._folder / "previews" / f"{step:08}"
        folder.mkdir(parents=True, exist_ok=True)
        for name, (wave, rate) in preview.waves.items():
            write_audio(folder / f"{name}.wav", wave, rate)
            if self._events is not None:
                self._events.add_audio(name, wave[:, None], step, rate)
        loudest = max((float(image.max()) for image in preview.images.values()), default=None)
        for name, image in preview.images.items():
            write_spectrogram(
                folder / f"{name}.png",
                image,
                seconds=len(image) * preview.seconds_per_frame,
                title=name,
                loudest=loudest,
            )
        if preview.figures:
            self.write(step, {f"preview/{name}": x for name, x in preview.figures.items()})

    def close(self) -> None:
        """Ends the bar and the files."""
        if self._writes:
            self._bar.close()
            self._file.close()
            if self._events is not None:
                self._events.close()


def read_log(run: pathlib.Path) -> list[dict[str, Any]]:
    """The lines of a run's log, without one that was cut off by a kill."""
    out = []
    for line in (run / "log.jsonl").read_text().splitlines():
        try:
            out.append(json.loads(line))
        except ValueError:
            continue
    return out


def _json(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_json(x) for x in value]
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.8g}") if np.isfinite(value) else None
    return value


def _scalars(name: str, value: Any) -> list[tuple[str, float]]:
    if isinstance(value, list):
        return [(f"{name}/{i}", x) for i, x in enumerate(value) if isinstance(x, float)]
    return [(name, value)] if isinstance(value, (int, float)) else []


def _event_writer(folder: pathlib.Path) -> Any:
    try:
        from tensorboardX import SummaryWriter  # type: ignore[import-not-found]
    except ImportError:
        raise ValueError(
            'tensorboard = True needs tensorboardX: pip install "ldm_jax[tensorboard]"'
        ) from None
    return SummaryWriter(str(folder))
