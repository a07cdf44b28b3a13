"""Networks over rows in groups: each device runs the same program on its own, so that their number changes nothing."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from ldm_jax.eval.backbones.backbone import Backbone, Inputs
from ldm_jax.parallel.mesh import data_mesh, place, replicated, rows
from ldm_jax.parallel.program import program

# Rows at a time on each device: never another number, since the last bits of a row may depend on it. On a CPU a clip
# keeps all cores busy, but several share the reading of the weights, which is most of VGGish's work on its 0.96 s.
GROUP = {("vggish", "audio"): 32, ("cnn14", "audio"): 4, ("clap", "text"): 8}
ON_ACCELERATORS = 16

Function = Callable[[Any, Mapping[str, Any]], dict[str, jax.Array]]


class Runner:
    """A backbone on every device of a mesh; rows run in groups of a fixed size, the last one filled up with copies."""

    def __init__(self, backbone: Backbone, task: str, *, mesh: Mesh | None = None):
        """Places the weights.

        Args:
            backbone: the network.
            task: "audio" or "text": a key of `TASKS`, behind the backbone's kind.
            mesh: with the axis "data"; None is all devices of this process.
        """
        self._mesh = data_mesh(jax.local_devices()) if mesh is None else mesh
        on_cpu = self._mesh.devices.flat[0].platform == "cpu"
        group = GROUP.get((backbone.kind, task), 1) if on_cpu else ON_ACCELERATORS
        self._size = group * self._mesh.size
        self._run = compiled(backbone.kind, task, backbone.module, self._mesh)
        weights = PREPARED.get(backbone.kind, _as_they_are)(backbone.module, backbone.params)
        self._weights = place(weights, replicated(self._mesh))

    @property
    def size(self) -> int:
        """Rows of a group, on all devices together."""
        return self._size

    def __call__(self, inputs: Inputs) -> dict[str, np.ndarray]:
        """Outputs by name, a row for each row of `inputs`."""
        count = len(next(iter(inputs.values())))
        parts = [
            self._group({name: x[i : i + self._size] for name, x in inputs.items()})
            for i in range(0, count, self._size)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _group(self, inputs: Inputs) -> dict[str, np.ndarray]:
        count = len(next(iter(inputs.values())))
        filled = {
            name: np.concatenate([x, np.repeat(x[-1:], self._size - count, axis=0)])
            for name, x in inputs.items()
        }
        outputs = self._run(self._weights, place(filled, rows(self._mesh)))
        return {name: np.asarray(x)[:count] for name, x in outputs.items()}


@functools.cache
def compiled(kind: str, task: str, module: Any, mesh: Mesh) -> Callable[..., Any]:
    """(weights, inputs) -> outputs by name, rows divided over the mesh; compiled when it is called."""
    function = TASKS[kind, task](module)

    def exact(weights: Any, inputs: Mapping[str, Any]) -> dict[str, jax.Array]:
        # Accelerators would round to bfloat16 or TF32.
        with jax.default_matmul_precision("highest"):
            return function(weights, inputs)

    return program(
        jax.shard_map(
            exact,
            mesh=mesh,
            in_specs=(PartitionSpec(), PartitionSpec("data")),
            out_specs=PartitionSpec("data"),
            check_vma=False,
        )
    )


def _as_they_are(_: Any, params: Any) -> Any:
    return params


def _prepared(module: Any, params: Any) -> Any:
    return jax.jit(lambda tree: module.apply({"params": tree}, method="prepare"))(params)


# What is worth computing of the weights once, before any clip.
PREPARED: dict[str, Callable[[Any, Any], Any]] = {"vggish": _prepared, "cnn14": _prepared}


def _vggish(module: Any) -> Function:
    return lambda prepared, x: {"embedding": module.apply({}, x["examples"], prepared)}


def _cnn14(module: Any) -> Function:
    def run(prepared: Any, x: Mapping[str, Any]) -> dict[str, jax.Array]:
        out = module.apply({}, x["log_mel"], x["frames"], prepared)
        return {"embedding": out.embedding, "logits": out.logits}

    return run


def _passt(module: Any) -> Function:
    def run(params: Any, x: Mapping[str, Any]) -> dict[str, jax.Array]:
        out = module.apply({"params": params}, x["log_mel"])
        return {"embedding": out.features, "logits": out.logits}

    return run


def _musicnn(module: Any) -> Function:
    def run(params: Any, x: Mapping[str, Any]) -> dict[str, jax.Array]:
        out = module.apply({"params": params}, x["log_mel"])
        return {"embedding": out.embedding, "logits": out.logits}

    return run


def _clap_audio(module: Any) -> Function:
    return lambda params, x: {
        "embedding": module.apply(
            {"params": params}, x["log_mel"], x.get("longer"), method="embed_audio"
        )
    }


def _clap_text(module: Any) -> Function:
    return lambda params, x: {
        "embedding": module.apply({"params": params}, x["ids"], x["mask"], method="embed_text")
    }


def _audiomae(module: Any) -> Function:
    """The mean over time and frequency of the features that LOA is pooled from."""

    def run(params: Any, x: Mapping[str, Any]) -> dict[str, jax.Array]:
        features = module.apply({"params": params}, x["log_mel"], method="features")
        return {"embedding": jnp.mean(features, axis=1)}

    return run


TASKS: dict[tuple[str, str], Callable[[Any], Function]] = {
    ("vggish", "audio"): _vggish,
    ("cnn14", "audio"): _cnn14,
    ("passt", "audio"): _passt,
    ("musicnn", "audio"): _musicnn,
    ("clap", "audio"): _clap_audio,
    ("clap", "text"): _clap_text,
    ("audiomae", "audio"): _audiomae,
}
