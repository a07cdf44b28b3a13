"""How long clips of the small model and of its students take, warm, in turns.

    .venv/bin/python -m benchmarks.speed
    JAX_NUM_CPU_DEVICES=2 .venv/bin/python -m benchmarks.speed --batch 8

Systems are named as in `benchmarks/systems.py`. Every round draws `--batch` clips with each, from the prompt to the
wave. Seconds of sound are by the median of the times; times beside the first system's are the median of the ratios,
round by round.
"""

import argparse
import statistics
import time

from benchmarks.systems import System, system
from ldm_jax import AudioLDM2
from ldm_jax.shipped import DEFAULT, QUALITIES

SYSTEMS = (QUALITIES["best"], f"{DEFAULT}:dpmsolver++:25", QUALITIES["fast"], QUALITIES["instant"])
PROMPT = "a dog barks in the park while heavy rain is falling"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--systems", nargs="+", default=SYSTEMS)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    told = {name: system(name) for name in arguments.systems}
    models = {name: AudioLDM2.from_pretrained(one.checkpoint) for name, one in told.items()}
    times: dict[str, list[float]] = {name: [] for name in told}
    for count in range(arguments.rounds + 1):
        for name, one in told.items():
            seconds = drawn(models[name], one, batch=arguments.batch, seed=count)
            times[name] += [seconds] if count else []  # the first compiles
    print("| system | calls | seconds of sound a second | time beside the first |")
    print("|---|---:|---:|---:|")
    first = next(iter(times.values()))
    for name, spent in times.items():
        sound = arguments.batch * told[name].generation.seconds / statistics.median(spent)
        ratio = statistics.median(a / b for a, b in zip(spent, first, strict=True))
        print(f"| {name} | {told[name].calls} | {sound:.2f} | {ratio:.3f} |")


def drawn(model: AudioLDM2, one: System, *, batch: int, seed: int) -> float:
    """Seconds until `batch` waves are there."""
    started = time.perf_counter()
    one.draw(model, [PROMPT] * batch, seeds=range(seed * batch, (seed + 1) * batch))
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
