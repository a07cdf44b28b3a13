"""python -m ldm_jax.convert.random_checkpoint SIZE DST: a checkpoint in the diffusers layout with random weights.

To try commands, measure speed and test without a download. It makes noise, not sound; its tokenisers know few words.
"""

import argparse
import math
import pathlib
import sys
import tempfile
import zlib
from typing import Any

import flax.linen as nn
import numpy as np
from flax import traverse_util

from ldm_jax.convert import clap, diffusers_folder, vae, vocoder
from ldm_jax.convert.checkpoint import SCHEDULER, Checkpoint, abstract_params
from ldm_jax.convert.random_tokenizers import write_roberta, write_t5, write_vits
from ldm_jax.convert.rules import Params
from ldm_jax.models.clap import CLAP
from ldm_jax.models.gpt2 import GPT2
from ldm_jax.models.htsat import HTSAT
from ldm_jax.models.phoneme_encoder import PhonemeEncoder
from ldm_jax.models.roberta import RoBERTa
from ldm_jax.models.t5 import T5Encoder
from ldm_jax.models.translator import Translator
from ldm_jax.models.unet import UNet
from ldm_jax.models.vae import VAE
from ldm_jax.models.vocoder import HiFiGAN

GAINS = {"vocoder": 1.6}  # its strided convolutions add up fewer terms than their kernels have
TOKENIZERS = {"clap": write_roberta, "t5": write_t5, "phoneme_encoder": write_vits}


def published() -> dict[str, nn.Module]:
    """The networks of `cvssp/audioldm2`, which diffusers runs with 8 heads at every level."""
    return {
        "unet": UNet(heads=8, head_dim=None),
        "vae": vae.from_official(vae.OFFICIAL_CONFIGS[16_000], scaling_factor=0.4110932946205139),
        "vocoder": vocoder.from_official(vocoder.OFFICIAL_CONFIGS[16_000]),
        "clap": clap.from_config(clap.laion_config("base")),
        "t5": T5Encoder(),
        "gpt2": GPT2(),
        "translator": Translator(),
    }


def tiny() -> dict[str, nn.Module]:
    """The same system in under a million parameters."""
    text = RoBERTa(hidden_size=32, num_layers=2, num_heads=4, intermediate_size=37)
    audio = HTSAT(embed_dim=8, depths=(1, 1), num_heads=(2, 4))
    return {
        "unet": UNet(
            block_out_channels=(16, 32),
            attention_levels=(False, True),
            layers_per_block=1,
            cross_attention_dims=(None, 32, 48),
            heads=4,
            head_dim=None,
            norm_groups=8,
        ),
        "vae": VAE((16, 32, 32), 8, 1, 8, 0.41),
        "vocoder": HiFiGAN(
            64, 32, (5, 4, 2, 2, 2), (16, 16, 8, 4, 4), (3, 7, 11), ((1, 3, 5),) * 3
        ),
        "clap": CLAP(text=text, audio=audio, projection_dim=16),
        "t5": T5Encoder(d_model=48, d_ff=64, d_kv=8, num_heads=4, num_layers=2),
        "gpt2": GPT2(vocab_size=100, n_positions=400, n_embd=32, n_layer=2, n_head=4),
        "translator": Translator((16, 48), 32),
    }


def small() -> dict[str, nn.Module]:
    """The same system at a size that two CPU cores can train, for clips of 5.12 s (`configs/small/`).

    LOA is as wide as the AudioMAE of those configs.
    """
    text = RoBERTa(hidden_size=128, num_layers=3, num_heads=4, intermediate_size=256)
    audio = HTSAT(embed_dim=24, depths=(1, 1, 2, 1), num_heads=(2, 4, 8, 16))
    return {
        "unet": UNet(
            block_out_channels=(32, 64, 128),
            attention_levels=(False, True, True),
            layers_per_block=1,
            cross_attention_dims=(None, 128, 128),
            norm_groups=8,
        ),
        "vae": VAE((16, 32, 64), 8, 1, 8, 1.0),
        "vocoder": HiFiGAN(64, 96, (5, 4, 4, 2), (11, 8, 8, 4), (3, 7), ((1, 3), (1, 3))),
        "clap": CLAP(text=text, audio=audio, projection_dim=128),
        "t5": T5Encoder(d_model=128, d_ff=256, d_kv=32, num_heads=4, num_layers=2),
        "gpt2": GPT2(vocab_size=100, n_positions=640, n_embd=128, n_layer=4, n_head=4),
        "translator": Translator((128, 128), 128),
    }


def speaking(networks: dict[str, nn.Module], width: int) -> dict[str, nn.Module]:
    """`networks` with a phoneme encoder of `width` in T5's place."""
    rest = {name: module for name, module in networks.items() if name != "t5"}
    unet, front = networks["unet"], networks["translator"]
    assert isinstance(unet, UNet)
    assert isinstance(front, Translator)
    rest["unet"] = unet.clone(cross_attention_dims=unet.cross_attention_dims[:2])
    rest["translator"] = front.clone(stream_dims=(front.stream_dims[0], width), max_seq_length=310)
    rest["phoneme_encoder"] = PhonemeEncoder(
        hidden_size=width, ffn_dim=4 * width, num_layers=6 if width == 192 else 2
    )
    return rest


SIZES = {
    "tiny": tiny,
    "tiny-speech": lambda: speaking(tiny(), 24),
    "small": small,
    "small-speech": lambda: speaking(small(), 64),
    "base": published,
    "large": lambda: {
        **published(),
        "unet": UNet(
            cross_attention_dims=(None, 768, 1024, None),
            transformer_depth=2,
            heads=8,
            head_dim=None,
        ),
    },
    "speech": lambda: speaking(published(), 192),
}


def random_params(module: nn.Module, *, name: str, seed: int) -> Params:
    """Weights under which a deep network still carries a signal; they depend on path, shape and seed alone.

    Kernels have variance 1 / fan-in, embeddings 1, scales lie about 1, all else about 0.
    """
    shapes: dict[tuple[str, ...], Any] = traverse_util.flatten_dict(abstract_params(module))
    flat = {}
    for path, leaf in shapes.items():
        state = np.random.RandomState(zlib.crc32(f"{seed}/{name}/{'/'.join(path)}".encode()))
        x = state.standard_normal(leaf.shape).astype(np.float32)
        if path[-1] in ("running_var", "moving_variance"):
            x = 1 + 0.1 * np.abs(x)
        elif path[-1] in ("scale", "gamma"):
            x = 1 + 0.1 * x
        elif path[-1] == "kernel":
            x *= GAINS.get(name, 1.0) / math.sqrt(math.prod(leaf.shape[:-1]))
        elif len(leaf.shape) < 2 and "embed" not in path[-1]:
            x *= 0.02
        flat[path] = x
    return traverse_util.unflatten_dict(flat)


def write(
    size: str,
    folder: pathlib.Path,
    *,
    seed: int = 0,
    loa_tokens: int | None = None,
    overwrite: bool = False,
) -> None:
    """Writes the folder of one of `SIZES`, whole or not at all."""
    networks = SIZES[size]()
    with tempfile.TemporaryDirectory() as temporary:
        tokenizers = {}
        for name in sorted(TOKENIZERS.keys() & networks):
            tokenizers[name] = pathlib.Path(temporary) / name
            words = TOKENIZERS[name](tokenizers[name])
            if size.startswith(("tiny", "small")):
                networks[name] = with_vocabulary(networks[name], words)
        default = diffusers_folder.DEFAULT_LOA_TOKENS[
            "t5" if "t5" in networks else "phoneme_encoder"
        ]
        checkpoint = Checkpoint(
            networks=networks,
            params={
                name: random_params(module, name=name, seed=seed)
                for name, module in networks.items()
            },
            tokenizers=tokenizers,
            scheduler=SCHEDULER,
            sample_rate=16_000,
            hop=160,
            loa_tokens=loa_tokens or default,
            preset=None,
            source=f"random {size}",
        )
        diffusers_folder.save(checkpoint, folder, overwrite=overwrite)


def with_vocabulary(module: nn.Module, words: int) -> nn.Module:
    """`module` for a vocabulary of `words`."""
    if isinstance(module, CLAP):
        return module.clone(text=module.text.clone(vocab_size=words))
    return module.clone(vocab_size=words)


def main() -> int:
    """0 when the folder is written, 2 with one message where it cannot be."""
    parser = argparse.ArgumentParser(
        prog="python -m ldm_jax.convert.random_checkpoint", description=__doc__
    )
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("destination", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--overwrite", action="store_true")
    arguments = parser.parse_args()
    try:
        write(
            arguments.size,
            arguments.destination,
            seed=arguments.seed,
            overwrite=arguments.overwrite,
        )
    except (ValueError, OSError) as error:
        print(f"ldm_jax.convert.random_checkpoint: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
