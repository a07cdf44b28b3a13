"""From a path, a name of what comes with the package, or an id of the Hugging Face Hub, to files on disk."""

import glob
import pathlib
import re
from collections.abc import Iterable, Sequence
from typing import Any

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import validate_repo_id

from ldm_jax.convert.lazy import CheckpointError
from ldm_jax.shipped import shipped

_FILES = (".safetensors", ".bin", ".pth", ".pt", ".ckpt", ".json")
_OTHER_FRAMEWORKS = (".msgpack", ".h5", ".ot", ".onnx", ".onnx_data", ".tflite", ".gguf")
_VARIANT = re.compile(r"\.(?:fp16|bf16|fp32|non_ema)(?:-\d{5}-of-\d{5})?\.\w+$|\.index\.\w+\.json$")


def resolve(
    path_or_id: str | pathlib.Path,
    *,
    revision: str | None = None,
    allow_patterns: Sequence[str] | None = None,
) -> pathlib.Path:
    """The file or folder that is meant: a path that exists, else a snapshot of a Hub repository.

    A path that exists comes first, then a checkpoint of the package (`ldm_jax.shipped`). A repository
    comes through the Hub's cache (below `HF_HOME`): only what is not there is downloaded, and without
    a network the cache is used as it is. What is there as safetensors is not downloaded as `.bin` too.

    Args:
        path_or_id: a path, a name such as `small`, or an id such as `cvssp/audioldm2`.
        revision: branch, tag or commit of a repository; no matter for a path.
        allow_patterns: only files that match one of these are downloaded.

    Raises:
        CheckpointError: neither is found, the Hub cannot be reached, or the download stops.
    """
    name = str(path_or_id)
    path = pathlib.Path(name).expanduser()
    if path.exists():
        return path
    if (own := shipped(name)) is not None:
        return own
    if path.suffix in _FILES or not _is_id(name):
        raise CheckpointError(
            f"{name} does not exist, nor is it an id of the Hub (organisation/name)"
        )
    options = {
        "revision": revision,
        "allow_patterns": None if allow_patterns is None else list(allow_patterns),
    }
    try:
        if constants.HF_HUB_OFFLINE:
            raise ConnectionError("HF_HUB_OFFLINE is set")
        siblings = huggingface_hub.HfApi().model_info(name, revision=revision).siblings or []
    except Exception as error:  # each version of the client raises its own HTTP library's errors
        return _cached(name, options, error)
    options["ignore_patterns"] = [
        glob.escape(file) for file in unneeded(sibling.rfilename for sibling in siblings)
    ]
    try:
        return pathlib.Path(huggingface_hub.snapshot_download(name, **options))
    except GatedRepoError as error:
        raise CheckpointError(_explanation(name, revision, error)) from None
    except Exception as error:
        raise CheckpointError(
            f"the download of {name} stopped ({_one_line(error)}); run again to go on from there"
        ) from None


def _is_id(name: str) -> bool:
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def _cached(name: str, options: dict[str, Any], reason: Exception) -> pathlib.Path:
    """The snapshot in the cache; else a CheckpointError with the reason why there is no other."""
    try:
        return pathlib.Path(
            huggingface_hub.snapshot_download(name, **options, local_files_only=True)
        )
    except LocalEntryNotFoundError as error:
        # Newer clients refuse a snapshot that lacks any file; the reader will say what matters.
        if partial := getattr(error, "snapshot_path", None):
            return pathlib.Path(partial)
    raise CheckpointError(_explanation(name, options["revision"], reason)) from None


def unneeded(files: Iterable[str]) -> list[str]:
    """Those of a repository's files that hold nothing new for us.

    Weights of other frameworks; and in each folder with safetensors, the same as `.bin` and in
    other precisions.
    """
    paths = [pathlib.PurePosixPath(file) for file in files]
    whole = [path for path in paths if not _VARIANT.search(path.name)]
    safe = {path.parent for path in whole if path.suffix == ".safetensors"}
    either = safe | {path.parent for path in whole if path.suffix == ".bin"}
    skipped = []
    for path in paths:
        weights = re.search(r"\.(?:safetensors|bin)(?:\.index(?:\.\w+)?\.json)?$", path.name)
        pickled = weights and ".bin" in weights.group()
        if (
            path.suffix in _OTHER_FRAMEWORKS
            or (pickled and path.parent in safe)
            or (weights and path not in whole and path.parent in either)
        ):
            skipped.append(str(path))
    return skipped


def _explanation(name: str, revision: str | None, error: Exception) -> str:
    """One sentence on why a repository is not had, and what to do."""
    if isinstance(error, GatedRepoError):
        where = f"https://huggingface.co/{name}"
        return f"{name} is gated: accept its terms at {where} and log in with `hf auth login`"
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"{name} is neither a file or folder here nor a repository on the Hub"
            " (if it is private, log in with `hf auth login`)"
        )
    if isinstance(error, RevisionNotFoundError):
        return f"{name} on the Hub has no revision {revision}"
    at = f" at revision {revision}" if revision else ""
    return (
        f"{name}{at} is not a file or folder here, is not in the Hub's cache"
        f" ({constants.HF_HUB_CACHE}), and the Hub cannot be reached ({_one_line(error)}); where"
        f" there is a network run `hf download {name}`, then copy the cache or give its path"
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
