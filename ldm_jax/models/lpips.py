"""LPIPS (Zhang et al., arXiv 1801.03924): how different two pictures look to VGG16.

Here pictures are log-mel spectrograms, their one channel shown to all three of VGG16, as the published training code of
the VAE has it (by the LPIPS of taming-transformers). Parameter paths mirror torchvision's and its keys.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from ldm_jax.models.layers import Conv, Dtype, upcast

# Mean and deviation of ImageNet's channels for pixels within [-1, 1].
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
DEPTHS = (2, 2, 3, 3, 3)  # convolutions of each of VGG16's blocks
_EPSILON = 1e-10


class LPIPS(nn.Module):
    """sum_l mean over cells of w_l . (f_l(x) / |f_l(x)| - f_l(y) / |f_l(y)|)^2.

    f_l is what VGG16 makes of a picture after its l-th block, normalised over channels in each cell, and w_l >= 0 was
    fitted to what people see. All parameters are given: this network is never trained. Without dropout, which the
    published trainer leaves on by oversight (its `LPIPS` follows the trainer into training mode).

    Attributes:
        widths: of VGG16's blocks.
        dtype: compute type of VGG16.
    """

    widths: tuple[int, ...] = (64, 128, 256, 512, 512)
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width c"], y: Float[Array, "batch height width c"]
    ) -> Float[Array, " batch"]:
        """One distance a pair of pictures of 1 or 3 channels, each side at least 16."""
        layers = [
            Conv(width, (3, 3), dtype=self.dtype, name=f"features_{index}")
            for width, index in zip(self._layer_widths(), feature_indices(), strict=True)
        ]
        total = jnp.zeros(x.shape[0], upcast(x).dtype)
        blocks = zip(_blocks(layers, x), _blocks(layers, y), strict=True)
        for level, (of_x, of_y) in enumerate(blocks):
            weights = self.param(f"lin_{level}", nn.initializers.ones, (of_x.shape[-1],))
            difference = jnp.square(_unit(upcast(of_x)) - _unit(upcast(of_y)))
            total = total + (difference @ weights).mean((1, 2))
        return total

    def _layer_widths(self) -> list[int]:
        pairs = zip(self.widths, DEPTHS, strict=True)
        return [width for width, depth in pairs for _ in range(depth)]

    def example(self) -> tuple[Float[Array, "1 16 16 1"], Float[Array, "1 16 16 1"]]:
        """Small inputs."""
        return jnp.zeros((1, 16, 16, 1)), jnp.zeros((1, 16, 16, 1))


def feature_indices() -> list[int]:
    """Where torchvision's `features` has VGG16's convolutions: each is followed by a ReLU, each block by a pooling."""
    indices, place = [], 0
    for depth in DEPTHS:
        indices += [place + 2 * i for i in range(depth)]
        place += 2 * depth + 1
    return indices


def _blocks(layers: list[Conv], x: Array) -> list[Array]:
    """What is behind the last ReLU of each block."""
    shift, scale = (jnp.asarray(c, x.dtype)[None, None, None, :] for c in (SHIFT, SCALE))
    x = (x - shift) / scale
    out, remaining = [], list(layers)
    for level, depth in enumerate(DEPTHS):
        if level:
            x = nn.max_pool(x, (2, 2), (2, 2))
        for _ in range(depth):
            x = nn.relu(remaining.pop(0)(x))
        out.append(x)
    return out


def _unit(x: Float[Array, "batch h w c"]) -> Float[Array, "batch h w c"]:
    """Of length 1, x / (|x| + 1e-10), over channels; where x is 0 its gradient is 0, not the NaN of a root's."""
    square = jnp.square(x).sum(-1, keepdims=True)
    dead = square == 0
    return x / (jnp.where(dead, 0.0, jnp.sqrt(jnp.where(dead, 1.0, square))) + _EPSILON)
