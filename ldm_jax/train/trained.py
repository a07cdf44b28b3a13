"""What a run has trained, read from its folder without its config's code, mesh or optimiser."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import SingleDeviceSharding
from orbax.checkpoint import v1 as ocp

from ldm_jax.convert import native
from ldm_jax.convert.checkpoint import Checkpoint, abstract_params
from ldm_jax.convert.lazy import CheckpointError
from ldm_jax.convert.rules import Params
from ldm_jax.train import lora, record
from ldm_jax.train.checkpoints import checksums
from ldm_jax.train.representation import Tree, flat, merged, nested
from ldm_jax.train.weight_norm import weight_normed
from ldm_jax.train.weights import SCRATCH, open_networks, scratch, tokenizer_folders

# What a system consists of. A run may also have used or trained what is of no use afterwards: discriminators, LPIPS.
SYSTEM = (
    *("unet", "vae", "vocoder", "clap", "t5", "phoneme_encoder"),
    *("gpt2", "translator", "audiomae"),
)
_PART = ocp.Context()
_PART.pytree.loading.partial_load = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
    """A run's result.

    Attributes:
        system: the run's networks, trained and used, and what is known around them; `params` are those that it began
            with.
        params: of the networks that it trained, as they are used.
        constants: that it measured.
        factors: of a LoRA that it trained, which `params` has merged.
        settings: of the LoRA.
    """

    system: Checkpoint
    params: Mapping[str, Params]
    constants: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    factors: Tree = dataclasses.field(default_factory=dict)
    settings: lora.LoRA = dataclasses.field(default_factory=lora.LoRA)


def read_run(run: pathlib.Path, *, step: int | None = None, raw: bool = False) -> Trained:
    """Opens a run's folder.

    Args:
        run: the folder.
        step: of the checkpoint; None is the last.
        raw: parameters as they are, in place of their moving averages.

    Raises:
        ValueError: the folder holds no run.
        CheckpointError: no such checkpoint, a damaged one, or given weights that are no longer where they were.
    """
    about = record.read(run)
    config = about["config"]
    state = read_state(run, step=step)
    trained = {name: state["params"][name] if raw else tree for name, tree in state["ema"].items()}
    system = _system(config, trained)
    settings = lora.LoRA(**_fields(lora.LoRA, config.get("lora") or {}))
    params = {
        name: _used(name, tree, system, settings, int(config["seed"]))
        for name, tree in trained.items()
    }
    return Trained(
        system=dataclasses.replace(system, **record.sampled_after(about, int(state["step"]))),
        params=params,
        constants=state.get("constants", {}),
        factors=lora.apart(trained)[0],
        settings=settings,
    )


def read_state(run: pathlib.Path, *, step: int | None = None) -> Tree:
    """Parameters, averages and constants of a run's checkpoint, as NumPy arrays; the optimiser's state is not read.

    Raises:
        CheckpointError: there is none, or its files have changed since it was written.
    """
    folder = run / "checkpoints"
    steps = sorted(int(path.name) for path in folder.glob("*") if path.name.isdigit())
    if not steps or (step is not None and step not in steps):
        there = ", ".join(map(str, steps)) or "none"
        raise CheckpointError(
            f"{run} has no checkpoint {'' if step is None else step}; it has {there}"
        )
    path = (folder / f"{steps[-1] if step is None else step:08}").absolute()
    sums = run / "checksums" / f"{path.name}.json"
    if sums.is_file() and json.loads(sums.read_text()) != checksums(path):
        raise CheckpointError(f"{path} is damaged: its files have changed since they were written")
    here = SingleDeviceSharding(jax.local_devices()[0])
    with _PART:
        stored: Any = ocp.metadata(str(path)).metadata
        read = ("step", "params", "ema", "constants")
        wanted = {name: stored[name] for name in read if name in stored}
        abstract = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), wanted
        )
        loaded: Any = ocp.load(str(path), abstract)
    return jax.tree.map(np.asarray, loaded)


def rejoined(base: Tree, trained: Tree, *, scale: float) -> Tree:
    """The parameters of a network whose trained part is `trained`, in any representation, and which began as `base`."""
    factors, whole = lora.apart(plain_kernels(trained))
    params = lora.merge(base, factors, scale=scale) if factors else base
    return nested(flat(params) | flat(whole))


def plain_kernels(trained: Tree) -> Tree:
    """`trained` of one network, with kernels in place of their weight norm's lengths and directions."""
    return weight_normed(("",)).join(jax.tree.map(jnp.asarray, trained), {})


def _used(name: str, trained: Tree, system: Checkpoint, settings: lora.LoRA, seed: int) -> Params:
    base, module = system.params.get(name), system.networks[name]
    if base is None and _is_whole(module, trained):
        base = {}
    if base is None:
        base = _drawn(name, module, flat(plain_kernels(trained)), seed)
    elif base:  # to which an input may have been added
        base = merged(base, _drawn(name, module, flat(base), seed))
    scale = settings.scale() if settings.rank else 0.0
    return jax.tree.map(np.asarray, rejoined(base, trained, scale=scale))


def _drawn(name: str, module: nn.Module, there: Mapping[str, Any], seed: int) -> Tree:
    """What a run drew at the beginning at other paths than those of `there`, again; nothing else is computed."""
    wanted = flat(abstract_params(module)).keys() - there.keys()
    if not wanted:
        return {}

    @jax.jit
    def draw() -> Tree:
        drawn = flat(scratch(module, name=name, seed=seed))
        return {path: drawn[path] for path in wanted}

    return nested(draw())


def _is_whole(module: nn.Module, trained: Tree) -> bool:
    """Whether what was trained are all parameters, so that nobody has to know what they began as."""
    return flat(abstract_params(module)).keys() <= flat(plain_kernels(trained)).keys()


def _system(config: Mapping[str, Any], trained: Mapping[str, Tree]) -> Checkpoint:
    """The run's networks that are of use afterwards."""
    kept = (*trained, *SYSTEM)
    described = {name: native.build(x) for name, x in config["networks"].items() if name in kept}
    whole = [name for name, tree in trained.items() if _is_whole(described[name], tree)]
    weights = {name: x for name, x in config["weights"].items() if name in kept}
    # A run may name what it did not use itself, for its previews.
    beside = [name for name, x in weights.items() if x not in ("", SCRATCH)]
    opened = open_networks(
        described,
        trained=tuple(trained),
        frozen=[name for name in dict.fromkeys((*described, *beside)) if name not in trained],
        checkpoint=config["checkpoint"],
        weights=weights | dict.fromkeys(whole, SCRATCH),
    )
    if opened.source:
        return opened
    rate = int(config["data"]["sample_rate"])
    folder = pathlib.Path(config["data"]["tokenizers"])
    files = tokenizer_folders(folder) if folder.name and folder.is_dir() else {}
    return dataclasses.replace(
        opened, sample_rate=rate, hop=rate // 100, tokenizers={**opened.tokenizers, **files}
    )


def _fields(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    names = {field.name for field in dataclasses.fields(kind)}
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in values.items()
        if name in names
    }
