"""The small UNet on this CPU: its cores as one device, where XLA divides operations, against a device each.

    .venv/bin/python benchmarks/cores.py

Forward pass and gradient of a batch of latents of 5.12 s; both sides in processes of their own, in turns. Ratios of a
device each to one device: below 1, `JAX_NUM_CPU_DEVICES` pays.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp

from ldm_jax.convert.checkpoint import init_params
from ldm_jax.convert.load import load
from ldm_jax.parallel.mesh import data_mesh, place, replicated, rows
from ldm_jax.parallel.program import program
from ldm_jax.shipped import DEFAULT

REPEATS = 5
NAMES = ("forward", "gradient")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--devices", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--side", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        print(*times(arguments.batch))
        return
    ratios: dict[str, list[float]] = {name: [] for name in NAMES}
    for _ in range(arguments.rounds):
        one, several = (side(n, arguments.batch) for n in (1, arguments.devices))
        for name, before, after in zip(NAMES, one, several, strict=True):
            ratios[name].append(after / before)
    for name, found in ratios.items():
        print(f"{name:10s} {statistics.median(found):.2f}  ({min(found):.2f} to {max(found):.2f})")


def side(devices: int, batch: int) -> list[float]:
    """Seconds of each of `NAMES`, in a process of so many devices."""
    command = [sys.executable, __file__, "--side", "--batch", str(batch)]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices)}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return [float(word) for word in done.stdout.split()]


def times(batch: int) -> list[float]:
    """The same of all devices of this process."""
    unet: Any = load(DEFAULT).networks["unet"]
    mesh, key = data_mesh(jax.local_devices()), jax.random.key(0)
    params = place(init_params(unet, key), replicated(mesh))
    dims = [dim for dim in unet.cross_attention_dims if dim is not None]
    shapes = [(128, 16, unet.in_channels), *((24, dim) for dim in dims)]
    latents, *contexts = (
        place(jax.random.normal(key, (batch, *shape)), rows(mesh)) for shape in shapes
    )
    steps = place(jnp.full(batch, 500.0), rows(mesh))

    def loss(params: Any, latents: Any, steps: Any, contexts: Any) -> Any:
        pairs = [(context, None) for context in contexts]
        return (unet.apply({"params": params}, latents, steps, pairs) ** 2).mean()

    found = []
    for function in (loss, jax.value_and_grad(loss)):
        step, spent = program(function), []
        for _ in range(REPEATS + 1):
            began = time.perf_counter()
            jax.block_until_ready(step(params, latents, steps, contexts))
            spent.append(time.perf_counter() - began)
        found.append(min(spent[1:]))
    return found


if __name__ == "__main__":
    main()
