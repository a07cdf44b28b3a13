"""Where sampling's time goes: stage by stage, and jit over a mesh beside pmap.

    python benchmarks/sampling.py                                   # random weights, published base size
    python benchmarks/sampling.py --checkpoint cvssp/audioldm2 --batch 16 --dtype bfloat16 --steps 200
    JAX_NUM_CPU_DEVICES=2 python benchmarks/sampling.py --size tiny --batch 4    # two virtual devices

For every stage: seconds to compile, seconds warm, FLOPs counted from the program, FLOP/s, and the share of the chips'
bfloat16 peak where that is known. Then the denoising loop once more under `pmap`.
"""

import argparse
import dataclasses
import pathlib
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ldm_jax import AudioLDM2
from ldm_jax.config import Generation
from ldm_jax.convert import random_checkpoint
from ldm_jax.diffusion import sampling
from ldm_jax.parallel import mesh
from ldm_jax.pipeline import conditioning, synthesis
from ldm_jax.pipeline.plans import make_plan
from ldm_jax.profiling import count_flops, peak_flops

PROMPT = "a dog barks in the park while heavy rain is falling"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--checkpoint", help="default: random weights")
    parser.add_argument("--size", choices=random_checkpoint.SIZES, default="base")
    parser.add_argument("--preset", default="official")
    parser.add_argument("--dtype", help="default: float32 on CPU, else bfloat16")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--seconds", type=float, default=10.24)
    parser.add_argument("--sampler", default="ddim")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    jax.config.update("jax_enable_compilation_cache", False)  # compilation is measured
    with tempfile.TemporaryDirectory() as folder:
        if arguments.checkpoint is None:
            arguments.checkpoint = pathlib.Path(folder) / arguments.size
            random_checkpoint.write(arguments.size, arguments.checkpoint)
        model = AudioLDM2.from_pretrained(
            arguments.checkpoint, preset=arguments.preset, dtype=arguments.dtype
        )
    measure(model, arguments)


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """What a call returns once it is computed, and its seconds."""
    started = time.perf_counter()
    result = jax.block_until_ready(function())
    return result, time.perf_counter() - started


def report(name: str, function: Callable[..., Any], *operands: Any, rounds: int, chips: int) -> Any:
    """Prints a stage's row and returns its result."""
    result, first = timed(lambda: function(*operands))
    warm = min(timed(lambda: function(*operands))[1] for _ in range(rounds))
    flops = count_flops(function, *operands)
    peak = peak_flops(jax.devices()[0])
    share = f"{flops / warm / peak / chips:8.1%}" if peak else f"{'-':>8}"
    print(
        f"{name:22} {first - warm:9.2f} {warm:9.3f} {flops / 1e9:10.0f} {flops / warm / 1e9:9.0f} {share}",
        flush=True,
    )
    return result, warm


def measure(model: AudioLDM2, arguments: argparse.Namespace) -> None:
    """All stages of `--batch` clips."""
    networks, params, chips = model.networks, model.params, model.mesh.size
    batch = -(-arguments.batch // chips) * chips
    options = {"rounds": arguments.rounds, "chips": chips}
    asked = Generation(steps=arguments.steps, seconds=arguments.seconds, sampler=arguments.sampler)
    branches = model.tokenizers.branches(
        [PROMPT] * batch,
        negatives=[""] * batch,
        transcripts=["Hello."] * batch if networks.speaks else None,
        pad_negative=False,
    )
    print(
        f"{chips} x {jax.devices()[0].device_kind}, {model.dtype}, {batch} clips of {asked.seconds} s"
    )
    print(f"{'':22} {'compile s':>9} {'warm s':>9} {'GFLOP':>10} {'GFLOP/s':>9} {'of peak':>8}")
    tokens = model.checkpoint.loa_tokens
    encode = lambda t: conditioning.encode(networks, params, t, loa_tokens=tokens)  # noqa: E731
    without = lambda t: conditioning.encode_without_loa(  # noqa: E731
        networks, params, t, loa_tokens=tokens
    )
    conditional, spent = report("encode the prompts", encode, branches.positive, **options)
    unconditional, more = report("encode the others", without, branches.negative, **options)
    total = spent + more
    rows, whole = mesh.rows(model.mesh), mesh.replicated(model.mesh)
    both = mesh.place(conditioning.interleave(unconditional, conditional), rows)
    plan = mesh.place(make_plan(asked, model.preset, model.checkpoint.scheduler), whole)
    prepare = lambda c: synthesis.prepare(networks, params, c, plan.timesteps)  # noqa: E731
    (projected, table), spent = report("prepare the contexts", prepare, both, **options)
    total += spent
    keys = mesh.place(jax.random.split(jax.random.key(0), batch), rows)
    noise = synthesis.initial_noise(keys, shape=model.latent_shape(asked.seconds))
    scale = mesh.place(np.float32(3.5), whole)
    draw = keys if plan.stochastic else None

    def denoise(noise: Any, projected: Any) -> Any:
        carry = sampling.init(plan, noise)
        return synthesis.denoise(
            networks, params, plan, carry, projected, table, draw, scale, guided=True
        )

    carry, spent = report(f"denoise, {plan.calls} calls", denoise, noise, projected, **options)
    total += spent
    decode = lambda z: synthesis.decode(networks, params, z)  # noqa: E731
    mel, more = report("decode to mel", decode, sampling.latents_of(carry), **options)
    total += more
    vocode = lambda m: synthesis.vocode(networks, params, m)  # noqa: E731
    _, more = report("mel to wave", vocode, mel, **options)
    total += more
    print(
        f"{'in all':22} {'':9} {total:9.3f}   {batch * asked.seconds / total:.2f} s of audio per second"
    )
    compare_with_pmap(
        model, plan, noise, projected, table, keys, seconds=spent, rounds=arguments.rounds
    )


def compare_with_pmap(
    model: AudioLDM2,
    plan: sampling.Plan,
    noise: Any,
    projected: Any,
    table: Any,
    keys: Any,
    *,
    seconds: float,
    rounds: int,
) -> None:
    """The same denoising, a share of the clips mapped to each device by hand."""
    chips = model.mesh.size

    def share(tree: Any) -> Any:
        return jax.tree.map(lambda x: x.reshape(chips, -1, *x.shape[1:]), tree)

    def one_device(
        params: Any, plan: Any, noise: Any, projected: Any, table: Any, keys: Any
    ) -> Any:
        return synthesis.denoise(
            *(model.networks, params, plan, sampling.init(plan, noise), projected, table),
            *(keys if plan.stochastic else None, jnp.float32(3.5)),
            guided=True,
        )

    mapped = jax.pmap(one_device, in_axes=(None, None, 0, 0, None, 0))
    host = jax.device_get((model.params, dataclasses.replace(plan), table))
    operands = (host[0], host[1], share(noise), share(projected), host[2], share(keys))
    timed(lambda: mapped(*operands))
    warm = min(timed(lambda: mapped(*operands))[1] for _ in range(rounds))
    print(
        f"denoising by pmap {warm:.3f} s, by jit over the mesh {seconds:.3f} s: jit / pmap {seconds / warm:.2f}"
    )


if __name__ == "__main__":
    main()
