"""CLAP (Wu et al., arXiv 2211.06687): texts and sounds as unit vectors, near where they match."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ldm_jax.models.htsat import HTSAT
from ldm_jax.models.layers import Dense, Dtype, upcast
from ldm_jax.models.roberta import RoBERTa


class Projection(nn.Module):
    """y / |y| with y = linear2(relu(linear1(x))), the norm in at least float32."""

    features: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "batch in"]) -> Float[Array, "batch features"]:
        """Unit vectors, in at least float32."""
        x = nn.relu(Dense(self.features, dtype=self.dtype, name="linear1")(x))
        x = upcast(Dense(self.features, dtype=self.dtype, name="linear2")(x))
        return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


class CLAP(nn.Module):
    """A text and an audio tower, and their projections to one space.

    Attributes:
        text: the text tower; `dtype` below overrules its own.
        audio: the audio tower; likewise.
        projection_dim: width of the common space.
        dtype: compute type of everything.
    """

    text: RoBERTa = RoBERTa()
    audio: HTSAT = HTSAT()
    projection_dim: int = 512
    dtype: Dtype = jnp.float32

    def setup(self) -> None:
        """Copies of the towers in `dtype`, under their published names."""
        self.text_model = self.text.clone(name=None, dtype=self.dtype)
        self.audio_model = self.audio.clone(name=None, dtype=self.dtype)
        self.text_projection = Projection(self.projection_dim, self.dtype)
        self.audio_projection = Projection(self.projection_dim, self.dtype)
        log_scale = nn.initializers.constant(np.log(1 / 0.07))
        self.logit_scale_a = self.param("logit_scale_a", log_scale, ())
        self.logit_scale_t = self.param("logit_scale_t", log_scale, ())

    @property
    def token_table(self) -> str:
        """The path of the parameter that token ids index."""
        return "text_model/embeddings/word_embeddings/embedding"

    def embed_text(
        self,
        token_ids: Int[Array, "batch length"],
        mask: Bool[Array, "batch length"],
        *,
        deterministic: bool = True,
    ) -> Float[Array, "batch {self.projection_dim}"]:
        """Unit vectors of texts, in at least float32; see `RoBERTa`."""
        _, pooled = self.text_model(token_ids, mask, deterministic=deterministic)
        return self.text_projection(pooled)

    def embed_audio(
        self,
        features: Float[Array, "batch *channels frames mels"],
        is_longer: Bool[Array, " batch"] | None = None,
        **training: Any,
    ) -> Float[Array, "batch {self.projection_dim}"]:
        """Unit vectors of clips, in at least float32; see `HTSAT` and `audio.clap_features`.

        `training` is `HTSAT`'s `kept`, `by_batch` and `deterministic`.
        """
        return self.audio_projection(self.audio_model(features, is_longer, **training))

    def logits(
        self, text: Float[Array, "texts dim"], audio: Float[Array, "clips dim"]
    ) -> tuple[Float[Array, "texts clips"], Float[Array, "clips texts"]]:
        """Of the contrastive loss: (exp(logit_scale_t) text . audio, exp(logit_scale_a) ...^T)."""
        cosines = text @ audio.T
        return jnp.exp(self.logit_scale_t) * cosines, jnp.exp(self.logit_scale_a) * cosines.T

    def __call__(
        self,
        token_ids: Int[Array, "texts length"],
        mask: Bool[Array, "texts length"],
        features: Float[Array, "clips *channels frames mels"],
        is_longer: Bool[Array, " clips"] | None = None,
    ) -> tuple[Float[Array, "texts dim"], Float[Array, "clips dim"]]:
        """`embed_text` and `embed_audio`."""
        return self.embed_text(token_ids, mask), self.embed_audio(features, is_longer)
