"""Sampling beside diffusers' AudioLDM2Pipeline: the same random weights in both, one run, alternating.

    make parity-environment
    .venv-parity/bin/python benchmarks/against_diffusers.py                       # this CPU, float32
    .venv-parity/bin/python benchmarks/against_diffusers.py --device cuda --dtype bfloat16 --batch 16

Ratios below 1 mean that ours is faster or smaller. First come the networks, both in one process; then whole
generations of `--seconds` in `--steps` steps, each side in fresh processes: the first clip (compilation included,
nothing cached), a warm one, and the peak of resident memory.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np

PROMPT = "a dog barks in the park while heavy rain is falling"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--checkpoint", type=pathlib.Path, help="a diffusers folder; default: random base"
    )
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--seconds", type=float, default=10.24)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=("networks", "clip"), help="one of the two parts")
    parser.add_argument("--side", choices=("ours", "theirs"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(whole_clip(arguments)))
        return
    with tempfile.TemporaryDirectory() as folder:
        if arguments.checkpoint is None:
            from ldm_jax.convert import random_checkpoint

            arguments.checkpoint = pathlib.Path(folder) / "base"
            random_checkpoint.write("base", arguments.checkpoint)
        if arguments.only != "clip":
            compare_networks(arguments)
        if arguments.only != "networks":
            compare_clips(arguments)


def alternate(
    ours: Callable[[], object], theirs: Callable[[], object], rounds: int
) -> tuple[float, float, float]:
    """Medians of both in seconds and of their ratio, pair by pair, after a call of each that does not count."""
    pairs = []
    for _ in range(rounds + 1):
        pair = []
        for function in (ours, theirs):
            started = time.perf_counter()
            function()
            pair.append(time.perf_counter() - started)
        pairs.append(pair)
    pairs = pairs[1:]
    return (
        statistics.median(pair[0] for pair in pairs),
        statistics.median(pair[1] for pair in pairs),
        statistics.median(pair[0] / pair[1] for pair in pairs),
    )


def torch_pipeline(arguments: argparse.Namespace):
    """Diffusers' pipeline on the device, compiled where that is a GPU."""
    import diffusers  # pyright: ignore[reportMissingImports]
    import torch  # pyright: ignore[reportMissingImports]

    diffusers.utils.logging.set_verbosity_error()
    torch_dtype = getattr(torch, arguments.dtype)
    pipeline = diffusers.AudioLDM2Pipeline.from_pretrained(
        arguments.checkpoint, torch_dtype=torch_dtype
    )
    pipeline.set_progress_bar_config(disable=True)
    pipeline.to(arguments.device)
    if arguments.device == "cuda":
        pipeline.unet = torch.compile(pipeline.unet)
        pipeline.vae.decode = torch.compile(pipeline.vae.decode)
        pipeline.vocoder = torch.compile(pipeline.vocoder)
    return pipeline


def our_model(arguments: argparse.Namespace):
    """Ours, with the functions that diffusers computes."""
    from ldm_jax import AudioLDM2

    return AudioLDM2.from_pretrained(
        arguments.checkpoint, preset="diffusers", dtype=arguments.dtype
    )


def compare_networks(arguments: argparse.Namespace) -> None:
    """One guided step of the UNet, the VAE's decoder, the vocoder."""
    import jax
    import jax.numpy as jnp
    import torch  # pyright: ignore[reportMissingImports]

    model, pipeline = our_model(arguments), torch_pipeline(arguments)
    networks, params = model.networks, model.params
    shape, batch = model.latent_shape(arguments.seconds), arguments.batch
    random = np.random.RandomState(0)
    latents = random.standard_normal((batch, *shape)).astype(np.float32)
    contexts = [
        random.standard_normal((2 * batch, n, d)).astype(np.float32)
        for n, d in ((8, 768), (16, 1024))
    ]

    def of_torch(x: np.ndarray) -> torch.Tensor:
        return torch.tensor(x).to(arguments.device, getattr(torch, arguments.dtype))

    def of_jax(x: np.ndarray) -> jax.Array:
        return jnp.asarray(x, arguments.dtype)

    mask = np.ones((2 * batch, 16), bool)
    variables = {"params": params["unet"]}
    projected = jax.jit(lambda v, c: networks.unet.apply(v, c, method="project_contexts"))(
        variables, [(of_jax(contexts[0]), None), (of_jax(contexts[1]), jnp.asarray(mask))]
    )
    table = jax.jit(lambda v, t: networks.unet.apply(v, t, method="embed_time"))(
        variables, jnp.ones(1)
    )
    embedding = jax.tree.map(lambda x: x[0], table)
    step = jax.jit(lambda v, x, e, p: networks.unet.apply(v, x, e, p, method="denoise"))
    vae = jax.jit(lambda p, z: networks.vae.apply({"params": p}, z, method="decode"))
    vocoder = jax.jit(lambda p, m: networks.vocoder.apply({"params": p}, m))
    ours_latents, ours_doubled = of_jax(latents), of_jax(latents)
    theirs_latents = of_torch(latents.transpose(0, 3, 1, 2))
    loa, text = (of_torch(x) for x in contexts)
    text_mask = torch.tensor(mask).to(arguments.device)
    mel = random.standard_normal((batch, 4 * shape[0], 64)).astype(np.float32) - 5
    ours_mel, theirs_mel = of_jax(mel), of_torch(mel)

    def their_step() -> None:
        with torch.inference_mode():
            pipeline.unet(
                torch.cat([theirs_latents] * 2),
                torch.tensor(1),
                encoder_hidden_states=loa,
                encoder_hidden_states_1=text,
                encoder_attention_mask_1=text_mask,
            )
            synchronise()

    def their_vae() -> None:
        with torch.inference_mode():
            pipeline.vae.decode(theirs_latents)
            synchronise()

    def their_vocoder() -> None:
        with torch.inference_mode():
            pipeline.vocoder(theirs_mel)
            synchronise()

    def synchronise() -> None:
        if arguments.device == "cuda":
            torch.cuda.synchronize()

    pairs = {
        "UNet, one guided step": (
            lambda: jax.block_until_ready(step(variables, ours_doubled, embedding, projected)),
            their_step,
        ),
        "VAE, decoding": (
            lambda: jax.block_until_ready(vae(params["vae"], ours_latents)),
            their_vae,
        ),
        "vocoder": (
            lambda: jax.block_until_ready(vocoder(params["vocoder"], ours_mel)),
            their_vocoder,
        ),
    }
    print(f"{'':24} {'ours s':>9} {'theirs s':>9} {'ratio':>7}")
    for name, (ours, theirs) in pairs.items():
        mine, their, ratio = alternate(ours, theirs, arguments.rounds)
        print(f"{name:24} {mine:9.3f} {their:9.3f} {ratio:7.2f}", flush=True)


def whole_clip(arguments: argparse.Namespace) -> dict[str, float]:
    """One side's load, first clip, warm clip and peak memory, in this process."""
    random = np.random.RandomState(0)
    frames = -(-round(arguments.seconds * 100) // 4)
    latents = random.standard_normal((arguments.batch, frames, 16, 8)).astype(np.float32)
    prompts = [PROMPT] * arguments.batch
    started = time.perf_counter()
    if arguments.side == "ours":
        model = our_model(arguments)

        def generate() -> None:
            model.generate(
                prompts, steps=arguments.steps, seconds=arguments.seconds, latents=latents
            )

    else:
        import torch  # pyright: ignore[reportMissingImports]

        pipeline = torch_pipeline(arguments)
        noise = torch.tensor(latents.transpose(0, 3, 1, 2)).to(
            arguments.device, getattr(torch, arguments.dtype)
        )

        def generate() -> None:
            pipeline(
                prompts,
                num_inference_steps=arguments.steps,
                audio_length_in_s=arguments.seconds,
                latents=noise,
                guidance_scale=3.5,
            )

    loaded = time.perf_counter()
    generate()
    first = time.perf_counter()
    generate()
    warm = time.perf_counter()
    timings = {"load": loaded - started, "first": first - loaded, "warm": warm - first}
    return {**timings, "memory": peak_memory()}


def peak_memory() -> int:
    """Most bytes this process had in memory; `ru_maxrss` would count its parent's at the fork."""
    status = pathlib.Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def compare_clips(arguments: argparse.Namespace) -> None:
    """Fresh processes in turn, the compilation cache off."""
    command = [sys.executable, "-W", "ignore", __file__, "--checkpoint", str(arguments.checkpoint)]
    for name in ("device", "dtype", "batch", "steps", "seconds"):
        command += [f"--{name}", str(getattr(arguments, name))]
    rows = []
    for _ in range(max(1, arguments.rounds // 2)):
        row = {}
        for side in ("ours", "theirs"):
            with tempfile.TemporaryDirectory() as cache:
                environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": cache}
                done = subprocess.run(
                    [*command, "--side", side], stdout=subprocess.PIPE, check=True, env=environment
                )
            row[side] = json.loads(done.stdout.splitlines()[-1])
        rows.append(row)
    print(f"\n{'':24} {'ours':>9} {'theirs':>9} {'ratio':>7}")
    for key, label, unit in (
        ("warm", "clip, warm (s)", 1),
        ("first", "first clip (s)", 1),
        ("load", "loading (s)", 1),
        ("memory", "peak memory (GB)", 1e9),
    ):
        mine, their = (
            statistics.median(row[side][key] for row in rows) / unit for side in ("ours", "theirs")
        )
        ratio = statistics.median(row["ours"][key] / row["theirs"][key] for row in rows)
        print(f"{label:24} {mine:9.2f} {their:9.2f} {ratio:7.2f}")
    extra = statistics.median(row["ours"]["first"] - row["ours"]["warm"] for row in rows)
    print(f"compilation adds {extra:.0f} s to our first clip")


if __name__ == "__main__":
    main()
