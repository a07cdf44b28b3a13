r"""Writes tests/golden/distill_progressive.npz from Salimans and Ho's code (arXiv:2202.00512), kept elsewhere.

    DIFFUSION_DISTILLATION_SOURCE=/tmp/google-research/diffusion_distillation/diffusion_distillation \
        .venv-parity/bin/python -m tests.parity.goldens distill_progressive

Of the folder, in github.com/google-research/google-research, only dpm.py (at 1d4d2f1), schedules.py (4c42994) and
utils.py (30adf0e) are read; the other modules need removed parts of Flax. Without the variable the file stays as it
is. All runs in float64. Noise and steps i come from our cases in place of their random numbers; their Adam was
Flax's, which is gone, so Adam is written out.
"""

import contextlib
import functools
import importlib
import itertools
import os
import sys
import types
from collections.abc import Iterator
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from tests import cases_distill_progressive as cases
from tests.golden import save

SOURCE = os.environ.get("DIFFUSION_DISTILLATION_SOURCE")
SAMPLER_STEPS = cases.STUDENTS[-1]


def write() -> None:
    """Writes the file if the source is at hand."""
    if not SOURCE:
        print("DIFFUSION_DISTILLATION_SOURCE: tests/golden/distill_progressive.npz stays as it is")
        return
    dpm, schedules, utils = peers(SOURCE)
    with jax.enable_x64(True):
        schedule = schedules.get_logsnr_schedule("cosine", logsnr_min=-20.0, logsnr_max=20.0)
        u = jnp.arange(cases.FINEST + 1, dtype=jnp.float64) / cases.FINEST
        outputs = {"log_snr": schedule(u), **losses(dpm, schedule), **trajectories(dpm, schedule)}
        outputs |= training(dpm, utils, schedule)
    outputs = {name: np.asarray(x) for name, x in outputs.items()}
    save("distill_progressive", shapes={}, outputs=outputs)


def peers(source: str) -> list[types.ModuleType]:
    """Their modules, in a package without their `__init__`, which imports the rest."""
    name = "diffusion_distillation"
    sys.modules[name] = package = types.ModuleType(name)
    package.__path__ = [source]
    return [importlib.import_module(f"{name}.{x}") for x in ("dpm", "schedules", "utils")]


@contextlib.contextmanager
def drawn(eps: Any, indices: Any) -> Iterator[None]:
    """Their random numbers are these."""
    with (
        mock.patch.object(jax.random, "normal", return_value=eps),
        mock.patch.object(jax.random, "randint", return_value=indices),
    ):
        yield


def model(dpm: Any, prediction: str, student: Any, teacher: Any = None) -> Any:
    return dpm.Model(
        student,
        mean_type=cases.PREDICTIONS[prediction],
        logvar_type="fixed_large",
        logvar_coeff=0.0,
        target_model_fn=teacher,
    )


def asked(parameters: Any) -> Any:
    return lambda z, log_snr: cases.network(parameters, z, log_snr)


def loss(dpm, schedule, parameters, x0, eps, indices, *, steps, prediction, weighting):
    """(mean loss, (loss of each clip, z that the student is given, x_target)) by their `training_losses`."""
    given: list[Any] = []
    targets: list[Any] = []
    their_v = dpm.predict_v_from_x_and_eps

    def student(z: Any, log_snr: Any) -> Any:
        given.append(z)
        return cases.network(parameters, z, log_snr)

    def v_from(*, x: Any, eps: Any, logsnr: Any) -> Any:
        if not given:  # the target's v is the last before the student is asked
            targets.append(x)
        return their_v(x=x, eps=eps, logsnr=logsnr)

    with drawn(eps, indices), mock.patch.object(dpm, "predict_v_from_x_and_eps", v_from):
        made = model(dpm, prediction, student, asked(jnp.asarray(cases.teacher())))
        losses = made.training_losses(
            x=x0,
            rng=jax.random.key(0),
            logsnr_schedule_fn=schedule,
            num_steps=steps,
            mean_loss_weight_type=cases.WEIGHTINGS[weighting],
        )["loss"]
    (z,) = given
    return losses.mean(), (losses, z, targets[-1])


def losses(dpm: Any, schedule: Any) -> dict[str, Any]:
    """What they get on the clips, for every prediction, weighting and student.

    z is (students, batch, *latent), x_target (predictions, students, batch, *latent), the loss
    (predictions, weightings, students, batch), and the gradient of its mean (..., students, parameters).
    """
    x0, eps = (jnp.asarray(x) for x in cases.clips())
    start = jnp.asarray(cases.student())
    rows = []
    for prediction, weighting in itertools.product(cases.PREDICTIONS, cases.WEIGHTINGS):
        for number, steps in enumerate(cases.STUDENTS):
            options = {"steps": steps, "prediction": prediction, "weighting": weighting}
            call = functools.partial(loss, dpm, schedule, **options)
            clips = (x0[number], eps[number], jnp.asarray(cases.INDICES[number]))
            gradient, kept = jax.grad(call, has_aux=True)(start, *clips)
            rows.append((*kept, gradient))
    shape = (len(cases.PREDICTIONS), len(cases.WEIGHTINGS), len(cases.STUDENTS))
    made = (jnp.stack(x) for x in zip(*rows, strict=True))
    loss_, z, target, gradient = (x.reshape(*shape, *x.shape[1:]) for x in made)
    # The target knows nothing of the weighting, z nothing of the prediction either.
    assert (z == z[:1, :1]).all()
    assert (target == target[:, :1]).all()
    return {"z": z[0, 0], "target": target[:, 0], "loss": loss_, "gradient": gradient}


def trajectories(dpm: Any, schedule: Any) -> dict[str, Any]:
    """z after every step of their DDIM sampler, (predictions, steps, batch, *latent)."""
    paths = []
    for prediction in cases.PREDICTIONS:
        student = model(dpm, prediction, asked(jnp.asarray(cases.student())))
        z, path = jnp.asarray(cases.noise()), []
        for i in reversed(range(SAMPLER_STEPS)):
            z = student.ddim_step(jnp.asarray(i), z, SAMPLER_STEPS, schedule, clip_x=False)
            path.append(z)
        looped = student.sample_loop(
            rng=None,
            init_x=jnp.asarray(cases.noise()),
            num_steps=SAMPLER_STEPS,
            logsnr_schedule_fn=schedule,
            sampler="ddim",
            clip_x=False,
        )
        np.testing.assert_allclose(looped, z, rtol=1e-10)
        paths.append(jnp.stack(path))
    return {"trajectory": jnp.stack(paths)}


def training(dpm: Any, utils: Any, schedule: Any) -> dict[str, Any]:
    """One round from the teacher's parameters: the loss of every update, and parameters after some."""
    missed = functools.partial(
        loss,
        dpm,
        schedule,
        steps=cases.ROUND_STUDENT,
        prediction=cases.ROUND_PREDICTION,
        weighting=cases.ROUND_WEIGHTING,
    )

    def update(state: tuple[Any, Any, Any], now: tuple[Any, Any]) -> Any:
        (parameters, first, second), (n, clips) = state, now
        (value, _), gradient = jax.value_and_grad(missed, has_aux=True)(parameters, *clips)
        gradient, norm = utils.clip_by_global_norm(gradient, cases.CLIP_NORM)
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        step = (first / (1 - 0.9 ** (n + 1))) / (jnp.sqrt(second / (1 - 0.999 ** (n + 1))) + 1e-8)
        parameters = parameters - cases.LEARNING_RATE * (1 - n / cases.UPDATES) * step
        return (parameters, first, second), (parameters, value, norm)

    start = jnp.asarray(cases.teacher())
    state = (start, jnp.zeros_like(start), jnp.zeros_like(start))
    clips = tuple(jnp.asarray(x) for x in cases.stream())
    count = jnp.arange(cases.UPDATES, dtype=jnp.float64)
    old_names = {"tree_leaves": jax.tree.leaves, "tree_map": jax.tree.map}  # which they call
    with mock.patch.multiple(jax, create=True, **old_names):
        _, (path, values, norms) = jax.lax.scan(update, state, (count, clips))
    clipped = int((norms > cases.CLIP_NORM).sum())
    print(f"loss {values[:20].mean():.4f} -> {values[-20:].mean():.4f}, {clipped} updates clipped")
    return {"round_loss": values, "round_path": path[cases.KEPT_EVERY - 1 :: cases.KEPT_EVERY]}


if __name__ == "__main__":
    write()
