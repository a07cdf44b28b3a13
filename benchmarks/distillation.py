"""What a distillation step costs beside the sum of its parts, and what hearing a clip costs in memory.

    .venv/bin/python benchmarks/distillation.py                             # the small UNet, 5.12 s, on this machine
    .venv/bin/python benchmarks/distillation.py --size base --seconds 10.24 --dtype bfloat16 --batch 8
    .venv/bin/python benchmarks/distillation.py --memory                    # published sizes, 10.24 s; nothing is run

Batches hold encodings: latents, LOA and text states. A method's step is its stage's loss with the gradient. Its parts
are the same networks called by themselves: the student with its gradient, and each call of teacher and target, all of
them compiled alone and timed in turns with the step; ratios are medians over the rounds. --memory compiles, without any
array, the gradient of the losses by CLAP with respect to one clip's latents, and prints how much memory the program
needs beside its inputs.
"""

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ldm_jax.convert.checkpoint import abstract_params, init_params
from ldm_jax.convert.random_checkpoint import SIZES
from ldm_jax.diffusion.objective import squared_error
from ldm_jax.distill.audio_space import AudioSpace, audio_space_loss, reference_of
from ldm_jax.pipeline.networks import with_dtype
from ldm_jax.profiling import count_flops
from ldm_jax.train.conditions import loa_tokens
from ldm_jax.train.losses.diffusion import asked, interleaved
from ldm_jax.train.stages.consistency import ConsistencyStage
from ldm_jax.train.stages.distillation import DistillationStage
from ldm_jax.train.stages.guided import GuidedStage
from ldm_jax.train.stages.progressive import ProgressiveStage
from ldm_jax.train.stages.stage import Given

GRID, SCALE = (64, 8), 1.0
SETTINGS: dict[str, Any] = {
    "encoded": True,
    "ground_truth": 1.0,
    "loa_grid": GRID,
    "latent_scale": SCALE,
    "schedule": "scaled_linear",
    "prediction": "v",
    "teacher_prediction": "v",
}
TOLD: Any = {"guidance": (0.0, 6.0), "teacher_guidance": (0.0, 6.0)}
CONSISTENT: Any = {**SETTINGS, "guidance": (0.0, 6.0)}
# A stage, and its parts: how often a teacher or target is called with one row a clip, and with two.
METHODS: dict[str, tuple[DistillationStage, int, int]] = {
    "guided": (GuidedStage(**SETTINGS), 0, 1),
    "progressive": (ProgressiveStage(**SETTINGS, **TOLD, teacher_steps=200), 2, 0),
    "consistency, DDIM": (ConsistencyStage(**CONSISTENT, solver="ddim"), 1, 1),
    "consistency, Heun": (ConsistencyStage(**CONSISTENT), 1, 2),
    "consistency, Heun, teacher told": (ConsistencyStage(**SETTINGS, **TOLD), 3, 0),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=("small", "base"), default="small")
    parser.add_argument("--seconds", type=float, default=5.12)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--method", choices=tuple(METHODS), nargs="+", default=list(METHODS))
    parser.add_argument("--memory", action="store_true")
    arguments = parser.parse_args()
    if arguments.memory:
        print_memory()
        return
    print(f"{arguments.size}, {arguments.seconds} s, {arguments.batch} clips, {arguments.dtype}")
    print(
        f"{'':34s} {'step (s)':>9} {'parts':>9} {'ratio':>6} {'GFLOP a clip':>13} {'of parts':>9}"
    )
    for name in arguments.method:
        measure(name, arguments)


def measure(name: str, arguments: argparse.Namespace) -> None:
    """A line for one method."""
    stage, single, double = METHODS[name]
    networks, params = made(stage, arguments)
    given = example(stage, networks, params, arguments)
    (player,) = stage.players(networks)
    trained = {"unet": params["unet"]}

    def step(trained: Any, given: Given) -> Any:
        return jax.value_and_grad(lambda p: player.loss(p, given)[0])(trained)

    parts = parts_of(stage, networks, params, given)
    runs: dict[str, tuple[Callable[..., Any], tuple[Any, ...], int]] = {
        "step": (step, (trained, given), 1),
        "student": (*parts["student"], 1),
        "single": (*parts["single"], single),
        "double": (*parts["double"], double),
    }
    runs = {key: run for key, run in runs.items() if run[2]}
    compiled = {
        key: jax.jit(function).lower(*inputs).compile()
        for key, (function, inputs, _) in runs.items()
    }
    flops = {key: n * count_flops(function, *inputs) for key, (function, inputs, n) in runs.items()}
    rounds = []
    for number in range(arguments.rounds + 1):
        times = {key: seconds(compiled[key], runs[key][1]) * runs[key][2] for key in runs}
        if number:
            rounds.append((times["step"], sum(x for key, x in times.items() if key != "step")))
    clip = 1e9 * arguments.batch
    whole, rest = flops["step"], sum(x for key, x in flops.items() if key != "step")
    print(
        f"{name:34s} {statistics.median(a for a, _ in rounds):9.3f} "
        f"{statistics.median(b for _, b in rounds):9.3f} "
        f"{statistics.median(a / b for a, b in rounds):6.2f} {whole / clip:13.1f} {whole / rest:9.2f}",
        flush=True,
    )


def made(stage: DistillationStage, arguments: argparse.Namespace) -> tuple[Any, Any]:
    """(networks, parameters): a random student, and a teacher told the scale where the stage's is."""
    unet: Any = SIZES[arguments.size]()["unet"]
    if arguments.size == "base":
        unet = unet.clone(heads=None, head_dim=32)
    unet = with_dtype(unet, jnp.dtype(arguments.dtype))
    told = unet.clone(guidance_features=2 * unet.block_out_channels[0])
    networks = {"unet": told, "teacher": told if stage.teacher_guidance else unet}
    if not stage.frozen_teacher():
        del networks["teacher"]
    keys: Any = dict(zip(("unet", "teacher"), jax.random.split(jax.random.key(0)), strict=True))
    params = {
        name: jax.jit(init_params, static_argnums=0)(module, keys[name])
        for name, module in networks.items()
    }
    params.setdefault("teacher", params["unet"])
    return networks, {**params, "target": params["unet"]}


def example(
    stage: DistillationStage, networks: Any, params: Any, arguments: argparse.Namespace
) -> Given:
    """A batch of noise in the shapes of encodings."""
    unet = networks["unet"]
    loa_width, text_width = (w for w in unet.cross_attention_dims if w is not None)
    rows, frames = arguments.batch, round(arguments.seconds * 25)
    keys = iter(jax.random.split(jax.random.key(1), 4))
    batch = {
        "latents": jax.random.normal(next(keys), (rows, frames, 16, 2 * unet.in_channels)),
        "loa": jax.random.normal(next(keys), (rows, loa_tokens(8, GRID), loa_width)),
        "t5": jax.random.normal(next(keys), (rows, arguments.tokens, text_width)),
        "t5_mask": jnp.ones((rows, arguments.tokens), bool),
        "empty_t5": jax.random.normal(next(keys), (rows, 1, text_width)),
    }
    draws = stage.draw(networks, jax.random.key(2), batch, jnp.int32(0))
    followers = {name: params[name] for name in stage.followers()}
    frozen = {name: params[name] for name in stage.frozen()}
    constants = {"latent_scale": jnp.float32(SCALE)}
    return Given(frozen, batch, draws, constants, jnp.int32(0), followers, jnp.int32(0))


def parts_of(
    stage: DistillationStage, networks: Any, params: Any, given: Given
) -> dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]:
    """(function, its inputs) of each part: the student with its gradient, a call with one row a clip, and with two."""
    unet, teacher = networks["unet"], networks.get("teacher", networks["unet"])
    told = stage.conditional(networks, params, given)
    untold = stage.unconditional(networks, params, given)
    z, target = given.draws["noise"], given.draws["posterior"]
    t, scale = 999 * given.draws["place"], given.draws["scale"]

    def student(trained: Any, told: Any) -> Any:
        def loss(trained: Any) -> Any:
            return squared_error(asked(unet, trained, told, scale)(z, t), target).mean()

        return jax.value_and_grad(loss)(trained)

    def single(its: Any, told: Any) -> Any:
        return asked(unet, its, told, scale)(z, t)

    def double(its: Any, both: Any) -> Any:
        return asked(teacher, its, both)(z, t)

    return {
        "student": (student, (params["unet"], told)),
        "single": (single, (params["unet"], told)),
        "double": (double, (params["teacher"], interleaved(untold, told))),
    }


def seconds(compiled: Any, inputs: tuple[Any, ...]) -> float:
    """That one run takes."""
    started = time.perf_counter()
    jax.block_until_ready(compiled(*inputs))
    return time.perf_counter() - started


def print_memory() -> None:
    """What the gradient of losses by CLAP with respect to 10.24 s of latents needs, with and without remat."""
    networks = {name: SIZES["base"]()[name] for name in ("vae", "vocoder", "clap")}
    params = {name: abstract_params(module) for name, module in networks.items()}
    space = AudioSpace(clap_text=0.1, clap_audio=0.1)
    for batch in (1, 4):
        latents = jax.ShapeDtypeStruct((batch, 256, 16, 8), jnp.float32)
        sound = jax.ShapeDtypeStruct((batch, 163_840), jnp.float32)
        tokens = tuple(jax.ShapeDtypeStruct((batch, 32), kind) for kind in (jnp.int32, jnp.bool_))
        for remat in (True, False):
            kept = dataclasses.replace(space, remat=remat)

            def loss(latents: Any, params: Any, sound: Any, tokens: Any, space: Any = kept) -> Any:
                reference = reference_of(
                    networks, params, latents, space=space, sound=sound, tokens=tokens
                )
                return audio_space_loss(networks, params, latents, reference, space=space)[0].sum()

            program = jax.jit(jax.value_and_grad(loss)).lower(latents, params, sound, tokens)
            analysis: Any = program.compile().memory_analysis()
            size = analysis.temp_size_in_bytes
            print(f"{batch} clips of 10.24 s, remat {remat!s:5}: {size / 1e9:.2f} GB", flush=True)


if __name__ == "__main__":
    main()
