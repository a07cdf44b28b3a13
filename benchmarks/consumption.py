"""How many clips a second training consumes at most: FLOPs of each network against what the hardware can do.

    .venv/bin/python benchmarks/consumption.py [--utilisation 0.4]

Nothing is computed: products and convolutions are counted in the traced programs at the published sizes, in bfloat16,
for clips of 10.24 s and captions of 32 tokens. A trained network counts three times (forward, and twice that backward),
a frozen one once. `--utilisation` is the share of the peak that is reached; 0.4 is good, so take the rates as what the
input pipeline has to be able to feed.
"""

import argparse

import jax
import jax.numpy as jnp
from tqdm import tqdm

from ldm_jax.convert.checkpoint import abstract_params
from ldm_jax.convert.random_checkpoint import SIZES
from ldm_jax.models.audiomae import AudioMAE
from ldm_jax.pipeline.networks import with_dtype
from ldm_jax.profiling import PEAK_FLOPS, count_flops

MACHINES = {"v5e-8": ("TPU v5e", 8), "H200": ("NVIDIA H200", 1)}
TOKENS = 32
# What a step computes, by stage: (networks trained, networks frozen).
STAGES = {
    "VAE, without its discriminator": (("vae encoder", "vae decoder"), ()),
    "AudioMAE, masked by 0.8": (("masked audiomae",), ()),
    "latent diffusion, from sound": (("unet",), ("vae encoder", "audiomae", "t5")),
    "latent diffusion, large, from sound": (("large unet",), ("vae encoder", "audiomae", "t5")),
    "latent diffusion, from latents": (("unet",), ()),
    "latent diffusion, large, from latents": (("large unet",), ()),
}


def forward_flops() -> dict[str, int]:
    """FLOPs of one forward pass for one clip, by part."""
    base, large = SIZES["base"](), SIZES["large"]()
    mel = jnp.zeros((1, 1024, 64, 1))
    latents = jnp.zeros((1, 256, 16, 8))
    contexts = [(jnp.zeros((1, 8, 768)), None), (jnp.zeros((1, TOKENS, 1024)), None)]
    tokens = (jnp.zeros((1, TOKENS), jnp.int32), jnp.ones((1, TOKENS), bool))
    fbank = jnp.zeros((1, 1024, 128))
    kept, restored = jnp.zeros((1, 102), jnp.int32), jnp.zeros((1, 512), jnp.int32)
    parts = {
        "unet": (base["unet"], None, (latents, jnp.zeros(1), contexts, None)),
        "large unet": (large["unet"], None, (latents, jnp.zeros(1), contexts, None)),
        "vae encoder": (base["vae"], "encode", (mel,)),
        "vae decoder": (base["vae"], "decode", (latents,)),
        "audiomae": (AudioMAE(decoder=None), "features", (fbank,)),
        "masked audiomae": (AudioMAE(decoder="swin"), None, (fbank, kept, restored)),
        "t5": (base["t5"], None, tokens),
    }
    flops = {}
    for name, (module, method, arguments) in tqdm(parts.items(), desc="tracing", leave=False):
        module = with_dtype(module, jnp.bfloat16)
        params = abstract_params(module)

        def run(params, *arguments, module=module, method=method):
            return module.apply({"params": params}, *arguments, method=method)

        flops[name] = count_flops(run, params, *arguments)
    return flops


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--utilisation", type=float, default=0.4, help="share of the peak")
    utilisation = parser.parse_args().utilisation
    jax.config.update("jax_platforms", "cpu")
    flops = forward_flops()
    for name, count in flops.items():
        print(f"{name:40s} {count / 1e9:8.1f} GFLOP forward")
    print(f"\nclips a second at {utilisation:.0%} of the peak")
    print(f"{'':40s} {'GFLOP a clip':>14s}" + "".join(f"{name:>10s}" for name in MACHINES))
    for stage, (trained, frozen) in STAGES.items():
        total = 3 * sum(flops[name] for name in trained) + sum(flops[name] for name in frozen)
        rates = [
            utilisation * PEAK_FLOPS[chip] * chips / total for chip, chips in MACHINES.values()
        ]
        print(f"{stage:40s} {total / 1e9:14.0f}" + "".join(f"{rate:10.0f}" for rate in rates))


if __name__ == "__main__":
    main()
