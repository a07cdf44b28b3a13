"""ConsistencyTTA's three stages against the authors' code: grids, targets, losses, gradients and averages."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.convert.rules import LINEAR, Rule, Table, convert, export
from ldm_jax.convert.unet import DIFFUSERS
from ldm_jax.diffusion import schedules, weightings
from ldm_jax.diffusion.objective import Objective, squared_error
from ldm_jax.distill import consistency, guided
from ldm_jax.distill.grid import Grid, Level, karras_grid, uniform_grid
from ldm_jax.models.guidance_embedding import GuidanceEmbedding
from ldm_jax.models.unet import UNet
from ldm_jax.train.step import averaged
from tests import cases_distill_consistency as cases
from tests.golden import FLOAT32_BOUND, FLOAT64_BOUND, load, relative_error

SCHEDULE = schedules.scaled_linear(**cases.BETAS)
MIN_SNR = weightings.weighting("min_snr", gamma=cases.GAMMA)
BOUNDS = {"float32": FLOAT32_BOUND, "float64": FLOAT64_BOUND}
UNET = UNet(
    in_channels=2,
    out_channels=2,
    block_out_channels=(8,),
    attention_levels=(False,),
    layers_per_block=1,
    cross_attention_dims=(cases.WIDTH,),
    heads=2,
    head_dim=None,
    norm_groups=4,
    guidance_features=cases.FREQUENCIES,
)
LINEARS = ("linear_1", "linear_2")
TABLE = Table(
    rules=[
        *DIFFUSERS.rules,
        Rule("guidance_proj.weight", "guidance_embedding/frequencies"),
        *(
            Rule(f"guidance_embedding.{name}.weight", f"guidance_embedding/{name}/kernel", LINEAR)
            for name in LINEARS
        ),
        *(
            Rule(f"guidance_embedding.{name}.bias", f"guidance_embedding/{name}/bias")
            for name in LINEARS
        ),
    ]
)
compilation: dict[str, Any] = {  # what is small compiles longer than it runs
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
}


def in_float32(name):
    """A case once more, with a program of its own to compile."""
    return pytest.param(name, "float32", marks=pytest.mark.slow)


@functools.partial(jax.jit, static_argnums=0, compiler_options=compilation)
def call(module, parameters, arguments, slope):
    """(output, gradient of the parameters where that of the output is `slope`)."""
    z, timesteps, context, scale = arguments

    def output(parameters):
        return module.apply({"params": parameters}, z, timesteps, [context], guidance=scale)

    said, back = jax.vjp(output, parameters)
    return said, back(slope)[0]


@functools.cache
def parameters(name, module, told):
    """Of one of the networks. One that is not told its scale says the same whatever it is, as one without the input."""
    shapes = load("distill_consistency_stage_1")[0]
    z, context = jnp.zeros(cases.LATENT), (jnp.zeros((cases.BATCH, 3, cases.WIDTH)), None)
    inputs = z, jnp.zeros(cases.BATCH), [context], None, jnp.ones(cases.BATCH)
    tree = jax.eval_shape(module.init, jax.random.key(0), *inputs)["params"]
    made = convert(cases.weights(shapes, name), TABLE, tree, network=name)
    if not told:
        last = made["guidance_embedding"]["linear_2"]
        made["guidance_embedding"]["linear_2"] = {key: 0 * x for key, x in last.items()}
    return jax.tree.map(lambda x: jnp.asarray(x, module.dtype), made)


class Networks:
    """Teacher and students; the teacher's guidance is a case's, -1 for a scale a clip that students are told."""

    def __init__(self, scale, dtype):
        self.told, self.module = scale == -1, UNET.clone(dtype=jnp.dtype(dtype))
        self.scale = jnp.asarray(cases.SCALES, dtype) if self.told else scale
        self.text, self.empty = (
            (jnp.asarray(states, dtype), jnp.asarray(mask))
            for states, mask in cases.contexts().values()
        )

    def weights(self, name):
        return parameters(name, self.module, self.told and name != "teacher")

    def ask(self, name, z, timesteps, context, slope):
        scales = jnp.broadcast_to(jnp.asarray(self.scale, z.dtype), z.shape[:1])
        return call(self.module, self.weights(name), (z, timesteps, context, scales), slope)

    def teacher(self, z, timesteps):
        def branch(z, timesteps, context):
            return self.ask("teacher", z, timesteps, context, jnp.zeros_like(z))[0]

        def branches(z, timesteps):
            rows = [
                branch(z[k::2], timesteps[k::2], context)
                for k, context in enumerate((self.empty, self.text))
            ]
            return jnp.stack(rows, axis=1).reshape(z.shape)

        if not self.told and self.scale == 1:
            return branch(z, timesteps, self.text)
        return guided.double(branches, self.scale)(z, timesteps)

    def student(self, name, z, timesteps):
        """What the student, or an average of it, says."""
        return self.ask(name, z, timesteps, self.text, jnp.zeros_like(z))[0]

    def trained(self, losses, z, timesteps):
        """What the student says, its losses a clip and their mean, and the gradient of its parameters."""

        def loss(output):
            values = losses(output)
            return values.mean(), values

        output = self.student("student", z, timesteps)
        (total, values), slope = jax.value_and_grad(loss, has_aux=True)(output)
        gradients = self.ask("student", z, timesteps, self.text, slope)[1]
        gradients["guidance_embedding"].pop("frequencies")  # not trained
        if not self.told:
            del gradients["guidance_embedding"]
        return {"output": output, "losses": values, "loss": total}, gradients


def clips(dtype):
    return [jnp.asarray(x, dtype) for x in cases.clips().values()]


def close(ours, theirs, bound):
    __tracebackhide__ = True
    assert relative_error(ours, theirs) < bound


def same_gradients(ours, theirs, bound):
    """Each tensor's, with those that are very small held to a share of all."""
    __tracebackhide__ = True
    same_projections(export(ours, TABLE, network="UNet"), theirs, bound)


def same_projections(named, theirs, bound):
    __tracebackhide__ = True
    made = cases.projections(named)
    assert made.shape == theirs.shape
    sizes = np.linalg.norm(theirs, axis=1)
    errors = np.linalg.norm(made - theirs, axis=1) / np.maximum(sizes, 0.01 * sizes.max())
    worst = int(errors.argmax())
    assert errors[worst] < bound, sorted(named)[worst]


def grid_of(case):
    if case.solver == "heun":
        return karras_grid(SCHEDULE) if case.karras else uniform_grid(SCHEDULE)
    # Theirs for DDIM stops short of the noisiest timestep.
    t = np.arange(18) * 55
    return Grid(t.astype(np.float64), SCHEDULE.alpha[t], SCHEDULE.sigma[t])


@pytest.mark.parametrize("name", ["heun_random", "karras", "ddim_random"])
def test_grids(name):
    """The points, sigma / alpha, and the weight of each interval, at its noisier point."""
    outputs, grid = load("distill_consistency_grid")[1], grid_of(cases.STAGE_2[name])
    ours = {"timesteps": grid.timesteps[::-1], "sigmas": (grid.sigma / grid.alpha)[::-1]}
    ours["weights"] = consistency.level_weights(grid, MIN_SNR)[:0:-1]
    for key in ours if name != "ddim_random" else ("timesteps", "weights"):
        np.testing.assert_allclose(ours[key], outputs[f"{name}_{key}"], rtol=1e-9, atol=1e-9)


def test_printed_digits():
    """Of the uniform grid and its Min-SNR weights, noisiest first, as their float32 prints them."""
    grid = uniform_grid(SCHEDULE)
    sigmas = "14.615 10.381 7.581 5.679 4.353 3.404 2.709 2.186 1.783 1.466 1.209 0.996 0.815 0.658 0.516 0.383 0.248"
    assert [f"{x:.3f}" for x in (grid.sigma / grid.alpha)[:0:-1]] == sigmas.split()
    assert f"{grid.sigma[0] / grid.alpha[0]:.4f}" == "0.0292"
    weights = (
        ".0047 .0093 .0174 .031 .053 .086 .136 .209 .314 .466 .685 1.009 1.506 2.313 3.755 5 5"
    )
    ours = consistency.level_weights(grid, MIN_SNR)[:0:-1]
    for x, digits in zip(ours, weights.split(), strict=True):
        places = len(digits.partition(".")[2])
        assert f"{x:.{places}f}" == f"{float(digits):.{places}f}"


@pytest.mark.parametrize("dtype", BOUNDS)
def test_guidance_embedding(dtype):
    outputs = load("distill_consistency_grid")[1]
    embedding = {
        key.removeprefix("embedding/"): x for key, x in outputs.items() if "embedding/" in key
    }
    with jax.enable_x64(dtype == "float64"):
        module = GuidanceEmbedding(cases.FREQUENCIES, 32, jnp.dtype(dtype))
        scales = jnp.asarray(cases.EMBEDDED_SCALES, dtype)
        expected = {
            "guidance_embedding": jax.eval_shape(module.init, jax.random.key(0), scales)["params"]
        }
        weights = convert(embedding, TABLE, expected, network="GuidanceEmbedding")
        weights = jax.tree.map(lambda x: jnp.asarray(x, dtype), weights["guidance_embedding"])
        close(module.apply({"params": weights}, scales), outputs["embedding"], BOUNDS[dtype])


@pytest.mark.parametrize(
    ("name", "dtype"), [*((name, "float64") for name in cases.STAGE_1), in_float32("random")]
)
def test_stage_1(name, dtype):
    """The noisiest latents apart: theirs are noise of deviation 1 there."""
    expected, bound = cases.found("stage_1", name), BOUNDS[dtype]
    with jax.enable_x64(dtype == "float64"):
        networks = Networks(cases.STAGE_1[name], dtype)
        z_0, noise = clips(dtype)
        t = jnp.asarray(cases.STAGE_1_TIMESTEPS)
        objective = Objective(schedule=SCHEDULE, prediction="v", weighting=MIN_SNR)
        close(objective.noisy(z_0, t, noise)[1:], expected["noisy"][1:], bound)
        np.testing.assert_array_equal(expected["noisy"][0], noise[0])
        z = jnp.asarray(expected["noisy"], dtype)
        level = Level(t, *SCHEDULE.at(t, dtype=jnp.dtype(dtype)))
        target = guided.guided_target(
            networks.teacher(z, t.astype(dtype)), z, level, source="v", target="v"
        )
        close(target, expected["target"], bound)

        known, gradients = networks.trained(
            lambda output: objective.errors(output, target, t).loss, z, t.astype(dtype)
        )
        for key, ours in known.items():
            error = relative_error(ours, expected[key])
            assert error < bound, (key, error)
        same_gradients(gradients, expected["gradients"], bound)


def stage_2(name, dtype):
    """(our arrays, our gradient of the student's parameters, the networks)."""
    case, grid = cases.STAGE_2[name], grid_of(cases.STAGE_2[name])
    networks = Networks(case.scale, dtype)
    index = jnp.asarray(grid.steps - cases.INTERVALS)
    here, there = grid.at(index, dtype), grid.at(index - 1, dtype)
    z_0, noise = clips(dtype)
    z = consistency.noisy(z_0, noise, here, pure_noise=index == grid.steps)
    if case.solver == "ddim":
        # There they start from noise of deviation 1, not of the level that they tell the networks.
        z = z.at[0].set(noise[0])
    target = consistency.consistency_target(
        functools.partial(networks.student, "target"),
        networks.teacher,
        z_0,
        z,
        here,
        there,
        solver=case.solver,
        teacher_prediction="v",
        prediction="x0",
        boundary="data",
    )
    weights = jnp.asarray(consistency.level_weights(grid, MIN_SNR), dtype)[index]

    def losses(output):
        said = consistency.read_x0(output, z, here, prediction="x0")
        return weights * squared_error(said, target)

    step = consistency.SOLVERS[case.solver](networks.teacher, z, here, there, prediction="v")
    known = {"noisy": z, "step": step, "target": target}
    known |= {"timesteps": here.timestep, "step_timesteps": there.timestep}
    said, gradients = networks.trained(losses, z, here.timestep)
    return known | said, gradients, networks


@pytest.mark.parametrize(
    ("name", "dtype"), [*((name, "float64") for name in cases.STAGE_2), in_float32("heun_random")]
)
def test_stage_2(name, dtype):
    expected = cases.found("stage_2", name)
    with jax.enable_x64(dtype == "float64"):
        known, gradients, _ = stage_2(name, dtype)
        for key, ours in known.items():
            error = relative_error(ours, expected[key])
            assert error < BOUNDS[dtype], (key, error)
        same_gradients(gradients, expected["gradients"], BOUNDS[dtype])


def test_averages():
    """After one step of gradient descent; theirs have no warm-up, which ours has left behind at such a step."""
    expected = cases.found("stage_2", "heun_random")
    with jax.enable_x64(True):
        _, gradients, networks = stage_2("heun_random", "float64")
        embedding = gradients["guidance_embedding"]
        embedding["frequencies"] = jnp.zeros(cases.FREQUENCIES)  # not trained
        before = {name: networks.weights(name) for name in ("student", *cases.DECAYS)}

        @functools.partial(jax.jit, compiler_options=compilation)
        def move(gradients):
            step = functools.partial(jax.tree.map, lambda p, g: p - cases.LEARNING_RATE * g)
            after = {"unet": step(before["student"], gradients)}
            averages = {
                name: averaged({"unet": before[name]}, after, jnp.int32(10**6), decay=decay)
                for name, decay in cases.DECAYS.items()
            }
            return {"student": after} | averages

        moved = {name: tree["unet"] for name, tree in move(gradients).items()}
        for name, tree in moved.items():
            bound = FLOAT64_BOUND if name == "student" else 2e-7  # decays are float32
            named = export(tree, TABLE, network="UNet")
            same_projections(named, expected[f"moved_{name}"], bound)
