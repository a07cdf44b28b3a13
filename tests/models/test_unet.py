import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.convert import unet as convert_unet
from ldm_jax.convert.rules import Params, Table, convert
from ldm_jax.models.unet import UNet
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
    return jax.eval_shape(
        module.init, jax.random.key(0), latents, jnp.zeros(1), contexts, film
    )["params"]


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
    """The network of the smallest case with contexts, its parameters and inputs, in float32."""
    return loaded("t5", size=(3, 2))


def loaded(name: str, *, size: tuple[int, int]) -> tuple[UNet, Params, tuple]:
    config = cases.TINY[name]
    module = convert_unet.from_config(config)
    tensors = cases.tensors(load(f"unet_{name}")[0], dtype="float32")
    params = converted(module, tensors, convert_unet.DIFFUSERS)
    return module, params, arguments(cases.inputs(config, size), "float32")


@pytest.mark.parametrize("name", cases.TINY)
@pytest.mark.parametrize(
    ("dtype", "bound"), [("float32", FLOAT32_BOUND), ("float64", FLOAT64_BOUND)]
)
def test_is_diffusers_unet(name, dtype, bound):
    config = cases.TINY[name]
    shapes, golden = load(f"unet_{name}")
    inputs = cases.inputs(config, cases.SIZES[name])
    outputs = run(config, cases.tensors(shapes), inputs, dtype=dtype)
    assert relative_error(outputs["output"], golden["output"]) < bound


@pytest.mark.parametrize("name", ["t5", "48k"])
def test_a_sampler_computes_once_what_does_not_change(name):
    """The table of all steps for all clips holds what each call would have computed by itself."""
    module, params, (latents, timesteps, contexts, film) = loaded(name, size=(3, 2))

    @jit
    def at_once(params, latents, timesteps, contexts, film):
        variables = {"params": params}
        table = module.apply(variables, timesteps, film, method="embed_time")
        projected = module.apply(variables, contexts, method="project_contexts")

        def step(_, row):
            return None, module.apply(variables, latents, row, projected, method="denoise")

        return table, jax.lax.scan(step, None, table)[1]

    table, outputs = at_once(params, latents, timesteps, contexts, film)
    clips = 1 if film is None else 2
    assert {leaf.shape[:2] for leaf in jax.tree.leaves(table)} == {(2, clips)}
    call = jit(lambda params, *inputs: module.apply({"params": params}, *inputs))
    for step, timestep in enumerate(timesteps):
        single = call(params, latents, jnp.full(2, timestep), contexts, film)
        assert relative_error(outputs[step], single) < 1e-6
    assert relative_error(outputs[0], outputs[1]) > 0.05  # the steps do differ


def test_masked_tokens_do_not_count(small):
    module, params, (latents, timesteps, [(states, mask)], _) = small
    call = jit(
        lambda params, context: module.apply({"params": params}, latents, timesteps, [context])
    )
    masked = call(params, (states, mask))
    noise = jax.random.normal(jax.random.key(0), states.shape)
    other_masked = call(params, (jnp.where(mask[..., None], states, 9 * noise), mask))
    other_kept = call(params, (jnp.where(mask[..., None], noise, states), mask))
    assert relative_error(other_masked, masked) < 1e-6
    assert relative_error(other_kept, masked) > 0.05
    everything = call(params, (states, jnp.ones_like(mask)))
    assert relative_error(call(params, (states, None)), everything) < 1e-6
    assert relative_error(everything, masked) > 1e-3


def test_heads_by_number_and_by_width():
    width = UNet()
    number = UNet(heads=8, head_dim=None)
    assert [width.heads_at(level) for level in range(4)] == [4, 8, 12, 20]
    assert [number.heads_at(level) for level in range(4)] == [8, 8, 8, 8]
    shapes, golden = load("unet_48k")
    config = cases.TINY["48k"] | {"attention_head_dim": 2}
    inputs = cases.inputs(config, cases.SIZES["48k"])
    outputs = run(config, cases.tensors(shapes), inputs, dtype="float32")
    assert relative_error(outputs["output"], golden["output"]) > 1e-3  # another function


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
    module, params, (latents, timesteps, contexts, _) = small
    apply = lambda *inputs: jax.eval_shape(module.apply, {"params": params}, *inputs)  # noqa: E731
    with pytest.raises(ValueError, match=r"widths \[10\] are to be given, not \[\]"):
        apply(latents, timesteps)
    with pytest.raises(ValueError, match=r"widths \[10\] are to be given, not \[10, 10\]"):
        apply(latents, timesteps, contexts * 2)
    with pytest.raises(ValueError, match="film_dim is None, so film is not to be given"):
        apply(latents, timesteps, contexts, jnp.zeros((2, 12)))
    with pytest.raises(ValueError, match="film_dim is 12, so film is to be given"):
        jax.eval_shape(module.clone(film_dim=12).apply, {}, latents, timesteps, contexts)


@pytest.fixture(scope="module")
def single():
    """A network of one level, new and then moved from where training starts, and its inputs."""
    module = UNet(1, 1, (8,), (True,), 1, (None, 3), heads=2, head_dim=None, norm_groups=2)
    context = jax.random.normal(jax.random.key(1), (1, 2, 3))
    inputs = jnp.linspace(-1, 1, 6).reshape(1, 3, 2, 1), jnp.array([500.0]), [(context, None)]
    new = jit(module.init)(jax.random.key(0), *inputs)["params"]
    moved = jit(lambda tree: jax.tree.map(_moved, tree))(new)
    return module, new, moved, inputs


def _moved(x: jax.Array) -> jax.Array:
    return x + 0.2 * jnp.cos(jnp.arange(x.size)).reshape(x.shape)


def test_a_new_network_starts_at_zero(single):
    """As in the official code: residuals, transformers and the output convolution."""
    _, new, _, _ = single
    flat = {"/".join(k.key for k in path): x for path, x in jax.tree.leaves_with_path(new)}
    zero = {path for path, x in flat.items() if path.endswith("kernel") and not x.any()}
    resnets = {"down_blocks_0/resnets_0", "mid_block/resnets_0", "mid_block/resnets_1"}
    resnets |= {"up_blocks_0/resnets_0", "up_blocks_0/resnets_1"}
    slots = {"down_blocks_0": 2, "mid_block": 2, "up_blocks_0": 4}
    assert zero == {"conv_out/kernel"} | {f"{resnet}/conv2/kernel" for resnet in resnets} | {
        f"{stage}/attentions_{k}/proj_out/kernel" for stage, n in slots.items() for k in range(n)
    }


def test_bfloat16_stays_near(single):
    module, _, params, inputs = single
    half = module.clone(dtype=jnp.bfloat16)
    whole = jit(lambda params: module.apply({"params": params}, *inputs))(params)
    ours = jit(lambda params: half.apply({"params": params}, *inputs))(params)
    assert ours.dtype == jnp.bfloat16
    assert relative_error(ours, whole) < 0.03


def test_remat_changes_memory_alone(single):
    module, _, params, inputs = single

    def gradient(module):
        loss = lambda params: (module.apply({"params": params}, *inputs) ** 2).mean()  # noqa: E731
        return jax.grad(loss)

    kept, again = gradient(module), gradient(module.clone(remat=True))
    assert "remat" not in str(jax.make_jaxpr(kept)(params))
    assert "remat" in str(jax.make_jaxpr(again)(params))
    ours, theirs = jit(again)(params), jit(kept)(params)
    errors = jax.tree.map(lambda x, y: jnp.abs(x - y).max(), ours, theirs)
    assert max(jax.tree.leaves(errors)) < 1e-5 * max(x.max() for x in jax.tree.leaves(theirs))
