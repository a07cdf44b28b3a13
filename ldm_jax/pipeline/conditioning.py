"""Prompts to what the UNet is conditioned on: LOA tokens, text states, a CLAP embedding.

A row is what its prompt alone gives, whatever else is in the batch: tokens that only pad a row up to its batch are
"absent", neither attended to nor counted by GPT-2's positions.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ldm_jax.models.translator import generate_loa
from ldm_jax.pipeline.networks import AllParams, Networks, run


class Tokens(NamedTuple):
    """One branch's tokens, a row a prompt; a field is None where no network reads it.

    Attributes:
        clap_ids: of RoBERTa.
        clap_mask: False where padded.
        text_ids: of T5, or phonemes.
        text_mask: what may be attended to.
        text_present: what GPT-2 counts as a position, a superset of the mask.
    """

    clap_ids: Int[Array | np.ndarray, "rows clap_length"] | None
    clap_mask: Bool[Array | np.ndarray, "rows clap_length"] | None
    text_ids: Int[Array | np.ndarray, "rows length"] | None
    text_mask: Bool[Array | np.ndarray, "rows length"] | None
    text_present: Bool[Array | np.ndarray, "rows length"] | None


class Conditioning(NamedTuple):
    """What the UNet gets; a field is None where it has no use for it.

    Attributes:
        loa: language-of-audio tokens.
        text: T5's last hidden states.
        text_mask: of the states.
        film: CLAP's text embedding, for the 48 kHz model.
    """

    loa: Float[Array, "rows tokens width"] | None
    text: Float[Array, "rows length text_width"] | None
    text_mask: Bool[Array | np.ndarray, "rows length"] | None
    film: Float[Array, "rows film_width"] | None

    def contexts(self) -> tuple[tuple[Array, Array | np.ndarray | None], ...]:
        """(states, mask) in the order of the UNet's cross-attention slots: LOA, then text."""
        pairs = ((self.loa, None), (self.text, self.text_mask))
        return tuple((states, mask) for states, mask in pairs if states is not None)


@functools.partial(jax.jit, static_argnames=("networks", "loa_tokens"))
def encode(
    networks: Networks, params: AllParams, tokens: Tokens, *, loa_tokens: int
) -> Conditioning:
    """Everything the UNet is conditioned on, LOA by GPT-2's free roll-out of `loa_tokens` steps."""
    clap = encode_clap(networks, params, tokens)
    text = encode_text(networks, params, tokens)
    film = clap if networks.unet.film_dim else None
    if networks.translator is None:
        return Conditioning(loa=None, text=text, text_mask=tokens.text_mask, film=film)
    assert clap is not None
    ones = jnp.ones((clap.shape[0], 1), bool)
    streams = ((clap[:, None], ones, None), (text, tokens.text_mask, tokens.text_present))
    condition = run(networks.translator, params["translator"], streams)
    assert networks.gpt2 is not None
    loa = generate_loa(networks.gpt2, params["gpt2"], condition, n_tokens=loa_tokens)
    if networks.speaks:  # phonemes act through LOA alone
        return Conditioning(loa=loa, text=None, text_mask=None, film=film)
    return Conditioning(loa=loa, text=text, text_mask=tokens.text_mask, film=film)


@functools.partial(jax.jit, static_argnames=("networks", "loa_tokens"))
def encode_without_loa(
    networks: Networks, params: AllParams, tokens: Tokens, *, loa_tokens: int
) -> Conditioning:
    """The unconditional branch as the published weights were trained: LOA of zeros, the text states of `tokens`."""
    film = encode_clap(networks, params, tokens) if networks.unet.film_dim else None
    loa = None
    if networks.gpt2 is not None:
        assert tokens.text_ids is not None
        loa = jnp.zeros(
            (tokens.text_ids.shape[0], loa_tokens, networks.gpt2.n_embd), networks.gpt2.dtype
        )
    if networks.t5 is None:
        return Conditioning(loa=loa, text=None, text_mask=None, film=film)
    text = encode_text(networks, params, tokens)
    return Conditioning(loa=loa, text=text, text_mask=tokens.text_mask, film=film)


def encode_clap(
    networks: Networks, params: AllParams, tokens: Tokens
) -> Float[Array, "rows dim"] | None:
    """CLAP's text embedding of unit length; None without CLAP."""
    if networks.clap is None or tokens.clap_ids is None:
        return None
    return run(
        networks.clap, params["clap"], tokens.clap_ids, tokens.clap_mask, method="embed_text"
    )


def encode_text(
    networks: Networks, params: AllParams, tokens: Tokens
) -> Float[Array, "rows length width"] | None:
    """Hidden states of T5 or of the phoneme encoder; those of a row that is masked throughout are zeros."""
    if networks.speaks:
        assert tokens.text_mask is not None
        encoder, its = networks.phoneme_encoder, params["phoneme_encoder"]
        states = run(encoder, its, tokens.text_ids, tokens.text_mask)
        return states * jnp.any(tokens.text_mask, axis=1)[:, None, None]
    if networks.t5 is None or tokens.text_ids is None:
        return None
    return run(networks.t5, params["t5"], tokens.text_ids, tokens.text_mask)


def interleave(unconditional: Conditioning, conditional: Conditioning) -> Conditioning:
    """Rows u0 c0 u1 c1 ...: both branches of a clip stay on the clip's device.

    Text of different lengths is padded to the longer one with masked states.
    """

    def pair(first: Any, second: Any) -> Any:
        if first is None or second is None:
            return None
        if first.ndim > 1 and first.shape[1] != second.shape[1]:
            length = max(first.shape[1], second.shape[1])
            first, second = (
                jnp.pad(x, [(0, 0), (0, length - x.shape[1])] + [(0, 0)] * (x.ndim - 2))
                for x in (first, second)
            )
        stacked = jnp.stack([first, second], axis=1)
        return stacked.reshape(-1, *stacked.shape[2:])

    return Conditioning(*(pair(u, c) for u, c in zip(unconditional, conditional, strict=True)))
