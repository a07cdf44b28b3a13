"""Prompts' tokens to what the UNet is conditioned on, for the branches that guidance needs.

Token tables stay on the host: with each batch go those of their rows that its prompts need.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from flax import traverse_util

from ldm_jax.pipeline.conditioning import (
    Conditioning,
    Tokens,
    encode,
    encode_without_loa,
    interleave,
)
from ldm_jax.pipeline.networks import AllParams, Networks
from ldm_jax.pipeline.weights import Weights

ENCODERS = ("clap", "t5", "phoneme_encoder", "gpt2", "translator")


@dataclasses.dataclass(frozen=True)
class _Table:
    """A network with a table (its `token_table`), the tokens that index it, and the same network with fewer rows."""

    network: str
    ids: str
    resized: Callable[[Any, int], Any]


_TABLES = (
    _Table("t5", "text_ids", lambda t5, rows: t5.clone(vocab_size=rows)),
    _Table(
        "clap", "clap_ids", lambda clap, rows: clap.clone(text=clap.text.clone(vocab_size=rows))
    ),
)


def condition(
    networks: Networks,
    weights: Weights,
    conditional: Tokens,
    unconditional: Tokens | None,
    *,
    loa_tokens: int,
    generated_loa: bool,
) -> Conditioning:
    """Rows by prompt, held whole by every device.

    Args:
        networks: of the system.
        weights: theirs.
        conditional: the prompts' tokens.
        unconditional: those of the negative prompts, for guidance: rows are then u0 c0 u1 c1 ...
        loa_tokens: how many GPT-2 rolls out.
        generated_loa: whether it also does so for the unconditional branch, which has zeros otherwise.
    """
    small, params, tokens = with_needed_rows(networks, weights, conditional)
    wanted = encode(small, params, tokens, loa_tokens=loa_tokens)
    if unconditional is None:
        return wanted
    small, params, tokens = with_needed_rows(networks, weights, unconditional)
    encode_other = encode if generated_loa else encode_without_loa
    return interleave(encode_other(small, params, tokens, loa_tokens=loa_tokens), wanted)


def with_needed_rows(
    networks: Networks, weights: Weights, tokens: Tokens
) -> tuple[Networks, AllParams, Tokens]:
    """The text encoders with small tables, and tokens that count the rows of those.

    There are as many rows as tokens, so that tokens of one shape make one program.
    """
    params = weights.of(*ENCODERS)
    for table in _TABLES:
        ids, module = getattr(tokens, table.ids), getattr(networks, table.network)
        if ids is None or module is None:
            continue
        whole = weights.on_host(table.network, module.token_table)
        needed, places = np.unique(np.asarray(ids), return_inverse=True)
        rows = np.zeros((ids.size, whole.shape[1]), whole.dtype)
        rows[: len(needed)] = whole[needed]
        tree: dict[str, Any] = traverse_util.flatten_dict(params[table.network], sep="/")
        tree[module.token_table] = rows.astype(module.dtype)
        params = {**params, table.network: traverse_util.unflatten_dict(tree, sep="/")}
        small = table.resized(module, ids.size)
        networks = dataclasses.replace(networks, **{table.network: small})
        tokens = tokens._replace(**{table.ids: places.reshape(ids.shape).astype(ids.dtype)})
    return networks, params, tokens
