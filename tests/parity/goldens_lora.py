"""Writes tests/golden/lora_*.npz: base(x) + (alpha / rank) B(A(x)), as PEFT's Linear and Conv layers compute it."""

import torch
from torch.nn import functional

from tests import cases_lora as cases
from tests.golden import random_tensors, save


def write() -> None:
    for name, layer in cases.LAYERS.items():
        shapes = cases.shapes(*layer)
        weights = {key: torch.from_numpy(x) for key, x in random_tensors(shapes).items()}
        x = torch.from_numpy(cases.inputs(name)).movedim(-1, 1)
        window = layer[0]
        apply = (functional.linear, functional.conv1d, functional.conv2d)[len(window)]
        padding = {"padding": window[0] // 2} if window else {}
        base = apply(x, weights["base_layer.weight"], **padding)
        inner = apply(x, weights["lora_A.weight"], **padding)
        out = base + cases.ALPHA / cases.RANK * apply(inner, weights["lora_B.weight"])
        save(f"lora_{name}", shapes=shapes, outputs={"out": out.movedim(1, -1).numpy()})
