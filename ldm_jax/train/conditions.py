"""What a batch means to the diffusion model and to the translator: latents, LOA, CLAP vectors, text states.

A batch comes from sound (spectrograms and tokens, on which frozen networks are run here) or from encodings (what
these networks said, stored by `ldm_jax.data.encoding`). Each function takes either: an encoding that is in the batch is
used, and otherwise its network is run. Everything comes out in at least float32.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from ldm_jax.models.layers import upcast
from ldm_jax.models.loa import pool_loa
from ldm_jax.models.translator import Condition, Stream

Networks = Mapping[str, nn.Module]
AllParams = Mapping[str, Any]
Batch = Mapping[str, Any]


def run(
    networks: Networks, params: AllParams, name: str, *arguments: Any, method: str | None = None
) -> Any:
    """The network of that name, applied to its parameters and `arguments`."""
    return networks[name].apply({"params": params[name]}, *arguments, method=method)


def posterior(
    networks: Networks, params: AllParams, batch: Batch
) -> tuple[Float[Array, "batch t f z"], Float[Array, "batch t f z"]]:
    """(means, deviations) of the VAE's latents, not scaled; of `latents`, or of `log_mel`."""
    if "latents" in batch:
        mean, deviation = jnp.split(upcast(batch["latents"]), 2, axis=-1)
        return mean, deviation
    mean, logvar = run(networks, params, "vae", batch["log_mel"][..., None], method="encode")
    return upcast(mean), jnp.exp(0.5 * upcast(logvar))


def latent_shape(networks: Networks, batch: Batch) -> tuple[int, int, int, int]:
    """(rows, time, frequency, channels) of a batch's latents, without computing them."""
    if "latents" in batch:
        *space, moments = batch["latents"].shape
        return (*space, moments // 2)
    vae: Any = networks["vae"]
    rows, frames, mels = batch["log_mel"].shape
    shrink = 2 ** (len(vae.block_out_channels) - 1)
    return rows, frames // shrink, mels // shrink, vae.latent_channels


def sampled_latents(
    networks: Networks,
    params: AllParams,
    batch: Batch,
    *,
    noise: Float[Array, "batch t f z"],
    scale: Float[Array, ""],
) -> Float[Array, "batch t f z"]:
    """The sample scale * (mean + deviation * noise): what the diffusion model calls clean."""
    mean, deviation = posterior(networks, params, batch)
    return scale * (mean + deviation * noise)


def unit_scale(networks: Networks, params: AllParams, batch: Batch) -> Float[Array, ""]:
    """1 / std of all numbers in a batch's latents, by which latents have a variance of 1.

    The published code ("scale_by_std") takes the deviation of one sample of the latents of the first batch; this is
    its expectation, var(mean) + mean(deviation^2), so that no noise is needed.
    """
    mean, deviation = posterior(networks, params, batch)
    return jax.lax.rsqrt(jnp.var(mean) + jnp.mean(deviation**2))


def true_loa(
    networks: Networks,
    params: AllParams,
    batch: Batch,
    *,
    time_pools: Sequence[int],
    which: Int[Array, ""] | None = None,
    grid: tuple[int, int],
) -> Float[Array, "batch tokens c"]:
    """The language of audio that AudioMAE hears, pooled over time_pool x min(time_pool, all) patches.

    With several `time_pools`, all results have as many tokens as the finest: a token that stands for n of those is
    there n times. Attention is the same as to each token once, since all weights split alike, and one program serves
    all. (The UNet of AudioLDM 2 costs 11 % more with 512 tokens than with 8, and 8 % more than a program a factor would
    on average, which would take four times as long to compile.)

    Args:
        networks: AudioMAE, for a batch from sound.
        params: its parameters.
        batch: with `fbank`; or with `loa`, all patches or already pooled by the only factor.
        time_pools: factors to choose from.
        which: index of the one to take; None is the first.
        grid: patches in time and frequency.

    Raises:
        ValueError: stored LOA of another size.
    """
    sizes = [loa_tokens(pool, grid) for pool in time_pools]
    if "loa" in batch:
        features = upcast(batch["loa"])
        if features.shape[1] != grid[0] * grid[1]:
            if features.shape[1] != sizes[0] or len(sizes) > 1:
                raise ValueError(
                    f"the encoding has {features.shape[1]} LOA tokens a clip, but time_pools {tuple(time_pools)} of "
                    f"{grid[0]} x {grid[1]} patches make {sizes}: set stage.loa_grid to AudioMAE's patches in a window "
                    "((64, 8) are those of 10.24 s), or encode with --loa grid"
                )
            return features
    else:
        features = upcast(run(networks, params, "audiomae", batch["fbank"], method="features"))

    def pooled(pool: int, size: int) -> Array:
        tokens = pool_loa(features, time_pool=pool, freq_pool=min(pool, grid[1]), grid=grid)
        return jnp.repeat(tokens, max(sizes) // size, axis=1)

    if which is None or len(sizes) == 1:
        return pooled(time_pools[0], sizes[0])
    branches = [lambda p=p, n=n: pooled(p, n) for p, n in zip(time_pools, sizes, strict=True)]
    return jax.lax.switch(which, branches)


def grid_of(networks: Networks, stored: tuple[int, int]) -> tuple[int, int]:
    """Patches in time and frequency: of AudioMAE, or of `stored` LOA where there is no such network."""
    audiomae: Any = networks.get("audiomae")
    return stored if audiomae is None else audiomae.grid


def loa_tokens(time_pool: int, grid: tuple[int, int]) -> int:
    """How many tokens are left of a grid of patches; frequency is pooled as far as time, or whole."""
    return grid[0] * grid[1] // (time_pool * min(time_pool, grid[1]))


def clap_vector(
    networks: Networks,
    params: AllParams,
    batch: Batch,
    *,
    from_audio: Bool[Array, " *rows"] | None = None,
    emptied: Bool[Array, " batch"] | None = None,
) -> Float[Array, "batch c"]:
    """CLAP's embedding of each caption, or of the sound.

    Args:
        networks: CLAP, for a batch from sound.
        params: its parameters.
        batch: with `clap_ids` and `clap_mask`, or `clap_text`; with `clap_audio`, features or embeddings.
        from_audio: which rows take that of the sound, or whether all do; None is the captions'.
        emptied: rows that take the embedding of "" instead; None is none.
    """

    def text() -> Array:
        if "clap_text" in batch:
            return upcast(batch["clap_text"])
        tokens = (batch["clap_ids"], batch["clap_mask"])
        return upcast(run(networks, params, "clap", *tokens, method="embed_text"))

    def audio() -> Array:
        if batch["clap_audio"].ndim == 2:
            return upcast(batch["clap_audio"])
        return upcast(run(networks, params, "clap", batch["clap_audio"], method="embed_audio"))

    if from_audio is None:
        vector = text()
    elif from_audio.ndim == 0:
        vector = jax.lax.cond(from_audio, audio, text)
    else:
        vector = jnp.where(from_audio[:, None], audio(), text())
    if emptied is None:
        return vector
    return jnp.where(emptied[:, None], empty_clap_vector(networks, params, batch), vector)


def draw_clap(
    key: Key[Array, ""], rows: int, *, audio: float, empty: float, per_clip: bool = True
) -> dict[str, Array]:
    """Arguments `clap_audio` and `clap_empty` of `clap_vector`, each where its probability is above 0.

    Args:
        key: random key.
        rows: of the batch.
        audio: probability of the sound's vector. The released code takes it for whole batches when a standard normal
            number is at least 0.5: 0.31.
        empty: probability of the vector of "", for each clip. The released code has 0.1, even in generation.
        per_clip: whether sound or caption is drawn for each clip, or once.
    """
    first, second = jax.random.split(key)
    draws = {}
    if audio:
        draws["clap_audio"] = jax.random.uniform(first, (rows,) if per_clip else ()) < audio
    if empty:
        draws["clap_empty"] = jax.random.uniform(second, (rows,)) < empty
    return draws


def empty_clap_vector(
    networks: Networks, params: AllParams, batch: Batch
) -> Float[Array, "batch c"]:
    """CLAP's embedding of "" in every row."""
    if "empty_clap_text" in batch:
        return upcast(batch["empty_clap_text"])
    ids = batch["empty_clap_ids"]
    mask = jnp.ones(ids.shape, bool)
    return upcast(run(networks, params, "clap", ids, mask, method="embed_text"))


def text_states(
    networks: Networks, params: AllParams, batch: Batch
) -> tuple[Float[Array, "batch length c"], Bool[Array, "batch length"]]:
    """(T5's states of each caption, mask)."""
    if "t5" in batch:
        return upcast(batch["t5"]), batch["t5_mask"]
    states = run(networks, params, "t5", batch["t5_ids"], batch["t5_mask"])
    return upcast(states), batch["t5_mask"]


def empty_text_states(
    networks: Networks, params: AllParams, batch: Batch, *, as_captions: bool
) -> tuple[Float[Array, "batch length c"], Bool[Array, "batch length"]]:
    """(T5's states of "", mask) in every row: one </s>, and with `as_captions` masked zeros up to `text_states`."""
    if "empty_t5" in batch:
        states = upcast(batch["empty_t5"])
    else:
        ids = batch["empty_t5_ids"]
        states = upcast(run(networks, params, "t5", ids, jnp.ones(ids.shape, bool)))
    rows, tokens, _ = states.shape
    length = batch["t5_mask"].shape[1] if as_captions else tokens
    mask = jnp.broadcast_to(jnp.arange(length)[None, :] < tokens, (rows, length))
    return jnp.pad(states, ((0, 0), (0, length - tokens), (0, 0))), mask


def translator_condition(
    networks: Networks,
    params: AllParams,
    batch: Batch,
    *,
    clap: Float[Array, "batch c"],
    text: tuple[Float[Array, "batch length width"], Bool[Array, "batch length"]] | None,
) -> Condition:
    """The sequence that GPT-2 continues: CLAP's vector, then T5's states; without `text` those of phonemes.

    Padding of text is absent, as where clips are generated (see `models.translator`); that of phonemes is masked.
    """
    one = jnp.ones((clap.shape[0], 1), bool)
    streams: list[Stream] = [(clap[:, None], one, None)]
    if text is not None:
        streams.append((*text, text[1]))
    else:
        ids, mask = batch["phoneme_ids"], batch["phoneme_mask"]
        states = run(networks, params, "phoneme_encoder", ids, mask)
        streams.append((upcast(states), mask, None))
    return run(networks, params, "translator", streams)
