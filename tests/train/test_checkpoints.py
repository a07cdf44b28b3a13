import contextlib
import dataclasses
import threading
import time

import pytest

from ldm_jax.train.checkpoints import CheckpointingError, Checkpoints


@dataclasses.dataclass
class State:
    step: int


def test_what_a_failed_write_leaves_is_removed_though_others_still_write(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path, keep=1, keep_every=0, about={})
    unfinished = tmp_path / "checkpoints" / "00000006.orbax-checkpoint-tmp"

    def write_on():  # as tensorstore does: a file whose folder is gone makes it anew
        for i in range(20):
            with contextlib.suppress(FileNotFoundError):
                (unfinished / "state").mkdir(parents=True, exist_ok=True)
                (unfinished / "state" / str(i)).write_bytes(b"late")
            time.sleep(0.02)

    others = threading.Thread(target=write_on)

    def fail(step, state, *, force):
        others.start()
        raise OSError("No space left on device")

    monkeypatch.setattr(checkpoints._orbax, "save_async", fail)
    with pytest.raises(CheckpointingError, match=r"No space left.*there is no earlier one"):
        checkpoints.save(6, State(6))
    others.join()
    assert not unfinished.exists()
    assert checkpoints.steps() == []
