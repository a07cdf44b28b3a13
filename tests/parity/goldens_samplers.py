"""Writes tests/golden/samplers_*.npz: whole trajectories of diffusers' schedulers, in float64."""

import numpy as np

from ldm_jax.diffusion import samplers
from tests import golden
from tests.cases_samplers import golden_cases
from tests.parity import oracle_samplers


def write() -> None:
    """One file a sampler; the runs one after another along the first axis."""
    for sampler in samplers.SAMPLERS:
        runs = {
            case.name: oracle_samplers.run(case, dtype=np.float64) for case in golden_cases(sampler)
        }
        golden.save(
            f"samplers_{sampler}",
            shapes={name: run["inputs"].shape for name, run in runs.items()},
            outputs={
                "timesteps": np.concatenate([run["timesteps"] for run in runs.values()]),
                "inputs": np.concatenate([run["inputs"] for run in runs.values()]),
                "latents": np.stack([run["latents"] for run in runs.values()]),
            },
        )


if __name__ == "__main__":
    write()
