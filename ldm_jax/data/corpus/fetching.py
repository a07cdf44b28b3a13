"""Getting packages from Debian's mirrors, without root, and unpacking what the corpus needs of them."""

import pathlib
import re
import shutil
import subprocess
import tempfile
import time
import urllib.parse

from tqdm import tqdm

from ldm_jax.data.corpus.containers import unpack_deb, unpack_zip
from ldm_jax.data.corpus.recordings import is_audio

# Beside audio: what says whose it is, what is heard, and archives with more in them.
TEXTS = re.compile(r"readme|copyright|licen[cs]e|credits|authors|core-sounds-", re.IGNORECASE)


class FetchError(ValueError):
    """A package cannot be had; the message says why and what to do."""


def fetch(name: str, folder: pathlib.Path, *, megabytes: float = 0.0) -> pathlib.Path:
    """The .deb file of a package, from `folder` or else downloaded there.

    Args:
        name: of the package.
        folder: where `NAME_VERSION_ARCHITECTURE.deb` may lie already.
        megabytes: its expected size, for the progress bar; 0 shows none.

    Raises:
        FetchError: no apt-get, or it does not know the package or cannot reach a mirror.
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if found := sorted(folder.glob(f"{name}_*.deb")):
        return found[-1]
    if shutil.which("apt-get") is None:
        raise FetchError(
            "apt-get is not on this machine: run this on Debian or Ubuntu (a container will do), or put the "
            f"package's .deb file in {folder}"
        )
    # In a folder of its own, so that a file that has its name in `folder` is whole.
    with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as temporary:
        _download(name, pathlib.Path(temporary), megabytes)
        (file,) = pathlib.Path(temporary).glob("*.deb")
        return file.rename(folder / file.name)


def _download(name: str, folder: pathlib.Path, megabytes: float) -> None:
    with (
        tempfile.TemporaryFile("w+") as messages,
        tqdm(
            total=round(megabytes * 1e6),
            unit="B",
            unit_scale=True,
            desc=f"fetch {name}",
            disable=not megabytes,
        ) as bar,
    ):
        command = ["apt-get", "download", "-q", name]
        process = subprocess.Popen(command, cwd=folder, stdout=messages, stderr=messages)
        try:
            while process.poll() is None:
                time.sleep(0.2)
                bar.update(sum(file.stat().st_size for file in folder.glob("*")) - bar.n)
        finally:
            process.kill()
        messages.seek(0)
        errors = [line[3:].strip() for line in messages if line.startswith("E: ")]
    if process.returncode or not list(folder.glob("*.deb")):
        raise FetchError(
            f"apt-get does not give it ({'; '.join(errors) or 'no reason given'}); `apt-get update` first may help"
        )


def version_of(deb: pathlib.Path) -> str:
    """`1:2.0-1` of `name_1%3a2.0-1_all.deb`."""
    return urllib.parse.unquote(deb.stem.split("_")[1])


def unpack(deb: pathlib.Path, folder: pathlib.Path) -> None:
    """Unpacks the audio, texts and archives of a package into `folder`, and of its zip archives the audio.

    Raises:
        ContainerError: the package or an archive in it is damaged.
        OSError: the folder cannot be written.
    """
    unpack_deb(deb, folder, wanted=_is_wanted)
    for archive in sorted(folder.rglob("*.zip")):
        unpack_zip(archive, archive.with_suffix(""), wanted=is_audio)
        archive.unlink()


def _is_wanted(name: str) -> bool:
    file = pathlib.PurePosixPath(name)
    return is_audio(name) or file.suffix in (".cat", ".zip") or bool(TEXTS.search(file.name))
