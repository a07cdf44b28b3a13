"""Writes tests/golden/optimizer.npz: the parameters after every update, by PyTorch's optimisers in float64."""

import math

import numpy as np
import torch

from tests import cases_optimizer as cases
from tests.golden import save


def write() -> None:
    outputs = {}
    for name, (optimizer, schedule, ours) in cases.CASES.items():
        rates, path = trajectory(optimizer, schedule, clip="clip_norm" in ours)
        outputs[f"{name}/rates"] = rates
        outputs |= {f"{name}/{parameter}": x for parameter, x in path.items()}
    save("optimizer", shapes=cases.SHAPES, outputs=outputs)


def trajectory(optimizer, schedule, *, clip: bool):
    kind, options = optimizer
    params = {name: torch.nn.Parameter(torch.from_numpy(x)) for name, x in cases.start().items()}
    moved = getattr(torch.optim, kind)(params.values(), **options)
    scheduler = make_schedule(moved, schedule)
    path, rates = {name: [] for name in params}, []
    for update in range(cases.UPDATES):
        for name, gradient in cases.gradient(update).items():
            params[name].grad = torch.from_numpy(gradient)
        if clip:
            torch.nn.utils.clip_grad_norm_(params.values(), cases.CLIP)
        rates.append(scheduler.get_last_lr()[0])
        moved.step()
        scheduler.step()
        for name, parameter in params.items():
            path[name].append(parameter.detach().numpy().copy())
    return np.array(rates), {name: np.stack(values) for name, values in path.items()}


def make_schedule(optimizer, schedule):
    name, options = schedule
    lr = torch.optim.lr_scheduler
    match name:
        case "warmup":  # audioldm_train: lr * global_step / warmup_steps up to warmup_steps
            return lr.LambdaLR(optimizer, lambda n: min(1.0, n / options["steps"]))
        case "cosine":  # AudioMAE's util/lr_sched.py, with update for epoch
            warmup, final = options["warmup"], options["final"]
            length = cases.UPDATES - warmup

            def factor(n: int) -> float:
                if n < warmup:
                    return n / warmup
                return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * (n - warmup) / length))

            return lr.LambdaLR(optimizer, factor)
        case "step":
            return lr.StepLR(optimizer, **options)
        case "exponential":
            return lr.ExponentialLR(optimizer, **options)
        case "linear":
            return lr.LinearLR(
                optimizer,
                start_factor=1.0,
                end_factor=options["final"],
                total_iters=cases.UPDATES,
            )
    raise ValueError(name)
