"""Writes tests/golden/pickles with PyTorch, so that tests without it read real files."""

import argparse
import collections
import functools
import json
import pathlib

import ml_dtypes
import numpy as np
import torch

from tests import cases_pickles as cases


def tensor(x: np.ndarray) -> torch.Tensor:
    """The same numbers in PyTorch; bfloat16 by its bits."""
    if x.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(x.view(np.int16).copy()).view(torch.bfloat16)
    return torch.from_numpy(np.array(x))


def plain() -> dict[str, torch.Tensor]:
    """`cases.expected()`: arrays of their own, a parameter, and views of one storage."""
    tensors = {name: tensor(x) for name, x in cases.arrays().items()}
    tensors["parameter"] = torch.nn.Parameter(tensors["parameter"])
    base = tensor(cases.views()["base"])
    return {
        **tensors,
        "base": base,
        "transposed": base.T,
        "columns": base[:, 1::2],
        "last": base[3],
        "repeated": base[:, :1].expand(4, 3),
        "permuted": base.reshape(2, 2, 6).permute(2, 0, 1),
    }


class Callback:
    """An object of a class that no reader has."""

    def __init__(self) -> None:
        self.best = torch.ones(2)
        self.monitor = functools.partial(max, 1)


def lightning() -> dict:
    """A training checkpoint with all that hangs on one."""
    weights = collections.OrderedDict((k, tensor(v)) for k, v in cases.weights().items())
    weights._metadata = collections.OrderedDict({"": {"version": 1}})
    parameter = torch.nn.Parameter(torch.ones(2))
    adam = torch.optim.Adam([parameter])
    parameter.sum().backward()
    adam.step()
    return {
        "epoch": 3,
        "global_step": 1000,
        "loss": np.float64(0.25),
        "history": np.arange(6, dtype=np.int32).reshape(2, 3, order="F"),
        "names": np.array(["a", None], dtype=object),
        "state_dict": weights,
        "optimizer_states": [adam.state_dict()],
        "hyper_parameters": argparse.Namespace(lr=1e-4, size=torch.Size([2, 3]), dtype=torch.half),
        "callbacks": {Callback: Callback()},
        "path": pathlib.PurePosixPath("/data"),
        "tags": {"a"},
        "counts": collections.defaultdict(int, {"seen": 2}),
        "device": torch.device("cpu"),
        "bytes": b"\x00\xff",
    }


def write() -> None:
    """Writes every file of `cases.files()`."""
    cases.SHARDED.mkdir(parents=True, exist_ok=True)
    legacy = {"_use_new_zipfile_serialization": False}
    torch.save(plain(), cases.ZIP)
    torch.save(plain(), cases.LEGACY, **legacy)
    torch.save(lightning(), cases.LIGHTNING)
    torch.save(lightning(), cases.LIGHTNING_LEGACY, **legacy)
    weights = {name: tensor(x) for name, x in cases.weights().items()}
    torch.save({"generator": weights}, cases.GENERATOR)
    index, shards = cases.files()[-1], cases.files()[-3:-1]
    parts = (["conv.weight"], ["conv.bias", "half"])
    for shard, names in zip(shards, parts, strict=True):
        torch.save({name: weights[name] for name in names}, shard)
    shard_of = {n: shard.name for shard, names in zip(shards, parts, strict=True) for n in names}
    index.write_text(json.dumps({"metadata": {"total_size": 140}, "weight_map": shard_of}))
