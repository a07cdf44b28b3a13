"""BERT (Devlin et al., arXiv 1810.04805) as an encoder of token states: what sentence transformers such as MiniLM are.

It can stand in FLAN-T5's place: a text encoder that ships in 22 million numbers or fewer. Its layers are RoBERTa's,
whose positions start elsewhere. Parameter paths mirror the keys of `transformers.BertModel`; a pooler it has not.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ldm_jax.models.layers import Dtype
from ldm_jax.models.roberta import Embeddings, Encoder

# `pad_token_id` of `Embeddings`, which counts real tokens from the next position on.
_BEFORE_FIRST = -1


class BERT(nn.Module):
    """Token ids to the states after the last layer; the defaults are all-MiniLM-L6-v2.

    Attributes:
        vocab_size: rows of the token table.
        hidden_size: width of the states.
        num_layers: layers.
        num_heads: of each attention; a head is hidden_size / num_heads wide.
        intermediate_size: width inside the perceptrons.
        max_position_embeddings: most tokens of a text.
        type_vocab_size: rows of the type table, of which only the first is used.
        layer_norm_eps: of every norm.
        dtype: compute type.
    """

    vocab_size: int = 30_522
    hidden_size: int = 384
    num_layers: int = 6
    num_heads: int = 12
    intermediate_size: int = 1536
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    dtype: Dtype = jnp.float32

    @property
    def token_table(self) -> str:
        """The path of the parameter that token ids index."""
        return "embeddings/word_embeddings/embedding"

    @nn.compact
    def __call__(
        self, token_ids: Int[Array, "batch length"], mask: Bool[Array, "batch length"]
    ) -> Float[Array, "batch length {self.hidden_size}"]:
        """The states after the last layer.

        Args:
            token_ids: in 0 .. vocab_size - 1, [CLS] first and [SEP] last; any other gives NaN.
            mask: True at real tokens. What stands at False positions, and how many of them follow, changes nothing
                elsewhere; the states there mean nothing.

        Raises:
            ValueError: more tokens than positions.
        """
        if token_ids.shape[1] > self.max_position_embeddings:
            raise ValueError(
                f"{token_ids.shape[1]} tokens, but there are {self.max_position_embeddings} positions"
            )
        x = Embeddings(
            self.vocab_size,
            self.hidden_size,
            self.max_position_embeddings,
            self.type_vocab_size,
            _BEFORE_FIRST,
            self.layer_norm_eps,
            self.dtype,
            name="embeddings",
        )(token_ids, mask)
        return Encoder(
            self.num_layers,
            self.num_heads,
            self.intermediate_size,
            self.layer_norm_eps,
            self.dtype,
            name="encoder",
        )(x, mask)
