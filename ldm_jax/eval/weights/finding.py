"""Where weights lie: given, in our folder, or where the tools of others have left them."""

import importlib.util
import os
import pathlib
import urllib.parse
from collections.abc import Iterator, Sequence

import huggingface_hub

from ldm_jax.convert.hub import resolve
from ldm_jax.convert.lazy import CheckpointError
from ldm_jax.eval.cache import home
from ldm_jax.eval.weights.published import DEFAULTS, PUBLISHED, ROBERTA, TWINS, Published

# Whose tokeniser is RoBERTa's: each has the same vocabulary.
_WITH_ROBERTA = (ROBERTA, "FacebookAI/roberta-base", *TWINS)
_TOKENIZER = ("tokenizer.json", "merges.txt")


class WeightsError(ValueError):
    """Weights that are not there; the message says what is missing and how to get it, in one sentence."""


def find(
    name: str,
    *,
    path: str | os.PathLike[str] | None = None,
    folder: str | os.PathLike[str] | None = None,
) -> pathlib.Path:
    """The file of a backbone's published weights; of CLAP's twins on the Hub, and of musicnn, perhaps their folder.

    Looked for in `folder`, in our own folder (`cache.home()`), and where torch.hub, audioldm_eval,
    panns_inference, frechet_audio_distance, laion_clap, fadtk, musicnn and the Hub's client keep it. Nothing is
    downloaded but what `convert.hub.resolve` gets of a twin.

    Args:
        name: a key of `PUBLISHED` or of `DEFAULTS`, or "clap:" and an id of the Hub or a folder of transformers'
            ClapModel.
        path: the file (or folder) itself, whatever it is called.
        folder: where the user keeps such files.

    Raises:
        WeightsError: it is not there, or not whole, or the name is unknown.
    """
    name = DEFAULTS.get(name, name)
    if path is not None:
        given = pathlib.Path(path).expanduser()
        if not given.exists():
            raise WeightsError(f"the weights of {name} are not at {given}")
        return given
    if name == "roberta":
        if there := find_tokenizer(folder=folder):
            return there
        looked = [*_given(folder), home()]
        raise WeightsError(_missing(name, PUBLISHED[name].file, PUBLISHED[name].address, looked))
    if name not in PUBLISHED:
        return _twin(name)
    published = PUBLISHED[name]
    looked = [*dict.fromkeys(_folders(name, folder))]
    broken = ""
    for place in looked:
        if (inside := _unpacked(name, place)) is not None:
            return inside
        for spelling in dict.fromkeys((published.file, urllib.parse.quote(published.file))):
            file = place / spelling
            if file.is_file():
                size = file.stat().st_size
                if published.size in (None, size):
                    return file
                broken = broken or f"; {file} has {size:,} bytes, not {published.size:,}"
    if published.repository and (cached := _in_hub(published)):
        return cached
    raise WeightsError(_missing(name, published.file, published.address, looked) + broken)


def find_tokenizer(*, folder: str | os.PathLike[str] | None = None) -> pathlib.Path | None:
    """A folder with RoBERTa's tokeniser, for CLAP's texts; None where there is none, of which `find("roberta")` tells.

    Looked for in `folder` and our own folder, there also in `roberta-base`, and in the Hub's cache among
    roberta-base and the CLAP models of transformers.

    Raises:
        WeightsError: the folder is not there.
    """
    for place in (*_given(folder), home()):
        for below in (place / ROBERTA, place):
            if any((below / file).is_file() for file in _TOKENIZER):
                return below
    for repository in _WITH_ROBERTA:
        for file in _TOKENIZER:
            found = huggingface_hub.try_to_load_from_cache(repository, file)
            if isinstance(found, str):
                return pathlib.Path(found).parent
    return None


def is_published(name: str, sha256: str) -> bool | None:
    """Whether weights are the published ones, by the SHA-256 of a `Backbone`; None where that is not known."""
    name = DEFAULTS.get(name, name)
    known = PUBLISHED[name].inner or PUBLISHED[name].sha256 if name in PUBLISHED else ""
    return known == sha256 if known else None


def _twin(name: str) -> pathlib.Path:
    kind, _, place = name.partition(":")
    if kind != "clap" or not place:
        known = ", ".join((*PUBLISHED, *(f"clap:{twin}" for twin in TWINS)))
        raise WeightsError(f"{name!r} is no backbone; known are {known}")
    try:
        return resolve(place)
    except CheckpointError as error:
        raise WeightsError(f"the weights of {name}: {error}") from None


def _given(folder: str | os.PathLike[str] | None) -> Sequence[pathlib.Path]:
    if folder is None:
        return ()
    place = pathlib.Path(folder).expanduser()
    if not place.is_dir():
        raise WeightsError(f"the folder of weights, {place}, is not there")
    return (place,)


def _folders(name: str, folder: str | os.PathLike[str] | None) -> Iterator[pathlib.Path]:
    """Where a file may lie, the user's own places first."""
    user = pathlib.Path.home()
    yield from _given(folder)
    yield home()
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or user / ".cache")
    torch = pathlib.Path(os.environ.get("TORCH_HOME") or cache / "torch") / "hub"
    if not name.startswith("musicnn"):
        yield torch / "checkpoints"
    if name.startswith("cnn14"):
        yield user / ".cache" / "audioldm_eval" / "ckpt"
        yield user / "panns_data"
    if name.startswith(("cnn14", "clap")):
        yield torch  # frechet_audio_distance
    yield from _of_packages(name.partition(":")[0])


def _unpacked(name: str, place: pathlib.Path) -> pathlib.Path | None:
    """The folder of a musicnn in an installed or unzipped package; None where there is none."""
    family, _, network = name.partition(":")
    if family == "musicnn":
        for folder in (place / network, place / "musicnn" / network):
            if any(folder.glob("*.index")):
                return folder
    return None


_PACKAGES = {
    "clap": (("laion_clap", ""), ("fadtk", ".model-checkpoints")),
    "musicnn": (("musicnn", ""),),
}


def _of_packages(family: str) -> Iterator[pathlib.Path]:
    """Packages that keep weights within themselves, found without importing them."""
    for package, below in _PACKAGES.get(family, ()):
        spec = importlib.util.find_spec(package)
        if spec and spec.origin:
            yield pathlib.Path(spec.origin).parent / below


def _in_hub(published: Published) -> pathlib.Path | None:
    found = huggingface_hub.try_to_load_from_cache(published.repository, published.file)
    return pathlib.Path(found) if isinstance(found, str) else None


def _missing(name: str, file: str, url: str, looked: Sequence[pathlib.Path]) -> str:
    places = ", ".join(map(str, looked))
    return (
        f"the file of {name}, {file}, is not in {places}: where there is a network, run"
        f" `python -m ldm_jax.eval.weights {name} --to {looked[0]}`, or get it from {url}"
    )
