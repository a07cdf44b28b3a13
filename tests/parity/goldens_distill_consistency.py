r"""Writes tests/golden/distill_consistency_*.npz from ConsistencyTTA's own code, kept elsewhere.

    git clone https://github.com/Bai-YT/ConsistencyTTA /tmp/ConsistencyTTA # at 8ea43b6
    pip install --no-deps --target build/extra torchaudio==2.11.0
    CONSISTENCYTTA_SOURCE=/tmp/ConsistencyTTA PYTHONPATH=build/extra \
        .venv-parity/bin/python -m tests.parity.goldens_distill_consistency

Without the variable the files stay as they are. See `oracle_distill_consistency` for what of it is theirs.
"""

import contextlib
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import nn

from tests import cases_distill_consistency as cases
from tests import golden
from tests.parity import oracle_distill_consistency as oracle
from tests.parity.oracle_distill_consistency import NETWORKS, tensor

Arrays = dict[str, np.ndarray]


def write() -> None:
    """Writes the files where the authors' code is at hand."""
    if not oracle.SOURCE:
        print("CONSISTENCYTTA_SOURCE is not set: tests/golden/distill_consistency_*.npz stay")
        return
    with oracle.official() as models, tempfile.TemporaryDirectory() as folder, oracle.double():
        oracle.configs(pathlib.Path(folder))
        golden.save("distill_consistency_grid", shapes={}, outputs=_grids(models, folder))
        net = oracle.build(models, folder, models.AudioGDM, -1)
        shapes = {name: tuple(x.shape) for name, x in net.student_unet.state_dict().items()}
        for stage, outputs in (
            ("stage_1", _stage_1(models, folder)),
            ("stage_2", _stage_2(models, folder)),
            ("stage_3", _stage_3(models, folder)),
        ):
            golden.save(f"distill_consistency_{stage}", shapes=shapes, outputs=outputs)


def _channels_first(x: np.ndarray) -> torch.Tensor:
    return tensor(x).movedim(-1, 1)


def _channels_last(x: torch.Tensor) -> np.ndarray:
    return x.detach().movedim(1, -1).numpy()


@contextlib.contextmanager
def _drawn(indices: np.ndarray, rows: slice) -> Iterator[None]:
    """Our draws in place of theirs, for some of the clips."""
    noise = _channels_first(cases.clips()["noise"][rows])
    scales = tensor(cases.SCALES[rows]) / 6
    with (
        mock.patch.object(torch, "randint", return_value=torch.tensor(indices[rows])),
        mock.patch.object(torch, "randn_like", return_value=noise),
        mock.patch.object(torch, "rand", return_value=scales),
    ):
        yield


def _loss(net: Any, indices: np.ndarray, rows: slice = slice(None)) -> torch.Tensor:
    z_0 = _channels_first(cases.clips()["z_0"][rows])
    wave = tensor(cases.heard()["wave"][rows])
    with _drawn(indices, rows):
        return net(z_0=z_0, gt_wav=wave, prompt=cases.PROMPTS[rows])


def _watch(module: nn.Module, seen: dict[str, Any], name: str) -> None:
    """Keeps what goes in and comes out at each call."""

    def keep(_: Any, args: Any, kwargs: Any, output: Any) -> None:
        output = getattr(output, "sample", output)
        if output.requires_grad:
            output.retain_grad()
        seen[name] = (*args, output)

    module.register_forward_hook(keep, with_kwargs=True)


def _losses(net: Any, indices: np.ndarray) -> tuple[Arrays, torch.Tensor]:
    """(each clip's loss by itself, the batch's), the latter ready for its gradients."""
    with torch.no_grad():
        single = [_loss(net, indices, slice(i, i + 1)).item() for i in range(cases.BATCH)]
    return {"losses": np.array(single)}, _loss(net, indices)


def _gradients(unet: nn.Module) -> Arrays:
    found = {name: x.grad.numpy() for name, x in unet.named_parameters() if x.requires_grad}
    return {"gradients": cases.projections(found)}


def _grids(models: Any, folder: str) -> Arrays:
    """Points and weights, noisiest first, and the embedding of the guidance scale."""
    made: Arrays = {}
    for name, case in cases.STAGE_2.items():
        if case.scale == -1:
            net = _lcm(models, folder, case)
            scheduler, order = net.noise_scheduler, 2 if case.solver == "heun" else 1
            made[f"{name}_timesteps"] = scheduler.timesteps[::order].numpy()
            if case.solver == "heun":
                made[f"{name}_sigmas"] = scheduler.sigmas[:-1:order].numpy()
            indices = torch.arange(17) * order
            snr = net.compute_snr(scheduler.timesteps[indices], indices)
            made[f"{name}_weights"] = snr.clamp(max=cases.GAMMA).numpy()
    unet = net.student_unet
    scales = torch.tensor(cases.EMBEDDED_SCALES)
    made["embedding"] = unet.guidance_embedding(unet.guidance_proj(scales)).detach().numpy()
    for name, x in unet.state_dict().items():
        if name.startswith("guidance"):
            made[f"embedding/{name}"] = x.numpy()
    return made


def _lcm(models: Any, folder: str, case: cases.Case, **options: Any) -> Any:
    heun = case.solver == "heun"
    cls = models.AudioLCM
    net = oracle.build(
        models, folder, cls, case.scale, use_edm=heun, use_karras=case.karras, **options
    )
    if case.karras:  # in float32 their last timestep is 0 to the bit, in float64 it misses that
        timesteps = net.noise_scheduler.timesteps
        assert (timesteps[-2:] < 1e-9).all()
        timesteps[-2:] = 0
    return net


def _stage_1(models: Any, folder: str) -> Arrays:
    made: Arrays = {}
    for name, scale in cases.STAGE_1.items():
        net = oracle.build(models, folder, models.AudioGDM, scale)
        seen: dict[str, Any] = {}
        _watch(net.student_unet, seen, "student")
        query = net._query_teacher

        def kept(*args: Any, seen: Any = seen, query: Any = query) -> torch.Tensor:
            seen["target"] = query(*args)
            return seen["target"]

        net._query_teacher = kept
        found, loss = _losses(net, 999 - cases.STAGE_1_TIMESTEPS)
        loss.backward()
        z, t, output = seen["student"]
        assert (t.numpy() == cases.STAGE_1_TIMESTEPS).all()
        found |= {"loss": loss.detach().numpy(), **_gradients(net.student_unet)}
        arrays = {"noisy": z, "output": output, "target": seen["target"]}
        found |= {key: _channels_last(x) for key, x in arrays.items()}
        made |= {f"{name}/{key}": x for key, x in found.items()}
    return made


def _stage_2(models: Any, folder: str) -> Arrays:
    made: Arrays = {}
    for name, case in cases.STAGE_2.items():
        net = _lcm(models, folder, case)
        seen: dict[str, Any] = {}
        for key in ("student", "target"):
            _watch(getattr(net, NETWORKS[key]), seen, key)
        _watch(net.loss, seen, "loss")
        found, loss = _losses(net, cases.INTERVALS)
        loss.backward()
        z, t, output = seen["student"]
        arrays = {
            "noisy": z,
            "output": output,
            "step": seen["target"][0],
            "target": seen["loss"][1],
        }
        found |= {key: _channels_last(x) for key, x in arrays.items()}
        found |= {"timesteps": t.numpy(), "step_timesteps": seen["target"][1].numpy()}
        found |= {"loss": loss.detach().numpy(), **_gradients(net.student_unet)}
        if name == "heun_random":
            found |= _moved(net)
        made |= {f"{name}/{key}": x for key, x in found.items()}
    return made


def _moved(net: Any) -> Arrays:
    """The networks after a step of gradient descent and their update of the averages."""
    torch.optim.SGD(net.student_unet.parameters(), lr=cases.LEARNING_RATE).step()
    with torch.no_grad():
        net.update_ema()
    made = {}
    for name in ("student", "target", "ema"):
        unet = getattr(net, NETWORKS[name])
        made[f"moved_{name}"] = cases.projections(
            {key: x.detach().numpy() for key, x in unet.state_dict().items()}
        )
    return made


def _stage_3(models: Any, folder: str) -> Arrays:
    """What is heard of the student's output, and the gradient with respect to it."""
    from tools import losses

    made: Arrays = {}
    for name in cases.LOSSES:
        net = _lcm(models, folder, cases.Case(), loss_type=name)
        if name == "stft":
            net.loss.sr = cases.RATE  # which they forgot, so that it runs
        seen: dict[str, Any] = {}
        _watch(net.student_unet, seen, "student")
        _watch(net.loss, seen, "loss")
        found, loss = _losses(net, cases.INTERVALS)
        loss.backward()
        output = seen["student"][-1]
        arrays = {"output": output, "target": seen["loss"][1], "gradient": output.grad}
        found |= {key: _channels_last(x) for key, x in arrays.items()}
        found |= {"loss": loss.detach().numpy(), "distances": seen["loss"][-1].detach().numpy()}
        made |= {f"{name}/{key}": x for key, x in found.items()}
    with mock.patch.object(losses, "resample", wraps=losses.resample) as called:
        net.losses["clap"](
            output.detach(), output.detach(), tensor(cases.heard()["wave"]), cases.PROMPTS
        )
    options = called.call_args.kwargs
    short = tensor(cases.heard()["short"])
    return made | {"resampled": losses.resample(short, **options).numpy()}


if __name__ == "__main__":
    write()
