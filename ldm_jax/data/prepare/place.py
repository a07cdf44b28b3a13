"""The folder of a dataset: held by one process, cleaned of what was not finished, compared with what is asked."""

import contextlib
import fcntl
import json
import pathlib
from collections.abc import Iterator
from typing import Any

from ldm_jax.data.prepare.journal import UNFINISHED
from ldm_jax.data.prepare.plan import Plan
from ldm_jax.data.prepare.settings import Settings
from ldm_jax.data.prepared import DESCRIPTION

LOCK = ".lock"
# What a preparation writes; encodings, and whatever else lies there, are not its own.
OWN = (
    DESCRIPTION,
    "*.array_record-*",
    "journal/*.jsonl",
    "omissions.jsonl",
    "report.json",
    "report.html",
    "dataset_info.json",
    "features.json",
)


@contextlib.contextmanager
def held(folder: pathlib.Path) -> Iterator[None]:
    """Makes the folder, keeps other processes out of it, and removes what a killed one left unfinished.

    Raises:
        ValueError: another process holds it.
        OSError: it cannot be made or written.
    """
    try:
        (folder / "journal").mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("a")
    except OSError as error:
        raise OSError(f"cannot write to {folder}: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"another process is preparing {folder}") from None
        except OSError:
            pass  # a file system without locks
        _remove(folder, (f"*{UNFINISHED}", f"journal/*{UNFINISHED}"))
        try:
            yield
        finally:
            _leave_nothing(folder)


def clear(folder: pathlib.Path) -> None:
    """Removes what a preparation wrote."""
    _remove(folder, OWN)


def continued(folder: pathlib.Path, plan: Plan, settings: Settings) -> dict[str, Any] | None:
    """What `preparation.json` says of a dataset of this plan; None where nothing lies in the folder.

    Raises:
        ValueError: another dataset lies there.
    """
    try:
        about = json.loads((folder / DESCRIPTION).read_text("utf-8"))
        before = about["settings"]
    except FileNotFoundError:
        about, before = None, {}
    except (ValueError, KeyError, TypeError):
        about = before = {}
    if about is None and not any(folder.glob("*.array_record-*")):
        return None
    if about and about.get("key") == plan.key:
        return about
    if not about:
        what = "is a dataset of another making"
    elif differences := settings.differences(before):
        what = f"was prepared otherwise: {', '.join(differences)}"
    elif about["clips"] != plan.clips:
        what = (
            f"was prepared from {about['clips']:,} clips, where the source now has {plan.clips:,}"
        )
    else:
        what = "was prepared from other clips: names, captions or other fields have changed"
    raise ValueError(f"{folder} {what}; --overwrite replaces it, --name puts the new one beside it")


def _remove(folder: pathlib.Path, patterns: tuple[str, ...]) -> None:
    for pattern in patterns:
        for path in folder.glob(pattern):
            path.unlink()


def _leave_nothing(folder: pathlib.Path) -> None:
    """Removes the folder where nothing came to lie in it."""
    with contextlib.suppress(OSError):
        if {path.name for path in folder.iterdir()} <= {LOCK, "journal"}:
            (folder / "journal").rmdir()
            (folder / LOCK).unlink()
            folder.rmdir()
            folder.parent.rmdir()
