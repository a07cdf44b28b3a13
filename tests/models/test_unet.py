import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.convert import unet as convert_unet
from ldm_jax.convert.rules import Params, Table, convert
from ldm_jax.models.unet import UNet
from ldm_jax.models.unet_stage import Stage
from tests import cases_unet as cases
from tests.golden import FLOAT32_BOUND, FLOAT64_BOUND, load, relative_error

Arrays = dict[str, np.ndarray]
jit = functools.partial(  # what is small compiles longer than it runs
    jax.jit,
    compiler_options={
        "xla_backend_optimization_level": 0,
        "xla_llvm_disable_expensive_passes": True,
    },
)


def arguments(inputs: Arrays, dtype: str) -> tuple:
    """Those of `UNet.__call__`."""
    x = {k: jnp.asarray(v, None if v.dtype == bool else dtype) for k, v in inputs.items()}
    count = sum(name.startswith("context") for name in x)
    contexts = [(x[f"context_{k}"], x.get(f"mask_{k}")) for k in range(count)]
    return x["latents"], x["timesteps"], contexts, x.get("film")


@functools.cache
def abstract(module: UNet) -> Params:
    widths = [width for width in module.cross_attention_dims if width is not None]
    contexts = [(jnp.zeros((1, 4, width)), None) for width in widths]
    film = jnp.zeros((1, module.film_dim)) if module.film_dim else None
    latents = jnp.zeros((1, 8, 8, module.in_channels))
    return jax.eval_shape(module.init, jax.random.key(0), latents, jnp.zeros(1), contexts, film)[
        "params"
    ]


def converted(module: UNet, tensors: Arrays, table: Table) -> Params:
    return convert(tensors, table, abstract(module), network="UNet")


def run(config: dict, tensors: Arrays, inputs: Arrays, *, dtype: str) -> Arrays:
    with jax.enable_x64(dtype == "float64"):
        module = convert_unet.from_config(config).clone(dtype=jnp.dtype(dtype))
        params = converted(module, tensors, convert_unet.DIFFUSERS)
        params = jax.tree.map(lambda x: jnp.asarray(x, dtype), params)
        apply = jit(lambda params, *inputs: module.apply({"params": params}, *inputs))
        output = apply(params, *arguments(inputs, dtype))
        assert output.dtype == dtype
        return {"output": np.asarray(output)}


@pytest.fixture(scope="module")
def small():
    """A network of one level, new and then moved from where training starts, and its inputs."""
    module = UNet(1, 1, (8,), (True,), 1, (3,), heads=2, head_dim=None, norm_groups=2, film_dim=4)
    latents = jnp.linspace(-1, 1, 12).reshape(2, 3, 2, 1)
    states = jax.random.normal(jax.random.key(1), (2, 4, 3))
    mask = jnp.array([[True, True, False, True], [True, True, False, False]])
    film = jax.random.normal(jax.random.key(2), (2, 4))
    inputs = latents, jnp.array([981.0, 37.5]), [(states, mask)], film
    new = jit(module.init)(jax.random.key(0, impl="unsafe_rbg"), *inputs)["params"]
    moved = jit(lambda tree: jax.tree.map(_moved, tree))(new)
    return module, new, moved, inputs


@pytest.fixture(scope="module")
def call(small):
    """The network of `small` in float32, compiled once."""
    module = small[0]
    return jit(lambda params, *inputs: module.apply({"params": params}, *inputs))


def _moved(x: jax.Array) -> jax.Array:
    return x + 0.2 * jnp.cos(jnp.arange(x.size)).reshape(x.shape)


@pytest.mark.parametrize(
    ("name", "dtype", "bound"),
    [
        *((name, "float64", FLOAT64_BOUND) for name in cases.TINY),
        *((name, "float32", FLOAT32_BOUND) for name in ("base", "t5", "48k")),
        pytest.param("large", "float32", FLOAT32_BOUND, marks=pytest.mark.slow),
        pytest.param("speech", "float32", FLOAT32_BOUND, marks=pytest.mark.slow),
    ],
)
def test_is_diffusers_unet(name, dtype, bound):
    config = cases.TINY[name]
    shapes, golden = load(f"unet_{name}")
    inputs = cases.inputs(config, cases.SIZES[name])
    outputs = run(config, cases.tensors(shapes), inputs, dtype=dtype)
    assert relative_error(outputs["output"], golden["output"]) < bound


def test_a_sampler_computes_once_what_does_not_change(small, call):
    """The table of all steps for all clips holds what each call would have computed by itself."""
    module, _, params, (latents, timesteps, contexts, film) = small

    @jit
    def at_once(variables):
        table = module.apply(variables, timesteps, film, method="embed_time")
        projected = module.apply(variables, contexts, method="project_contexts")

        def step(_, row):
            return None, module.apply(variables, latents, row, projected, method="denoise")

        return table, jax.lax.scan(step, None, table)[1]

    table, outputs = at_once({"params": params})
    assert {leaf.shape for leaf in jax.tree.leaves(table)} == {(2, 2, 8)}  # steps, clips, channels
    for step, timestep in enumerate(timesteps):
        single = call(params, latents, jnp.full(2, timestep), contexts, film)
        assert relative_error(outputs[step], single) < 1e-6
    assert relative_error(outputs[0], outputs[1]) > 0.01
    # Rows at different timesteps, each by itself.
    mixed = call(params, latents, timesteps, contexts, film)
    assert relative_error(mixed, outputs[jnp.arange(2), jnp.arange(2)]) < 1e-6


@pytest.mark.parametrize("films", [1, 2])  # rows part at the contexts, or already at the time
def test_one_row_of_latents_for_two_of_conditions(small, call, films):
    """Guidance: what the two branches share is computed once and comes out the same."""
    module, _, params, (latents, timesteps, contexts, film) = small
    film = film[:films]

    @jit
    def shared(variables):
        table = module.apply(variables, timesteps[:1], film, method="embed_time")
        row = jax.tree.map(lambda x: x[0], table)
        projected = module.apply(variables, contexts, method="project_contexts")
        return module.apply(variables, latents[:1], row, projected, method="denoise")

    film = jnp.broadcast_to(film, (2, 4))
    twice = call(params, latents[jnp.array([0, 0])], timesteps[jnp.array([0, 0])], contexts, film)
    assert relative_error(shared({"params": params}), twice) < 1e-6
    assert relative_error(twice[0], twice[1]) > 0.01


def test_without_film_all_clips_share_a_table():
    module = convert_unet.from_config(cases.TINY["t5"])
    table = jax.eval_shape(
        lambda params: module.apply({"params": params}, jnp.arange(7), method="embed_time"),
        abstract(module),
    )
    assert {leaf.shape[:2] for leaf in jax.tree.leaves(table)} == {(7, 1)}


def test_masked_tokens_do_not_count(small, call):
    _, _, params, (latents, timesteps, [(states, mask)], film) = small
    noise = jax.random.normal(jax.random.key(0), states.shape)

    def attending(*context):
        return call(params, latents, timesteps, [context], film)

    masked = attending(states, mask)
    other_masked = attending(jnp.where(mask[..., None], states, 9 * noise), mask)
    other_kept = attending(jnp.where(mask[..., None], noise, states), mask)
    assert relative_error(other_masked, masked) < 1e-6
    assert relative_error(other_kept, masked) > 0.01
    everything = attending(states, jnp.ones_like(mask))
    assert relative_error(attending(states, None), everything) < 1e-6
    assert relative_error(everything, masked) > 0.001


def test_heads_by_number_and_by_width():
    width = UNet()
    number = UNet(heads=8, head_dim=None)
    assert [width.heads_at(level) for level in range(4)] == [4, 8, 12, 20]
    assert [number.heads_at(level) for level in range(4)] == [8, 8, 8, 8]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"heads": 8}, "not 8 and 32"),
        ({"head_dim": None}, "not None and None"),
        ({"head_dim": 24}, "256 channels of level 1"),
    ],
)
def test_heads_must_divide(fields, message):
    with pytest.raises(ValueError, match=message):
        abstract(UNet(**fields))


def test_inputs_must_be_those_of_the_network(small):
    module, _, params, (latents, timesteps, contexts, film) = small

    def call(*inputs, module=module):
        return jax.eval_shape(module.apply, {"params": params}, latents, timesteps, *inputs)

    with pytest.raises(ValueError, match=r"widths \[3\] are to be given, not \[\]"):
        call([], film)
    with pytest.raises(ValueError, match=r"widths \[3\] are to be given, not \[3, 3\]"):
        call(contexts * 2, film)
    with pytest.raises(ValueError, match="film_dim is 4, so film is to be given"):
        call(contexts)
    with pytest.raises(ValueError, match="film_dim is None, so film is not to be given"):
        call(contexts, film, module=module.clone(film_dim=None))


def test_a_new_network_starts_at_zero(small):
    """As in the official code: residuals, transformers and the output convolution."""
    _, new, _, _ = small
    flat = {"/".join(k.key for k in path): x for path, x in jax.tree.leaves_with_path(new)}
    zero = {path for path, x in flat.items() if path.endswith("kernel") and not x.any()}
    resnets = {"down_blocks_0": 1, "mid_block": 2, "up_blocks_0": 2}
    transformers = {"down_blocks_0": 1, "mid_block": 1, "up_blocks_0": 2}
    expected = {"conv_out/kernel"}
    for stage in resnets:
        expected |= {f"{stage}/resnets_{i}/conv2/kernel" for i in range(resnets[stage])}
        expected |= {f"{stage}/attentions_{i}/proj_out/kernel" for i in range(transformers[stage])}
    assert zero == expected


def test_bfloat16_stays_near(small, call):
    module, _, params, inputs = small
    half = module.clone(dtype=jnp.bfloat16)
    ours = jit(lambda params: half.apply({"params": params}, *inputs))(params)
    assert ours.dtype == jnp.bfloat16
    assert relative_error(ours, call(params, *inputs)) < 0.03


def test_remat_changes_memory_alone():
    kept = Stage(8, 1, 1, (None,), heads=2, depth=1, groups=2, epsilon=1e-5)
    x, time = jnp.linspace(-1, 1, 64).reshape(2, 2, 2, 8), (jnp.ones((1, 8)),)
    init = functools.partial(kept.init, time=time, contexts=((None,),), layer=0)
    params = jit(lambda x: jax.tree.map(_moved, init(jax.random.key(0, impl="unsafe_rbg"), x)))(x)

    def gradient(stage):
        def loss(params):
            return (stage.apply(params, x, time, ((None,),), layer=0) ** 3).mean()

        return jit(jax.grad(loss)).trace(params)

    traces = [gradient(kept.clone(remat=remat)) for remat in ("", "full", "dots")]
    assert ["remat" in str(trace.jaxpr) for trace in traces] == [False, True, True]
    theirs, *others = (trace.lower().compile()(params) for trace in traces)
    for ours in others:
        errors = jax.tree.leaves(jax.tree.map(relative_error, ours, theirs))
        assert len(errors) > 20
        assert max(errors) < 1e-4
    # Products that are kept are not computed again.
    products = [str(trace.jaxpr).count("dot_general[") for trace in traces]
    assert products[0] <= products[2] < products[1], products
