"""The parameters of a system: in its files until they are needed, from then on in the devices' memory."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax.sharding import Mesh

from ldm_jax.convert.lazy import release_pages
from ldm_jax.convert.rules import Params
from ldm_jax.parallel.mesh import replicated
from ldm_jax.pipeline.networks import AllParams

# Paths that a clip is drawn without: 0.8 GB of the published checkpoints. Candidates are ranked with CLAP's, and
# `pipeline.prompting` takes from the token tables the rows that are asked for.
RARE = {
    "clap": ("audio_model", "audio_projection", "text_model/embeddings/word_embeddings"),
    "t5": ("shared", "embeddings/word_embeddings"),  # of T5 and of BERT
    "gpt2": ("wte",),
    "vae": ("encoder", "quant_conv"),
}
# Paths that stay in float32, whatever the compute type: the phases 2 pi f w of a guidance scale w are many turns.
PRECISE = {"unet": ("guidance_embedding/frequencies",)}


class Weights:
    """Parameters of networks by name, whole on every device in the compute type."""

    def __init__(self, params: dict[str, Params], mesh: Mesh, dtype: Any) -> None:
        """Takes all parameters out of `params`; nothing is placed yet."""
        self._files = {name: _flat(params.pop(name)) for name in list(params)}
        self._placed: dict[str, dict[str, jax.Array]] = {name: {} for name in self._files}
        self._mesh, self._dtype = mesh, dtype

    def of(self, *names: str, rare: bool = False) -> AllParams:
        """The parameters of those of `names` that there are, placed if they were not.

        Args:
            names: of networks.
            rare: whether what lies at the paths in `RARE` is needed too.
        """
        there = [name for name in names if name in self._files]
        for name in there:
            file, placed = self._files[name], self._placed[name]
            later = () if rare else tuple(f"{path}/" for path in RARE.get(name, ()))
            for path in [path for path in file if not path.startswith(later)]:
                precise = path in PRECISE.get(name, ())
                placed[path] = self._place(file.pop(path), precise=precise)
        return {name: traverse_util.unflatten_dict(self._placed[name], sep="/") for name in there}

    def on_host(self, name: str, path: str) -> np.ndarray:
        """One parameter in the host's memory, or a view of its file."""
        file = self._files[name]
        return file[path] if path in file else np.asarray(self._placed[name][path])

    def gathered(self) -> dict[str, Params]:
        """Everything, placed or not, as `on_host` gives it."""
        host = jax.device_get(self._placed)
        return {
            name: traverse_util.unflatten_dict({**file, **host[name]}, sep="/")
            for name, file in self._files.items()
        }

    def _place(self, x: np.ndarray, *, precise: bool) -> jax.Array:
        """On every device; waited for, so that no more than one array is in memory twice."""
        dtype = jnp.promote_types(self._dtype, jnp.float32) if precise else self._dtype
        placed = jax.device_put(np.asarray(x, dtype), replicated(self._mesh))
        jax.block_until_ready(placed)
        release_pages(x)
        return placed


def _flat(tree: Params) -> dict[str, np.ndarray]:
    leaves: dict[str, Any] = traverse_util.flatten_dict(tree, sep="/")
    return leaves
