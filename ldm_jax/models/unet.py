"""AudioLDM 2's denoiser: a UNet over (time, frequency) latents with several contexts at once.

After Liu et al. (2023, arXiv 2308.05734). Every residual block of an attended level is followed by
one spatial transformer a slot: a slot of width None attends to itself, the others to the contexts
(LOA, text) in their order. Parameter paths mirror the keys of
`diffusers.AudioLDM2UNet2DConditionModel`.
"""

from collections.abc import Sequence
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from ldm_jax.models.guidance_embedding import GuidanceEmbedding
from ldm_jax.models.layers import Conv, Dense, Dtype, GroupNorm, timestep_embedding
from ldm_jax.models.transformer import Absorbed, Context, match_rows
from ldm_jax.models.unet_stage import Stage, TimeMLP, at_least_float32

# One entry a stage (down, middle, up), and in it one a residual block: (..., its channels).
TimeEmbedding = tuple[tuple[Float[Array, "..."], ...], ...]
# One entry a stage, in it one a spatial transformer, in it one a transformer block.
Projected = tuple[tuple[tuple[Context | Absorbed | None, ...], ...], ...]


class UNet(nn.Module):
    """eps(x_t, t, contexts), or whatever else it was trained to predict. Defaults are AudioLDM 2's.

    `__call__` is `denoise` given what `embed_time` and `project_contexts` make. A sampler calls the
    three apart, the latter two once a clip.

    Attention heads are fixed in number or in width, and that makes different functions of the same
    weights: the published ones were trained with heads of width 32, diffusers runs them with 8.

    Attributes:
        in_channels: of the latents.
        out_channels: of the output.
        block_out_channels: of each level, from the highest resolution to the lowest.
        attention_levels: whether a level's layers have transformers; the middle's always do.
        layers_per_block: residual blocks of a level on the way down; on the way up it has one more.
        cross_attention_dims: the slots of a layer with transformers, in order: the width of a
            context, or None for self-attention.
        transformer_depth: transformer blocks in each slot.
        heads: number of heads at every level, or None.
        head_dim: width of a head at every level, or None; exactly one of the two is given.
        norm_groups: of all group norms.
        norm_eps: of the group norms outside transformers.
        film_dim: width of a clip's embedding that joins the time embedding, as CLAP's does in the
            48 kHz model; None without.
        guidance_features: frequencies of the guidance scale, where it is an input (see `GuidanceEmbedding`), as of
            distilled students; None without. ConsistencyTTA has twice the channels of the first level.
        remat: which activations the backward pass computes again: "" none, "full" all but the inputs of residual
            blocks and transformers, "dots" all but these and products with kernels.
        dtype: compute type; time embeddings are computed in at least float32.
    """

    in_channels: int = 8
    out_channels: int = 8
    block_out_channels: tuple[int, ...] = (128, 256, 384, 640)
    attention_levels: tuple[bool, ...] = (False, True, True, True)
    layers_per_block: int = 2
    cross_attention_dims: tuple[int | None, ...] = (None, 768, 1024)
    transformer_depth: int = 1
    heads: int | None = None
    head_dim: int | None = 32
    norm_groups: int = 32
    norm_eps: float = 1e-5
    film_dim: int | None = None
    guidance_features: int | None = None
    remat: str = ""
    dtype: Dtype = jnp.float32

    def setup(self) -> None:
        """Makes the stages: down by level, the middle, up by level."""
        width = self.block_out_channels[0]
        self.conv_in = Conv(width, (3, 3), dtype=self.dtype)
        precise = at_least_float32(self.dtype)
        self.time_embedding = TimeMLP(4 * width, precise)
        if self.film_dim is not None:
            self.class_embedding = Dense(4 * width, dtype=precise)
        if self.guidance_features is not None:
            self.guidance_embedding = GuidanceEmbedding(self.guidance_features, 4 * width, precise)
        levels, layers = len(self.block_out_channels), self.layers_per_block
        self.down_blocks = [
            self._stage(i, layers, "down" if i < levels - 1 else None) for i in range(levels)
        ]
        self.mid_block = self._stage(levels - 1, 2, None, attended=1)
        self.up_blocks = [
            self._stage(i, layers + 1, "up" if i > 0 else None) for i in reversed(range(levels))
        ]
        self.conv_norm_out = GroupNorm(self.norm_groups, self.norm_eps, self.dtype)
        self.conv_out = Conv(
            self.out_channels, (3, 3), dtype=self.dtype, kernel_init=nn.initializers.zeros_init()
        )

    def heads_at(self, level: int) -> int:
        """How many heads the attentions of a level have.

        Raises:
            ValueError: both or neither of `heads` and `head_dim` given, or not a divisor of the
                level's channels.
        """
        if (self.heads is None) == (self.head_dim is None):
            raise ValueError(
                f"one of heads and head_dim is to be given, not {self.heads} and {self.head_dim}"
            )
        features, given = self.block_out_channels[level], self.heads or self.head_dim
        assert given is not None
        if features % given:
            raise ValueError(
                f"{features} channels of level {level} cannot be cut into heads by"
                f" heads={self.heads}, head_dim={self.head_dim}"
            )
        return self.heads or features // given

    def project_contexts(self, contexts: Sequence[tuple[Array, Array | None]]) -> Projected:
        """Keys and values of every attention to a context; they hold for all diffusion steps.

        Args:
            contexts: (states (batch, tokens, width), mask (batch, tokens) or None) for each slot
                that has a width, in their order. The mask is True where a token may be attended to.

        Raises:
            ValueError: another number of contexts, or other widths, than `cross_attention_dims`.
        """
        wanted = [width for width in self.cross_attention_dims if width is not None]
        given = [states.shape[-1] for states, _ in contexts]
        if wanted != given:
            raise ValueError(f"contexts of widths {wanted} are to be given, not {given}")
        return tuple(stage.project(contexts) for stage in self._stages())

    def embed_time(
        self,
        timesteps: Shaped[Array, " steps"],
        film: Float[Array, "clips film_dim"] | None = None,
        guidance: Float[Array, " clips"] | None = None,
    ) -> TimeEmbedding:
        """What each step adds to each residual block, for all steps at once.

        Args:
            timesteps: 0 .. 999 in the published models, whole or not.
            film: the clips' embeddings where the network has a `film_dim`.
            guidance: the clips' guidance scales where it has `guidance_features`.

        Returns:
            Arrays (steps, clips, channels), clips being 1 without `film` and `guidance`. A sampler
            scans over the first axis, and `denoise` takes what is at one step.

        Raises:
            ValueError: `film` or `guidance` missing or not asked for.
        """
        per_clip = [None if x is None else x[None] for x in (film, guidance)]
        return self._embed_rows(timesteps[:, None], *per_clip)

    def denoise(
        self,
        latents: Float[Array, "batch time freq {self.in_channels}"],
        time_embedding: TimeEmbedding,
        projected: Projected,
    ) -> Float[Array, "rows time freq {self.out_channels}"]:
        """The network itself; time and freq may be any sizes.

        Args:
            latents: noisy.
            time_embedding: arrays (rows or 1, channels): one step of what `embed_time` gives.
            projected: what `project_contexts` gives for `rows` contexts, as many as there are
                latents or a multiple. With twice as many, row i of the latents goes with rows
                2 i and 2 i + 1, and what the two share is computed once.
        """
        inputs = iter(zip(time_embedding, projected, strict=True))
        x = self.conv_in(latents)
        skips = [x]
        for stage in self.down_blocks:
            time, contexts = next(inputs)
            for layer in range(stage.layers):
                x = stage(x, time, contexts, layer=layer)
                skips.append(x)
            if stage.resample:
                x = stage.downsample(x)
                skips.append(x)
        time, contexts = next(inputs)
        for layer in range(self.mid_block.layers):
            x = self.mid_block(x, time, contexts, layer=layer)
        for stage in self.up_blocks:
            time, contexts = next(inputs)
            for layer in range(stage.layers):
                x = jnp.concatenate([x, match_rows(skips.pop(), x.shape[0])], axis=-1)
                x = stage(x, time, contexts, layer=layer)
            if stage.resample:
                size = skips[-1].shape
                x = stage.upsample(x, (size[1], size[2]))
        return self.conv_out(nn.silu(self.conv_norm_out(x)))

    def __call__(
        self,
        latents: Float[Array, "batch time freq {self.in_channels}"],
        timesteps: Shaped[Array, " batch"],
        contexts: Sequence[tuple[Array, Array | None]] = (),
        film: Float[Array, "rows film_dim"] | None = None,
        guidance: Float[Array, " batch"] | None = None,
    ) -> Float[Array, "rows time freq {self.out_channels}"]:
        """One call of the network, a row a timestep; arguments as in the methods above.

        As there, `contexts` and `film` may have twice as many rows as there are latents.
        """
        if film is not None:
            timesteps = match_rows(timesteps, film.shape[0])
        time_embedding = self._embed_rows(timesteps, film, guidance)
        return self.denoise(latents, time_embedding, self.project_contexts(contexts))

    def _stage(
        self,
        level: int,
        layers: int,
        resample: Literal["down", "up"] | None,
        *,
        attended: int | None = None,
    ) -> Stage:
        if attended is None:
            attended = layers if self.attention_levels[level] else 0
        return Stage(
            features=self.block_out_channels[level],
            layers=layers,
            attended=attended,
            slots=self.cross_attention_dims,
            heads=self.heads_at(level) if attended else 1,
            depth=self.transformer_depth,
            groups=self.norm_groups,
            epsilon=self.norm_eps,
            resample=resample,
            remat=self.remat,
            dtype=self.dtype,
        )

    def _stages(self) -> list[Stage]:
        """In the order in which they run."""
        return [*self.down_blocks, self.mid_block, *self.up_blocks]

    def _embed_rows(
        self,
        timesteps: Shaped[Array, "*rows"],
        film: Float[Array, "*film_rows film_dim"] | None,
        guidance: Float[Array, "*guidance_rows"] | None,
    ) -> TimeEmbedding:
        """Rows of `timesteps`, `film` and `guidance`, broadcast against each other."""
        _check("film_dim", self.film_dim, "film", film)
        _check("guidance_features", self.guidance_features, "guidance", guidance)
        width = self.block_out_channels[0]
        steps = timesteps.reshape(-1).astype(at_least_float32(self.dtype))
        sinusoid = timestep_embedding(steps, width).reshape(*timesteps.shape, width)
        time = self.time_embedding(sinusoid)
        if guidance is not None:
            time = time + self.guidance_embedding(guidance)
        parts = [time]
        if film is not None:
            parts.append(self.class_embedding(film))
        rows = jnp.broadcast_shapes(*(part.shape[:-1] for part in parts))
        time = jnp.concatenate(
            [jnp.broadcast_to(part, (*rows, part.shape[-1])) for part in parts], axis=-1
        )
        return tuple(stage.embed_time(time) for stage in self._stages())


def _check(field: str, width: int | None, name: str, given: Array | None) -> None:
    """Raises ValueError where an input is missing, or given to a network that has none."""
    if (given is None) != (width is None):
        raise ValueError(
            f"{field} is {width}, so {name} is {'not ' * (given is not None)}to be given"
        )
