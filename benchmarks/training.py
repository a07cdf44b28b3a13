"""The UNet's training step beside PyTorch with diffusers' UNet: the same weights, batches and optimiser, in turns.

    .venv-parity/bin/python benchmarks/training.py                                 # this CPU, float32
    .venv-parity/bin/python benchmarks/training.py --device cuda --dtype bfloat16 --batch 16 --rounds 20

A step is noise prediction on latents of `--seconds` with 8 LOA and `--tokens` text tokens: loss, gradient, clipping by
the global norm, AdamW and a moving average of the weights (`--no-ema` for none). Both sides work in processes of their
own that take turns, step by step; the losses of all steps are held against each other in float32. Theirs is compiled
by torch.compile on a GPU, under autocast in 16 bits, and uses AdamW's fastest form. Ratios below 1 mean that ours is
faster or smaller; times are medians, and so is the ratio, pair by pair. Memory is the peak of the whole process, or
on a GPU of its arrays. On a CPU ours has glibc keep freed memory, as `train.py` does; with `--kept-memory` theirs too.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

LEARNING_RATE, WEIGHT_DECAY, CLIP, DECAY = 1e-4, 1e-2, 1.0, 0.9999
LOA = (8, 768)
TEXT_WIDTH = 1024
MAX_DIFFERENCE = 1e-3  # of losses after a few steps, relative
BATCHES = 4  # that come round again


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--batch", type=int, nargs="+", default=[2])
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=10.24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-ema", dest="ema", action="store_false")
    parser.add_argument("--remat", action="store_true", help="ours keeps fewer activations")
    parser.add_argument("--side", choices=tuple(SIDES), help=argparse.SUPPRESS)
    parser.add_argument(
        "--apart", action="store_true", help="whole processes take turns, where memory is short"
    )
    parser.add_argument(
        "--kept-memory", action="store_true", help="theirs keeps freed memory as ours does"
    )
    parser.add_argument("--only", choices=tuple(SIDES), help="one of the two sides")
    parser.add_argument("--weights", type=pathlib.Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        serve(arguments)
        return
    if arguments.device == "cpu":
        print(f"CPU: {processor()}")
    title = f"base UNet, {arguments.dtype} on {arguments.device}, {arguments.seconds} s"
    print(f"{title:48s} {'ours':>9} {'theirs':>9} {'ratio':>7}")
    with tempfile.TemporaryDirectory() as folder:
        arguments.weights = pathlib.Path(folder) / "unet.safetensors"
        write_weights(arguments.weights)
        for batch in arguments.batch:
            compare(arguments, batch)


def compare(arguments: argparse.Namespace, batch: int) -> None:
    """Prints a line for the time and one for the memory of steps with `batch` clips."""
    names = [arguments.only] if arguments.only else list(SIDES)
    groups = [[name] for name in names] * 2 if arguments.apart else [names]
    answers: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    memory: dict[str, float] = {}
    for group in groups:
        workers = {name: start(arguments, name, batch) for name in group}
        for count in range(arguments.rounds + 1):
            for name, worker in workers.items():
                answer = ask(worker)
                answers[name] += [answer] if count else []
        for name, worker in workers.items():
            memory[name] = ask(worker, "memory")["bytes"]
            worker.communicate("\n")
    rounds = [dict(zip(names, row, strict=True)) for row in zip(*answers.values(), strict=True)]
    if len(names) == 2 and arguments.dtype == "float32":
        for ours, theirs in (tuple(row.values()) for row in rounds):
            error = abs(ours["loss"] / theirs["loss"] - 1)
            assert error < MAX_DIFFERENCE, f"losses {ours['loss']} and {theirs['loss']} differ"
    times = {name: [row[name]["seconds"] for row in rounds] for name in names}
    print_line(f"step with {batch} clips (s)", times)
    print_line("  the fastest of them", {name: [min(x)] for name, x in times.items()})
    print_line("  peak memory (GB)", {name: [x / 1e9] for name, x in memory.items()})
    for name, row in rounds[-1].items():
        if row.get("share"):
            shares = [r[name]["share"] for r in rounds]
            print(f"  {name}: {statistics.median(shares):.1%} of the chip's peak")


def print_line(label: str, values: dict[str, list[float]]) -> None:
    """Medians by side, and that of the ratios."""
    medians = [f"{statistics.median(x):9.3f}" for x in values.values()]
    pairs = list(zip(*values.values(), strict=True))
    ratio = [f"{statistics.median(a / b for a, b in pairs):7.2f}"] if len(values) == 2 else []
    print(f"{label:48s} {' '.join(medians + ratio)}", flush=True)


def start(arguments: argparse.Namespace, side: str, batch: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-W", "ignore", __file__, "--side", side, "--batch", str(batch)]
    for name in ("weights", "device", "dtype", "tokens", "seconds"):
        command += [f"--{name}", str(getattr(arguments, name))]
    command += ["--no-ema"] * (not arguments.ema) + ["--remat"] * arguments.remat
    command += ["--kept-memory"] * arguments.kept_memory
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)


def ask(worker: "subprocess.Popen[str]", what: str = "step") -> dict[str, float]:
    """One answer of a worker."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(what + "\n")
    worker.stdin.flush()
    if not (line := worker.stdout.readline()):
        raise SystemExit(f"a worker ended with {worker.wait()}")
    return json.loads(line)


def serve(arguments: argparse.Namespace) -> None:
    """One side: a step for each line that says so."""
    step, memory, share = SIDES[arguments.side](arguments)
    batches = make_batches(arguments)
    count = 0
    while what := sys.stdin.readline().strip():
        if what == "memory":
            answer = {"bytes": memory()}
        else:
            started = time.perf_counter()
            loss = step(batches[count % BATCHES])
            seconds = time.perf_counter() - started
            answer = {"seconds": seconds, "loss": loss, "share": share(seconds)}
            count += 1
        print(json.dumps(answer), flush=True)


def make_batches(arguments: argparse.Namespace) -> list[dict[str, np.ndarray]]:
    """Noisy latents (batch, time, freq, channels), the noise in them, timesteps, contexts; text has a mask."""
    random, (batch,) = np.random.RandomState(0), arguments.batch
    frames = round(arguments.seconds * 25)

    def normal(*shape: int) -> np.ndarray:
        return random.standard_normal((batch, *shape)).astype(np.float32)

    lengths = random.randint(arguments.tokens // 2, arguments.tokens + 1, (batch, 1))
    return [
        {
            "noisy": normal(frames, 16, 8),
            "noise": normal(frames, 16, 8),
            "timesteps": random.randint(0, 1000, batch).astype(np.int32),
            "loa": normal(*LOA),
            "text": normal(arguments.tokens, TEXT_WIDTH),
            "mask": np.arange(arguments.tokens)[None] < lengths,
        }
        for _ in range(BATCHES)
    ]


def write_weights(path: pathlib.Path) -> None:
    """Random ones, in diffusers' layout; it and ours read them."""
    from safetensors.numpy import save_file

    from ldm_jax.convert import random_checkpoint, unet
    from ldm_jax.convert.rules import export

    params = random_checkpoint.random_params(our_unet("float32"), name="unet", seed=0)
    save_file(export(params, unet.DIFFUSERS, network="unet"), path)


def our_unet(dtype: str, *, remat: bool = False) -> Any:
    """The base UNet with the heads that diffusers gives it."""
    import jax.numpy as jnp

    from ldm_jax.models.unet import UNet

    return UNet(heads=8, head_dim=None, remat="full" if remat else "", dtype=jnp.dtype(dtype))


def our_side(arguments: argparse.Namespace) -> tuple[Callable, Callable, Callable]:
    """(step, peak memory, share of the chip's peak); the step is that of `train.py`."""
    import jax
    import jax.numpy as jnp
    from safetensors.numpy import load_file

    from ldm_jax.convert import unet
    from ldm_jax.convert.checkpoint import abstract_params
    from ldm_jax.convert.rules import convert
    from ldm_jax.parallel.host_memory import keep_freed_memory
    from ldm_jax.parallel.mesh import enable_compilation_cache
    from ldm_jax.parallel.program import program
    from ldm_jax.profiling import count_flops, peak_flops
    from ldm_jax.train.metrics import figures
    from ldm_jax.train.optimizer import Optimizer, transformation
    from ldm_jax.train.stages.stage import AllParams, Given, Player, Stage
    from ldm_jax.train.state import initial
    from ldm_jax.train.step import make_step

    if arguments.device == "cpu":
        jax.config.update("jax_platforms", "cpu")
    enable_compilation_cache()
    keep_freed_memory()
    network = our_unet(arguments.dtype, remat=arguments.remat)

    def loss(params: AllParams, given: Given) -> tuple[jax.Array, dict[str, Any]]:
        batch = given.batch
        contexts = [(batch["loa"], None), (batch["text"], batch["mask"])]
        inputs = (batch["noisy"], batch["timesteps"], contexts)
        out = network.apply({"params": params["unet"]}, *inputs)
        return jnp.mean((out.astype(jnp.float32) - batch["noise"]) ** 2), {}

    class NoisePrediction(Stage):
        """Of a batch that is noisy already, so that both sides see the same."""

        def draw(self, *_: Any) -> dict[str, Any]:
            return {}

        def players(self, networks: Any) -> tuple[Player, ...]:
            return (Player(name="model", networks=("unet",), loss=loss),)

    adamw = Optimizer(
        learning_rate=LEARNING_RATE, weight_decay=WEIGHT_DECAY, decayed="all", clip_norm=CLIP
    )
    transformations = {"model": transformation(adamw, total_steps=10**6)}
    update = make_step(
        NoisePrediction(),
        {"unet": network},
        transformations,
        join=lambda trained, held: {**trained, **held},
        ema_decay=DECAY,
    )
    tensors = load_file(arguments.weights)
    params = convert(tensors, unet.DIFFUSERS, abstract_params(network), network="unet")
    params = {"unet": jax.tree.map(jnp.array, params)}
    del tensors
    batch = jax.tree.map(jnp.asarray, make_batches(arguments)[0])
    given = Given({}, batch, {}, {}, jnp.zeros((), jnp.int32))
    flops = 3 * count_flops(lambda p: loss(p, given)[0], params)
    state = [
        initial(
            params,
            averaged=("unet",) * arguments.ema,
            transformations=transformations,
            players={"model": ("unet",)},
            constants={},
        )
    ]
    del params
    step, key, device = program(update, donate_argnums=0), jax.random.key(0), jax.devices()[0]

    def run(batch: dict[str, np.ndarray]) -> float:
        state[0], metrics = step(state[0], {}, {}, batch, key)
        jax.block_until_ready(state[0])
        return figures(metrics)["loss"]

    def memory() -> int:
        known = device.memory_stats() if arguments.device == "cuda" else None
        return known["peak_bytes_in_use"] if known else peak_memory()

    def share(seconds: float) -> float | None:
        peak = peak_flops(device)
        return flops / seconds / peak if peak else None

    return run, memory, share


def their_side(arguments: argparse.Namespace) -> tuple[Callable, Callable, Callable]:
    """The same of diffusers and PyTorch."""
    import diffusers  # pyright: ignore[reportMissingImports]
    import torch  # pyright: ignore[reportMissingImports]
    from safetensors.torch import load_file

    from ldm_jax.convert import unet
    from ldm_jax.parallel.host_memory import keep_freed_memory

    if arguments.kept_memory:
        keep_freed_memory()
    network = diffusers.AudioLDM2UNet2DConditionModel.from_config(
        unet.to_config(our_unet("float32"))
    )
    network.load_state_dict(load_file(arguments.weights))
    network.to(arguments.device).train()
    on_gpu = arguments.device == "cuda"
    optimiser = torch.optim.AdamW(
        network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True
    )
    parameters = [p for p in network.parameters() if p.requires_grad]
    average = [p.detach().clone() for p in parameters] if arguments.ema else None
    model = torch.compile(network) if on_gpu else network
    half = arguments.dtype == "bfloat16"

    def loss(batch: dict[str, Any]) -> Any:
        with torch.autocast(arguments.device, torch.bfloat16, enabled=half):
            out = model(
                batch["noisy"],
                batch["timesteps"],
                encoder_hidden_states=batch["loa"],
                encoder_hidden_states_1=batch["text"],
                encoder_attention_mask_1=batch["mask"],
            ).sample
        return torch.nn.functional.mse_loss(out.float(), batch["noise"])

    def run(batch: dict[str, np.ndarray]) -> float:
        tensors = {name: torch.from_numpy(x).to(arguments.device) for name, x in batch.items()}
        for name in ("noisy", "noise"):
            tensors[name] = tensors[name].movedim(-1, 1).contiguous()
        value = loss(tensors)
        value.backward()
        torch.nn.utils.clip_grad_norm_(parameters, CLIP, foreach=True)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        if average is not None:
            torch._foreach_lerp_(average, [p.detach() for p in parameters], 1 - DECAY)
        result = value.item()
        if on_gpu:
            torch.cuda.synchronize()
        return result

    def memory() -> int:
        return torch.cuda.max_memory_allocated() if on_gpu else peak_memory()

    return run, memory, lambda seconds: None


def processor() -> str:
    """Its name, family and widest vectors, which decide which library computes how well on it."""
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    facts = {key.strip(): value.strip() for key, _, value in (x.partition(":") for x in lines)}
    wide = next((x for x in ("avx512f", "avx2") if x in facts.get("flags", "").split()), "no AVX2")
    return f"{facts.get('model name', '')}, family {facts.get('cpu family', '')}, {wide}"


def peak_memory() -> int:
    """Most bytes this process had in memory."""
    status = pathlib.Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


SIDES = {"ours": our_side, "theirs": their_side}

if __name__ == "__main__":
    main()
