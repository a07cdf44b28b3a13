"""Where networks and their parameters come from when a run begins.

For each network the first of these that there is:

1. the run's own checkpoint (the loop's business, not this file's);
2. what `weights` names for it: a run, a checkpoint with several networks, a file or folder with one; "scratch" says
   nowhere, "" goes on to the next;
3. `checkpoint`, if it has this network;
4. nothing: a network that is trained starts from scratch, one that is only used is asked for in one sentence.
"""

import dataclasses
import pathlib
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax

from ldm_jax import config
from ldm_jax.convert import native, single
from ldm_jax.convert.checkpoint import SCHEDULER, Checkpoint, abstract_params, init_params
from ldm_jax.convert.files import open_tensors
from ldm_jax.convert.hub import resolve
from ldm_jax.convert.lazy import CheckpointError
from ldm_jax.convert.load import load
from ldm_jax.convert.rules import Params
from ldm_jax.models.audiomae import AudioMAE
from ldm_jax.models.unet import UNet
from ldm_jax.models.vae import VAE
from ldm_jax.shipped import shipped
from ldm_jax.train.representation import Split, flat, nested

# Fields that may differ between what is asked for and what a file says, on the same weights. What is asked for holds:
# how wide the UNet's attention heads are read (`ldm_jax.config.Preset.head_dim`), and what only training does. The
# scale of a VAE's latents was measured: its file's holds. A guidance scale may become an input of a UNet that had none.
_FREE = {"UNet": ("heads", "head_dim", "guidance_features")}
SCRATCH = "scratch"
_OF_TRAINING = ("drop", "remat")
_DECODER = ("decoder", "decoder_dim", "decoder_depth", "decoder_heads")
_LOA_TOKENS = {True: 512, False: 8}  # of systems that speak, of others


@dataclasses.dataclass(frozen=True, kw_only=True)
class Opened(Checkpoint):
    """The networks of a run as one system.

    `networks` has every one, `params` those whose weights were found. Tokenisers, scheduler and rates are those of the
    checkpoint that was given, else the published ones.

    Attributes:
        sources: what each network's parameters were read from; "" is nothing: it starts from scratch.
        origins: the checkpoint that each of the others was read from.
    """

    sources: Mapping[str, str]
    origins: Mapping[str, Checkpoint]


def tokenizer_folders(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """Tokeniser files by network: those of a checkpoint (also one of the package), or a folder's own `clap/`, `t5/`.

    Raises:
        ValueError: it is neither.
    """
    if not folder.exists():
        folder = shipped(str(folder)) or folder
    if (folder / "model.json").is_file() or (folder / "model_index.json").is_file():
        return dict(load(folder).tokenizers)
    if not folder.is_dir():
        raise ValueError(
            f"data.tokenizers is {folder}, which is neither a checkpoint nor a folder that holds clap/, t5/"
        )
    return {path.name: path for path in sorted(folder.iterdir()) if path.is_dir()}


def open_networks(
    networks: Mapping[str, nn.Module | Mapping[str, Any]],
    *,
    trained: Sequence[str],
    frozen: Sequence[str],
    checkpoint: str = "",
    weights: Mapping[str, str] | None = None,
    preset: str = "official",
    kept_as: Mapping[str, str] | None = None,
) -> Opened:
    """Finds architecture and parameters of every network of a run; nothing is computed or placed.

    Args:
        networks: architectures by name, as modules or as `native.describe` says them; for others the file's holds.
        trained: names of networks that may start from scratch.
        frozen: names of those that need weights.
        checkpoint: a folder, file or Hub id with several networks; "" is none.
        weights: sources of single networks; see above.
        preset: how a published UNet's attention heads are read, where `networks` does not say.
        kept_as: under which name checkpoints have a network, where it is not its own; where no weights are named for
            it, it is read from where that one is.

    Raises:
        CheckpointError: weights that are missing, or those of another model; in one sentence.
        ConversionError: weights that do not fit their own network.
    """
    weights, kept_as = dict(weights or {}), dict(kept_as or {})
    names = list(dict.fromkeys((*trained, *frozen)))
    asked = {
        name: module if isinstance(module, nn.Module) else native.build(module)
        for name, module in networks.items()
    }
    if unknown := sorted(set(weights) - set(names) - set(asked)):
        raise CheckpointError(
            f"weights.{unknown[0]} is given, but this stage has no such network; it has {', '.join(names)}"
        )
    shared = load(checkpoint) if checkpoint else None
    for name, there in kept_as.items():
        weights[name] = weights.get(name) or weights.get(there, "")
    sources = {name: _source(name, weights, checkpoint, shared, kept_as) for name in names}
    read: dict[str, Checkpoint] = {}
    found: dict[str, nn.Module] = {}
    params: dict[str, Params] = {}
    origins: dict[str, Checkpoint] = {}
    for name, source in sources.items():
        if not source:
            found[name] = _from_scratch(name, asked, may=name in trained)
            continue
        there = kept_as.get(name, name)
        own = _read(source, there, read) if weights.get(name) else shared
        assert own is not None
        origins[name] = own
        found[name], params[name] = _fitted(there, own, asked.get(name), preset)
    return Opened(
        networks=found,
        params=params,
        sources=sources,
        origins=origins,
        **_around(shared, read, found, preset),
    )


def check_added(opened: Opened, trained: Sequence[str], split: Split) -> None:
    """Raises ValueError where parameters that given weights lack would stay as they are drawn, trained by nobody.

    That is a guidance scale's embedding, which starts at zero: the student would never be told.

    Args:
        opened: what was given.
        trained: the networks that are trained.
        split: of the run's representation.
    """
    for name in trained:
        paths = flat(abstract_params(opened.networks[name]))
        added = paths.keys() - flat(opened.params.get(name) or paths).keys()
        if not added:
            continue
        moved, _ = jax.eval_shape(split, {name: nested(paths)}, jax.random.key(0))
        if held := sorted(added - flat(moved[name]).keys()):
            raise ValueError(
                f"the {name} is given an input that its weights do not know, but {held[0]} is not trained: add "
                f"{held[0].split('/')[0]!r} to trainable"
            )


def scratch(module: nn.Module, *, name: str, seed: int) -> Params:
    """New parameters that depend on the network, its name and the run's seed alone."""
    key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))
    return init_params(module, key)


def read_network(source: str, name: str) -> Checkpoint:
    """The checkpoint at `source` that has the network `name`, whatever layout it has.

    Raises:
        CheckpointError: nothing there, no such network in it, or a run that has no export yet.
        ConversionError: weights that do not fit.
    """
    path = resolve(source)
    if (path / "export" / "model.json").is_file():
        found = native.load(path / "export")
    elif (path / "checkpoints").is_dir():
        raise CheckpointError(
            f"{source} is a run that has not been exported; `python -m ldm_jax.train.export {source} --out FOLDER` "
            "does that, then give FOLDER"
        )
    elif (path / "lora.json").is_file():
        raise CheckpointError(
            f"{source} is a LoRA alone; `python -m ldm_jax.train.export {source} --checkpoint BASE --out FOLDER` "
            "merges it, then give FOLDER"
        )
    elif _is_system(path):
        found = load(path)
    elif name in single.READERS:
        found = single.load(path, name)
    else:
        raise CheckpointError(
            f"{source} is no checkpoint that a {name} can be read from; give a run, or a folder with model.json or "
            "model_index.json"
        )
    if name not in found.networks:
        raise CheckpointError(f"{source} has no {name}; it has {', '.join(found.networks)}")
    return found


def _is_system(path: pathlib.Path) -> bool:
    """Whether `load` knows the layout: a folder of several networks, or the official single file."""
    if path.is_dir():
        return any((path / name).is_file() for name in ("model.json", "model_index.json"))
    return any(name.startswith("model.diffusion_model.") for name in open_tensors(path))


def _source(
    name: str,
    weights: Mapping[str, str],
    checkpoint: str,
    shared: Checkpoint | None,
    kept_as: Mapping[str, str],
) -> str:
    if weights.get(name):
        return "" if weights[name] == SCRATCH else weights[name]
    there = kept_as.get(name, name)
    return checkpoint if shared is not None and there in shared.networks else ""


def _read(source: str, name: str, read: dict[str, Checkpoint]) -> Checkpoint:
    """`read_network`, once for all networks of a source."""
    if source not in read or name not in read[source].networks:
        read[source] = read_network(source, name)
    return read[source]


def _from_scratch(name: str, asked: Mapping[str, nn.Module], *, may: bool) -> nn.Module:
    if not may:
        raise CheckpointError(
            f"this stage needs weights of {name}, and none are given: set weights.{name} to a run, a checkpoint or a "
            "file, or checkpoint to one that has it"
        )
    if name not in asked:
        raise CheckpointError(
            f"this stage trains {name}, and none is given: set networks.{name} to start from scratch, or "
            f"weights.{name} or checkpoint to go on from"
        )
    return asked[name]


def _fitted(
    name: str, own: Checkpoint, asked: nn.Module | None, preset: str
) -> tuple[nn.Module, Params]:
    """The network as it is to run, with the file's parameters."""
    module, params = own.networks[name], own.params[name]
    if asked is None:
        head_dim = config.preset(preset).head_dim
        if isinstance(module, UNet) and head_dim is not None and own.preset is None:
            module = module.clone(heads=None, head_dim=head_dim)
        return module, params
    if isinstance(module, AudioMAE) and isinstance(asked, AudioMAE) and asked.decoder is None:
        module = module.clone(**{field: getattr(asked, field) for field in _DECODER})
        params = {k: x for k, x in params.items() if not k.startswith(("decoder", "mask_token"))}
    if isinstance(module, VAE) and isinstance(asked, VAE):
        asked = asked.clone(scaling_factor=module.scaling_factor)
    if isinstance(module, UNet) and module.guidance_features is not None:
        asked = asked.clone(guidance_features=module.guidance_features)
    there, here = native.describe(module), native.describe(asked)
    if differing := first_difference(there, here):
        field, theirs, ours = differing
        raise CheckpointError(
            f"{own.source} holds another {name}: its {field} is {theirs}, that of networks.{name} is {ours}; "
            f"change one of them, or set weights.{name} to 'scratch'"
        )
    return asked, params


def first_difference(there: Any, here: Any, name: str = "") -> tuple[str, Any, Any] | None:
    """(field, value there, value here) of the first field that makes another model of it."""
    if not (isinstance(there, dict) and isinstance(here, dict)):
        return None if _plain(there) == _plain(here) else (name, there, here)
    free = (*_OF_TRAINING, *_FREE.get(here.get("class", ""), ()))
    for key in dict.fromkeys((*there, *here)):
        path = f"{name}.{key}" if name else key
        if not key.startswith(free) and (
            found := first_difference(there.get(key), here.get(key), path)
        ):
            return found
    return None


def _plain(value: Any) -> Any:
    """Tuples as JSON has them."""
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _around(
    shared: Checkpoint | None,
    read: Mapping[str, Checkpoint],
    networks: Mapping[str, nn.Module],
    preset: str,
) -> dict[str, Any]:
    """What a `Checkpoint` has beside networks: that of `shared`, else of a system that a network was read from."""
    folders: dict[str, pathlib.Path] = {}
    for other in (*read.values(), *(() if shared is None else (shared,))):
        folders |= other.tokenizers
    whole = shared or next((other for other in read.values() if len(other.networks) > 1), None)
    if whole is None:
        return {
            "tokenizers": folders,
            "scheduler": SCHEDULER,
            "sample_rate": 16_000,
            "hop": 160,
            "loa_tokens": _LOA_TOKENS["phoneme_encoder" in networks],
            "preset": preset,
            "source": "",
        }
    return {
        "tokenizers": folders,
        "scheduler": whole.scheduler,
        "sample_rate": whole.sample_rate,
        "hop": whole.hop,
        "loa_tokens": whole.loa_tokens,
        "preset": whole.preset or preset,
        "source": whole.source,
        "seconds": whole.seconds,
    }
