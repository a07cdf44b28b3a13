"""Any checkpoint, whatever its layout."""

import pathlib

from ldm_jax.convert import diffusers_folder, native, official
from ldm_jax.convert.checkpoint import Checkpoint, Own
from ldm_jax.convert.hub import resolve
from ldm_jax.convert.lazy import CheckpointError

PICKLED = (".pth", ".pt", ".ckpt", ".bin")


def load(path_or_id: str | pathlib.Path, *, revision: str | None = None) -> Checkpoint:
    """Reads a checkpoint: our own folder, a diffusers folder, an official single file, or a Hub id of one of them.

    Raises:
        CheckpointError: nothing there, a broken file, or not a layout that is known.
        ConversionError: configs or weights that do not fit; each is named.
    """
    path = resolve(path_or_id, revision=revision)
    if path.is_file():
        if path.suffix not in PICKLED:
            raise CheckpointError(
                f"{path} is not a checkpoint: a folder or one of {', '.join(PICKLED)} is expected"
            )
        return official.load(path)
    if (path / "model.json").exists():
        return native.load(path)
    if (path / "model_index.json").exists():
        return diffusers_folder.load(path)
    single = [file for file in sorted(path.iterdir()) if file.suffix in (".pth", ".ckpt")]
    if len(single) == 1:
        return official.load(single[0])
    raise CheckpointError(
        f"{path} is not a checkpoint: it holds neither model.json (ldm_jax), nor model_index.json (diffusers), "
        "nor a single .pth file (official)"
    )


def read_own(path_or_id: str | pathlib.Path, *, revision: str | None = None) -> Own:
    """What a checkpoint is asked for where nothing else is said. No weights are read or downloaded.

    Raises:
        CheckpointError: nothing there, or a broken `model.json`.
    """
    path = resolve(path_or_id, revision=revision, allow_patterns=["model.json"])
    return native.read_own(path) if (path / "model.json").is_file() else Own()
