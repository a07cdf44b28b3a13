"""diffusers' schedulers, run as its pipelines run them.

In float32 as published, or with every float32 that their source names read as float64.
"""

import contextlib
import importlib
import types
import warnings
from collections.abc import Iterator
from typing import Any

import diffusers
import numpy as np
import torch

from tests.cases_samplers import MOST_CALLS, Case, network

CLASSES = {
    "ddim": ("DDIMScheduler", {}),
    "dpmsolver++": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}),
    "dpmsolver++-sde": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler-ancestral": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "lms": ("LMSDiscreteScheduler", {}),
    "pndm": ("PNDMScheduler", {}),
}


class WithFloat64(types.ModuleType):
    """A module in which `float32` means float64, to stand for a scheduler's `np` and `torch`."""

    def __init__(self, module: types.ModuleType):
        super().__init__(module.__name__)
        self._module = module
        self.float32 = module.float64

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


@contextlib.contextmanager
def precision(scheduler_class: type, dtype: type) -> Iterator[None]:
    """The class computes its tables and its steps in `dtype`; float32 is as published."""
    module = importlib.import_module(scheduler_class.__module__)
    default = torch.get_default_dtype()
    if dtype is np.float64:
        module.np, module.torch = WithFloat64(np), WithFloat64(torch)
        torch.set_default_dtype(torch.float64)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # theirs, of NumPy 2
            yield
    finally:
        module.np, module.torch = np, torch
        torch.set_default_dtype(default)


@contextlib.contextmanager
def given_noise(scheduler_class: type, noise: Iterator[torch.Tensor]) -> Iterator[None]:
    """`randn_tensor` of the class's module hands out `noise` in turn."""
    module = importlib.import_module(scheduler_class.__module__)
    original = getattr(module, "randn_tensor", None)
    if original is not None:
        module.randn_tensor = lambda *args, **kwargs: next(noise)
    try:
        yield
    finally:
        if original is not None:
            module.randn_tensor = original


def run(case: Case, *, dtype: type) -> dict[str, np.ndarray]:
    """Timesteps, what the network is given at each call, and the latents at the end."""
    class_name, options = CLASSES[case.sampler]
    scheduler_class = getattr(diffusers, class_name)
    initial, later = (torch.from_numpy(x.astype(dtype)) for x in case.noise(MOST_CALLS))
    fresh = given_noise(scheduler_class, iter(later))
    with torch.no_grad(), precision(scheduler_class, dtype), fresh:
        scheduler = scheduler_class.from_config(case.config(), **options)
        scheduler.set_timesteps(case.steps)
        latents, inputs = initial * scheduler.init_noise_sigma, []
        extra = {"eta": case.eta} if case.sampler == "ddim" else {}
        for t in scheduler.timesteps:
            model_input = scheduler.scale_model_input(latents, t)
            inputs.append(model_input.numpy().copy())
            time = t.to(latents.dtype)  # diffusers' networks embed timesteps as floats
            output = network(model_input, time, prediction=case.prediction, tanh=torch.tanh)
            latents = scheduler.step(output, t, latents, **extra).prev_sample
        assert latents.numpy().dtype == dtype
        return {
            "timesteps": scheduler.timesteps.numpy().astype(np.float64),
            "inputs": np.stack(inputs),
            "latents": latents.numpy(),
        }
