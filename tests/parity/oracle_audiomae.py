"""AudioMAE on PyTorch, without its authors' code.

The encoder, the ViT decoder and the loss are transformers' ViT-MAE, the same network for another
input, under other names. The Swin decoder has no counterpart there. It is written out below with
PyTorch's functions, by attention over the whole grid in which tokens of different windows do not
see each other: nothing is rolled or cut. `tests/golden/audiomae_*.npz` hold what the authors' code
answers to the same weights.
"""

from unittest import mock

import numpy as np
import torch
from torch.nn import functional
from transformers import ViTMAEConfig, ViTMAEForPreTraining
from transformers.models.vit_mae import modeling_vit_mae as peer

from ldm_jax.models.audiomae import AudioMAE

Tensors = dict[str, torch.Tensor]
WINDOW = 4
META_HIDDEN = 384


def shapes(module: AudioMAE) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the published tensors."""
    patches, pixels = module.grid[0] * module.grid[1], module.patch_size**2
    c, d = module.embed_dim, module.decoder_dim
    out: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, c),
        "pos_embed": (1, patches + 1, c),
        "patch_embed.proj.weight": (c, 1, module.patch_size, module.patch_size),
        "patch_embed.proj.bias": (c,),
        **_pair("norm", c),
        **_blocks("blocks", module.depth, c, module.mlp_ratio),
    }
    if module.decoder is None:
        return out
    out |= {
        "mask_token": (1, 1, d),
        "decoder_pos_embed": (1, patches + 1, d),
        **_pair("decoder_embed", d, c),
        **_pair("decoder_norm", d),
        **_pair("decoder_pred", pixels, d),
        **_blocks("decoder_blocks", module.decoder_depth, d, module.mlp_ratio),
    }
    if module.decoder == "swin":
        for i in range(module.decoder_depth):
            attention = f"decoder_blocks.{i}.attn"
            out |= {
                f"{attention}.tau": (module.decoder_heads,),
                **_pair(f"{attention}.meta_mlp.fc1", META_HIDDEN, 2),
                **_pair(f"{attention}.meta_mlp.fc2", module.decoder_heads, META_HIDDEN),
            }
    return out


def _pair(name: str, *weight: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": weight, f"{name}.bias": weight[:1]}


def _blocks(stack: str, depth: int, c: int, ratio: int) -> dict[str, tuple[int, ...]]:
    out: dict[str, tuple[int, ...]] = {}
    for i in range(depth):
        out |= _pair(f"{stack}.{i}.norm1", c) | _pair(f"{stack}.{i}.norm2", c)
        out |= _pair(f"{stack}.{i}.attn.qkv", 3 * c, c) | _pair(f"{stack}.{i}.attn.proj", c, c)
        out |= _pair(f"{stack}.{i}.mlp.fc1", ratio * c, c) | _pair(
            f"{stack}.{i}.mlp.fc2", c, ratio * c
        )
    return out


def run(
    module: AudioMAE,
    tensors: dict[str, np.ndarray],
    inputs: dict[str, np.ndarray],
    *,
    dtype: torch.dtype,
) -> dict[str, np.ndarray]:
    """features, latent, pred, loss and loss_plain (against the bare filter bank)."""
    weights = {name: torch.from_numpy(x).to(dtype) for name, x in tensors.items()}
    fbank = torch.from_numpy(inputs["fbank"]).to(dtype)[:, None]
    restore = torch.from_numpy(inputs["restore_ids"])
    mask = torch.from_numpy(inputs["mask"]).to(dtype)
    model = _vit_mae(module, weights, dtype)
    with torch.no_grad():
        model.config.mask_ratio = 0.0
        in_order = torch.arange(restore.shape[1]).expand(len(fbank), -1).to(dtype)
        states = model.vit(fbank, noise=in_order, output_hidden_states=True).hidden_states
        last = [model.vit.layernorm(x)[:, 1:] for x in states[-module.averaged_blocks :]]
        model.config.mask_ratio = 1 - (inputs["keep_ids"].shape[1] + 0.5) / restore.shape[1]
        noise = torch.from_numpy(inputs["noise"]).to(dtype)
        latent = model.vit(fbank, noise=noise).last_hidden_state
        if module.decoder == "vit":
            pred = model.decoder(latent, restore).logits
        else:
            pred = _swin_decoder(module, weights, latent, restore)
        out = {"features": torch.stack(last).mean(0), "latent": latent, "pred": pred}
        for name, normed in (("loss", True), ("loss_plain", False)):
            model.config.norm_pix_loss = normed
            out[name] = model.forward_loss(fbank, pred, mask, interpolate_pos_encoding=True)
    return {name: x.numpy() for name, x in out.items()}


def _vit_mae(module: AudioMAE, weights: Tensors, dtype: torch.dtype) -> ViTMAEForPreTraining:
    vit = module.decoder == "vit"
    config = ViTMAEConfig(
        image_size=module.img_size,
        patch_size=module.patch_size,
        num_channels=1,
        hidden_size=module.embed_dim,
        num_hidden_layers=module.depth,
        num_attention_heads=module.heads,
        intermediate_size=module.mlp_ratio * module.embed_dim,
        layer_norm_eps=1e-6,
        decoder_hidden_size=module.decoder_dim,
        decoder_num_hidden_layers=module.decoder_depth if vit else 0,
        decoder_num_attention_heads=module.decoder_heads,
        decoder_intermediate_size=module.mlp_ratio * module.decoder_dim,
        attn_implementation="eager",
    )
    # These make position tables for square images.
    with (
        mock.patch.object(peer.ViTMAEEmbeddings, "initialize_weights"),
        mock.patch.object(peer.ViTMAEDecoder, "initialize_weights"),
    ):
        model = ViTMAEForPreTraining(config).to(dtype).eval()
    named: Tensors = {}
    for name, x in weights.items():
        if ".attn.tau" in name or ".meta_mlp." in name or (not vit and "decoder_blocks" in name):
            continue
        for target, part in _renamed(name, x):
            named[target] = part
    model.load_state_dict(named, strict=True)
    return model


def _renamed(name: str, x: torch.Tensor) -> list[tuple[str, torch.Tensor]]:
    top = {
        "cls_token": "vit.embeddings.cls_token",
        "pos_embed": "vit.embeddings.position_embeddings",
        "patch_embed.proj.weight": "vit.embeddings.patch_embeddings.projection.weight",
        "patch_embed.proj.bias": "vit.embeddings.patch_embeddings.projection.bias",
        "norm.weight": "vit.layernorm.weight",
        "norm.bias": "vit.layernorm.bias",
    }
    if name in top:
        return [(top[name], x)]
    if "blocks." not in name:
        return [(f"decoder.{name}", x)]
    stack, index, rest = name.split(".", 2)
    block = f"{'vit.encoder.layer' if stack == 'blocks' else 'decoder.decoder_layers'}.{index}"
    kind = rest.rsplit(".", 1)[1]
    if rest.startswith("attn.qkv"):
        parts = zip(("query", "key", "value"), x.chunk(3), strict=True)
        return [(f"{block}.attention.attention.{part}.{kind}", y) for part, y in parts]
    inner = {
        "norm1": "layernorm_before",
        "norm2": "layernorm_after",
        "attn.proj": "attention.output.dense",
        "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
    }
    return [(f"{block}.{inner[rest.rsplit('.', 1)[0]]}.{kind}", x)]


def _swin_decoder(
    module: AudioMAE, weights: Tensors, latent: torch.Tensor, restore: torch.Tensor
) -> torch.Tensor:
    def linear(name: str, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def norm(name: str, x: torch.Tensor) -> torch.Tensor:
        return functional.layer_norm(
            x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], eps=1e-6
        )

    kept = linear("decoder_embed", latent)[:, 1:]
    x = torch.empty(*restore.shape, kept.shape[-1], dtype=kept.dtype)
    for item, row in enumerate(restore):
        for place, source in enumerate(row.tolist()):
            seen = source < kept.shape[1]
            x[item, place] = kept[item, source] if seen else weights["mask_token"][0, 0]
    x = x + weights["decoder_pos_embed"][:, 1:]
    for i in range(module.decoder_depth):
        block = f"decoder_blocks.{i}"
        bias, together = _window_bias(module, weights, block, shifted=bool(i % 2))
        attended = _cosine_attention(module, weights, block, linear, x, bias, together)
        x = x + norm(f"{block}.norm1", attended)
        hidden = functional.gelu(linear(f"{block}.mlp.fc1", x))
        x = x + norm(f"{block}.norm2", linear(f"{block}.mlp.fc2", hidden))
    return linear("decoder_pred", norm("decoder_norm", x))


def _window_bias(
    module: AudioMAE, weights: Tensors, block: str, *, shifted: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Score bias (heads, tokens, tokens), and which pairs of the grid's tokens share a window."""
    rows, columns = module.grid
    window = (min(WINDOW, rows), min(WINDOW, columns))
    shift = 2 if shifted and rows > WINDOW else 0  # in time; none in frequency
    time, band = np.divmod(np.arange(rows * columns), columns)
    moved = (time - shift) % rows
    number = (moved // window[0]) * columns + band // window[1]
    together = torch.from_numpy(number[:, None] == number[None, :])
    place = np.stack([moved % window[0], band % window[1]], axis=-1)
    offset = torch.from_numpy(place[:, None] - place[None, :]).to(
        weights[f"{block}.attn.tau"].dtype
    )
    offset = offset.sign() * (1 + offset.abs()).log()
    meta = {
        name.rsplit("meta_mlp.", 1)[1]: x
        for name, x in weights.items()
        if name.startswith(f"{block}.attn.meta_mlp.")
    }
    hidden = functional.linear(offset, meta["fc1.weight"], meta["fc1.bias"]).relu()
    bias = functional.linear(hidden, meta["fc2.weight"], meta["fc2.bias"]).permute(2, 0, 1)
    wrapped = torch.from_numpy(time < shift)  # these rows came round to the far end
    return bias - 100.0 * (wrapped[:, None] != wrapped[None, :]), together


def _cosine_attention(module, weights, block, linear, x, bias, together) -> torch.Tensor:
    heads = module.decoder_heads
    query, key, value = linear(f"{block}.attn.qkv", x).chunk(3, dim=-1)
    query, key, value = (y.unflatten(-1, (heads, -1)).transpose(1, 2) for y in (query, key, value))
    cosine = functional.normalize(query, dim=-1) @ functional.normalize(key, dim=-1).mT
    scores = cosine / weights[f"{block}.attn.tau"].clamp(min=0.01)[:, None, None] + bias
    probabilities = scores.masked_fill(~together, -torch.inf).softmax(-1)
    out = (probabilities @ value).transpose(1, 2).flatten(2)
    return linear(f"{block}.attn.proj", out)
