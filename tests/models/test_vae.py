import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.convert import vae as convert_vae
from ldm_jax.convert.rules import ConversionError, Params, Table, convert, export
from ldm_jax.models.vae import VAE, sample
from tests import cases_vae as cases
from tests.golden import FLOAT32_BOUND, FLOAT64_BOUND, load, random_tensors, relative_error


def abstract(module: VAE) -> Params:
    return jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 8, 8, module.in_channels)))[
        "params"
    ]


def converted(config: dict, tensors: dict[str, np.ndarray], table: Table) -> Params:
    return convert(tensors, table, abstract(convert_vae.from_config(config)), network="VAE")


def run(
    config: dict, tensors: dict[str, np.ndarray], inputs: dict[str, np.ndarray], *, dtype: str
) -> dict[str, np.ndarray]:
    with jax.enable_x64(dtype == "float64"):
        module = convert_vae.from_config(config).clone(dtype=jnp.dtype(dtype))
        params = converted(config, tensors, convert_vae.DIFFUSERS)
        variables = {"params": jax.tree.map(lambda x: jnp.asarray(x, dtype), params)}
        outputs = {}
        if "mel" in inputs:
            encode = jax.jit(lambda v, x: module.apply(v, x, method="encode"))
            outputs["mean"], outputs["logvar"] = encode(
                variables, jnp.asarray(inputs["mel"], dtype)
            )
        if "latents" in inputs:
            decode = jax.jit(lambda v, x: module.apply(v, x, method="decode"))
            outputs["decoded"] = decode(variables, jnp.asarray(inputs["latents"], dtype))
        assert all(x.dtype == dtype for x in outputs.values())
        return {name: np.asarray(x) for name, x in outputs.items()}


@pytest.mark.parametrize("name", cases.TINY)
@pytest.mark.parametrize(
    ("dtype", "bound"), [("float32", FLOAT32_BOUND), ("float64", FLOAT64_BOUND)]
)
def test_is_diffusers_vae(name, dtype, bound):
    config = cases.TINY[name]
    shapes, golden = load(f"vae_{name}")
    outputs = run(config, random_tensors(shapes), cases.inputs(config), dtype=dtype)
    assert outputs.keys() == golden.keys()
    for key, value in golden.items():
        assert relative_error(outputs[key], value) < bound, key


def test_logvar_is_clipped():
    config = cases.TINY["two_levels"]
    shapes, golden = load("vae_two_levels")
    tensors = random_tensors(shapes)
    z = config["latent_channels"]
    offset = np.array([1000.0, -1000.0, 0.0])
    tensors["quant_conv.bias"][z:] += offset
    inputs = {"mel": cases.inputs(config)["mel"]}
    logvar = run(config, tensors, inputs, dtype="float64")["logvar"]
    assert (logvar[..., 0] == 20).all()
    assert (logvar[..., 1] == -30).all()
    assert relative_error(logvar[..., 2], golden["logvar"][..., 2]) < FLOAT64_BOUND


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        (cases.PUBLISHED, cases.PUBLISHED_PARAMETERS),
        (cases.PUBLISHED_48K, cases.PUBLISHED_48K_PARAMETERS),
    ],
)
def test_published_sizes(config, parameters):
    assert (
        sum(x.size for x in jax.tree.leaves(abstract(convert_vae.from_config(config))))
        == parameters
    )


@pytest.mark.parametrize(
    ("rate", "config"), [(16_000, cases.PUBLISHED), (48_000, cases.PUBLISHED_48K)]
)
def test_official_configs_are_the_published_ones(rate, config):
    official = convert_vae.OFFICIAL_CONFIGS[rate]
    module = convert_vae.from_official(official, scaling_factor=config["scaling_factor"])
    assert module == convert_vae.from_config(config)


@pytest.mark.parametrize("config", [cases.PUBLISHED, *cases.TINY.values()])
def test_config_comes_back(config):
    module = convert_vae.from_config(config)
    written = convert_vae.to_config(module)
    assert written == {key: config[key] for key in config if key != "_diffusers_version"}
    assert convert_vae.from_config(written) == module


def names(config: dict, naming: str) -> tuple[dict[str, np.ndarray], Table]:
    shapes, _ = load("vae_" + next(name for name in cases.TINY if cases.TINY[name] == config))
    tensors = random_tensors(shapes)
    if naming == "diffusers":
        return tensors, convert_vae.DIFFUSERS
    levels = len(config["block_out_channels"])
    return cases.rename_as_official(tensors, levels), convert_vae.official_table(levels)


@pytest.mark.parametrize("config", cases.TINY.values(), ids=cases.TINY)
@pytest.mark.parametrize("naming", ["diffusers", "official"])
def test_conversion_is_a_bijection(config, naming):
    tensors, table = names(config, naming)
    exported = export(converted(config, tensors, table), table, network="VAE")
    assert exported.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(exported[name], tensor, strict=True)


@pytest.mark.parametrize("config", cases.TINY.values(), ids=cases.TINY)
def test_namings_agree(config):
    tensors, table = names(config, "diffusers")
    params = converted(config, tensors, table)
    old = converted(config, cases.rename_as_old(tensors), table)
    jax.tree.map(np.testing.assert_array_equal, old, params)
    official = converted(config, *names(config, "official"))
    jax.tree.map(np.testing.assert_array_equal, official, params)


def test_official_companions_are_left():
    config = cases.TINY["two_levels"]
    tensors, table = names(config, "official")
    tensors |= {"vocoder.conv_pre.bias": np.ones(1), "loss.logvar": np.ones(1)}
    converted(config, tensors, table)
    tensors["decoder.up.2.upsample.conv.bias"] = np.ones(1)
    with pytest.raises(ConversionError, match=r"decoder\.up\.2\.upsample\.conv\.bias"):
        converted(config, tensors, table)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("act_fn", "relu"),
        ("shift_factor", 0.1),
        ("use_quant_conv", False),
        ("mid_block_add_attention", False),
        ("down_block_types", ["DownEncoderBlock2D"] * 2),
        ("up_block_types", ["AttnUpDecoderBlock2D"] * 3),
        ("out_channels", 3),
        ("time_compression", 4),
    ],
)
def test_unsupported_config(key, value):
    with pytest.raises(ConversionError, match=key):
        convert_vae.from_config(cases.PUBLISHED | {key: value})


@pytest.mark.parametrize(
    ("key", "value"), [("attn_resolutions", [16]), ("double_z", False), ("downsample_time", True)]
)
def test_unsupported_official_config(key, value):
    config = convert_vae.OFFICIAL_CONFIGS[16_000] | {key: value}
    with pytest.raises(ConversionError, match=key):
        convert_vae.from_official(config, scaling_factor=1.0)


def test_scaled_latents():
    """decode_scaled undoes the scaling and __call__ reconstructs from the mean."""
    config, golden = cases.TINY["two_levels"], load("vae_two_levels")[1]
    module = convert_vae.from_config(config)
    variables = {"params": jax.tree.map(np.float32, converted(config, *names(config, "diffusers")))}
    mel, latents, mean = (
        x.astype(np.float32) for x in (*cases.inputs(config).values(), golden["mean"])
    )
    decode = jax.jit(lambda v, x: module.apply(v, x, method="decode_scaled"))
    scale = np.float32(config["scaling_factor"])
    assert relative_error(decode(variables, scale * latents), golden["decoded"]) < FLOAT32_BOUND
    expected = decode(variables, scale * mean)
    assert relative_error(jax.jit(module.apply)(variables, mel), expected) < FLOAT32_BOUND


def test_sample_has_the_moments():
    mean, logvar = np.array([-1.0, 0.0, 3.0]), np.array([-4.0, 0.0, 1.0])
    shape = (200_000, 3)
    draw = sample(jax.random.key(0), jnp.broadcast_to(mean, shape), jnp.broadcast_to(logvar, shape))
    std = np.exp(0.5 * logvar)
    np.testing.assert_array_less(np.abs(draw.mean(0) - mean), 5 * std / shape[0] ** 0.5)
    np.testing.assert_allclose(draw.std(0), std, rtol=0.01)


def test_rows_are_independent():
    config = cases.TINY["two_levels"]
    tensors, _ = names(config, "diffusers")
    alone = {name: x[1:] for name, x in cases.inputs(config).items()}
    outputs = run(config, tensors, alone, dtype="float64")
    for key, value in load("vae_two_levels")[1].items():
        assert relative_error(outputs[key], value[1:]) < FLOAT64_BOUND
