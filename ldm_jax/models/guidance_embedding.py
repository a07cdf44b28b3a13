"""The guidance scale as an input of a distilled denoiser.

Meng et al., "On Distillation of Guided Diffusion Models" (arXiv 2210.03142), section 3.1: the scale that a student
imitates is told to it as the timestep is. By random Fourier features, as in ConsistencyTTA (arXiv 2309.10740).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ldm_jax.models.layers import Dense, Dtype


class GuidanceEmbedding(nn.Module):
    """linear_2(silu(linear_1([cos(2 pi f w), sin(2 pi f w)]))), to be added to the time embedding.

    `linear_2` starts at zero, so that a student with its teacher's other weights starts as this teacher without
    guidance, whatever the scale. (ConsistencyTTA starts it at random.)

    Attributes:
        frequencies: how many f there are. They are drawn from N(0, 1) once and stay as they are.
        features: width inside and of the output.
        dtype: compute type, at least float32: phases grow with w.
    """

    frequencies: int
    features: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, scale: Float[Array, "*rows"]) -> Float[Array, "*rows {self.features}"]:
        """Of each scale by itself."""
        drawn = self.param("frequencies", nn.initializers.normal(1.0), (self.frequencies,))
        drawn = jax.lax.stop_gradient(drawn)
        drawn = drawn.reshape((1,) * scale.ndim + (-1,)).astype(self.dtype)
        phase = 2 * jnp.pi * scale.astype(self.dtype)[..., None] * drawn
        x = jnp.concatenate([jnp.cos(phase), jnp.sin(phase)], axis=-1)
        x = nn.silu(Dense(self.features, dtype=self.dtype, name="linear_1")(x))
        zeros = nn.initializers.zeros_init()
        return Dense(self.features, dtype=self.dtype, kernel_init=zeros, name="linear_2")(x)
