"""Getting a file: with progress, going on where it stopped, and whole or not at all."""

import contextlib
import hashlib
import http.client
import pathlib
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

from tqdm import tqdm

try:
    import fcntl
except ImportError:  # Windows, where two downloads of one file are not kept apart
    fcntl = None

from ldm_jax.eval.weights.published import Published

TRIES = 5  # without a byte between them
BLOCK = 2**20
TIMEOUT = 60.0  # seconds without a byte


def download(published: Published, folder: pathlib.Path, *, progress: bool = True) -> pathlib.Path:
    """The file in `folder`, where it is already, or from its address.

    What has come is kept in `FILE.part` beside it, from where the next try and the next call go on. The file
    gets its name when its length, and its SHA-256 where it is known, are right.

    Raises:
        ValueError: the address cannot be reached or has no such file, or what came is something else.
        OSError: the folder cannot be written.
    """
    target = folder / published.file
    if target.exists():
        if why := _wrong(target, published):
            raise ValueError(f"{target} is there, but {why}: remove it, and run again")
        return target
    folder.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    with _alone(part):
        _fetch(published, part, progress)
        if why := _wrong(part, published):
            part.unlink()
            raise ValueError(f"what came from {published.address} is not {published.file}: {why}")
        part.replace(target)
    return target


def _fetch(published: Published, part: pathlib.Path, progress: bool) -> None:
    """Adds to `part` until it is as long as the server says."""
    tries, seconds = 0, 1.0
    with tqdm(
        unit="B", unit_scale=True, unit_divisor=1000, desc=published.file, disable=not progress
    ) as bar:
        while True:
            before = part.stat().st_size
            try:
                if _rest(published, part, bar):
                    return
                reason: object = "the connection ended early"
            except urllib.error.HTTPError as error:
                if error.code < 500 and error.code not in (408, 429):
                    raise ValueError(
                        f"{published.address} answers {error.code} {error.reason}"
                    ) from None
                reason = error
            except (OSError, http.client.HTTPException) as error:
                if part.exists() and isinstance(error, OSError) and error.filename:
                    raise  # the disk, not the network
                reason = getattr(error, "reason", error) or type(error).__name__
            tries = tries + 1 if part.stat().st_size == before else 0
            if tries >= TRIES or (isinstance(reason, OSError) and _hopeless(reason)):
                have = f"; {before:,} bytes are kept for the next time" if before else ""
                raise ValueError(f"{published.address} cannot be read: {reason}{have}") from None
            time.sleep(seconds * tries)


def _hopeless(reason: OSError) -> bool:
    """A name that is not known, or nobody there: the network is missing, and waiting will not help."""
    return isinstance(reason, socket.gaierror | ConnectionRefusedError)


def _rest(published: Published, part: pathlib.Path, bar: Any) -> bool:
    """Adds what one answer gives; whether the file is complete with it."""
    have = part.stat().st_size
    headers = {"User-Agent": "ldm_jax"} | ({"Range": f"bytes={have}-"} if have else {})
    request = urllib.request.Request(published.address, headers=headers)
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # nothing after what is there: it was complete, or is something else
            raise
        error.close()
        total = (error.headers.get("Content-Range") or "").rpartition("/")[2]
        if total == str(have):
            return True
        part.write_bytes(b"")
        return False
    with answer, part.open("r+b") as file:
        start = have if answer.status == 206 and _starts_at(answer, have) else 0
        length = answer.headers.get("Content-Length")
        total = None if length is None else start + int(length)
        file.truncate(start)
        file.seek(start)
        bar.reset(total)
        bar.update(start)
        while block := answer.read(BLOCK):
            file.write(block)
            bar.update(len(block))
        return total is None or file.tell() == total


def _starts_at(answer: Any, have: int) -> bool:
    return (answer.headers.get("Content-Range") or "").startswith(f"bytes {have}-")


def _wrong(path: pathlib.Path, published: Published) -> str:
    """What is wrong with a file; "" where nothing is, as far as is known."""
    size = path.stat().st_size
    if published.size not in (None, size):
        return f"it has {size:,} bytes where {published.size:,} are published"
    if not size:
        return "it is empty"
    if published.sha256:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != published.sha256:
            return f"its SHA-256 begins with {found[:12]} and should with {published.sha256[:12]}"
    return ""


@contextlib.contextmanager
def _alone(part: pathlib.Path) -> Iterator[None]:
    """Holds the part for this process, as far as the system can."""
    with part.open("ab") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(f"another process is writing {part}") from None
        try:
            yield
        finally:
            if part.exists() and not part.stat().st_size:
                part.unlink()
