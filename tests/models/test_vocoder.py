import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.convert import vocoder as convert_vocoder
from ldm_jax.convert.rules import ConversionError, Params, convert, export
from ldm_jax.models.vocoder import ConvTranspose, HiFiGAN
from tests import cases_vocoder as cases
from tests.golden import (
    FLOAT32_BOUND,
    FLOAT64_BOUND,
    load,
    random_array,
    relative_error,
)


def abstract(module: HiFiGAN) -> Params:
    mel = jnp.zeros((1, 2, module.mel_channels))
    return jax.eval_shape(module.init, jax.random.key(0), mel)["params"]


def run(
    config: dict, tensors: dict[str, np.ndarray], inputs: dict[str, np.ndarray], *, dtype: str
) -> dict[str, np.ndarray]:
    module = convert_vocoder.from_config(config)
    params = convert(tensors, convert_vocoder.TRANSFORMERS, abstract(module), network="vocoder")
    return {"wave": apply(module, params, inputs["mel"], dtype=dtype)}


def apply(module: HiFiGAN, params: Params, mel: np.ndarray, *, dtype: str) -> np.ndarray:
    with jax.enable_x64(dtype == "float64"):
        variables = {"params": jax.tree.map(lambda x: jnp.asarray(x, dtype), params)}
        module = module.clone(dtype=jnp.dtype(dtype))
        wave = jax.jit(module.apply)(variables, jnp.asarray(mel, dtype))
        assert wave.dtype == dtype
        return np.asarray(wave)


def tiny(name: str) -> tuple[dict, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """(config, tensors, golden outputs)."""
    shapes, golden = load(f"vocoder_{name}")
    return cases.TINY[name], cases.weights(cases.TINY[name], shapes), golden


@pytest.mark.parametrize("name", cases.TINY)
@pytest.mark.parametrize(
    ("dtype", "bound"), [("float32", FLOAT32_BOUND), ("float64", FLOAT64_BOUND)]
)
def test_is_transformers_vocoder(name, dtype, bound):
    config, tensors, golden = tiny(name)
    wave = run(config, tensors, cases.inputs(config), dtype=dtype)["wave"]
    assert relative_error(wave, golden["wave"]) < bound


def transposed_convolution(x, kernel, stride, low, high):
    """Every input's scaled kernel, added up, in one loop."""
    batch, time, _ = x.shape
    out = np.zeros((batch, stride * (time - 1) + kernel.shape[0], kernel.shape[2]))
    for t in range(time):
        out[:, t * stride : t * stride + kernel.shape[0]] += np.einsum(
            "bi,kio->bko", x[:, t], kernel
        )
    return out[:, low : out.shape[1] - high]


@pytest.mark.parametrize("taps", [3, 4, 7])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("crop", [(0, 0), (2, 0), (1, 2)])
def test_transposed_convolution(taps, stride, crop):
    x, bias = random_array("x", (2, 5, 3)), random_array("b", (4,))
    kernel = random_array("k", (taps, 3, 4))
    expected = transposed_convolution(x, kernel, stride, *crop) + bias
    with jax.enable_x64(True):
        module = ConvTranspose(4, taps, stride, crop, jnp.float64)
        ours = jax.jit(module.apply)({"params": {"kernel": kernel, "bias": bias}}, x)
    assert relative_error(ours, expected) < 1e-12


@pytest.mark.parametrize(
    ("config", "frames", "samples"),
    [
        (cases.PUBLISHED, 1024, 163_872),
        (cases.PUBLISHED_48K, 1024, 491_536),
    ],
)
def test_length(config, frames, samples):
    module = convert_vocoder.from_config(config)
    mel = jax.ShapeDtypeStruct((1, frames, module.mel_channels), jnp.float32)
    wave = jax.eval_shape(module.apply, {"params": abstract(module)}, mel)
    assert wave.shape == (1, samples)


@pytest.mark.parametrize("rate", convert_vocoder.OFFICIAL_CONFIGS)
def test_exact_length(rate):
    config = convert_vocoder.OFFICIAL_CONFIGS[rate]
    module = convert_vocoder.from_official(config, exact_length=True)
    assert module.upsample_kernel_sizes == tuple(2 * x for x in config["upsample_rates"])
    mel = jax.ShapeDtypeStruct((1, 11, module.mel_channels), jnp.float32)
    wave = jax.eval_shape(module.apply, {"params": abstract(module)}, mel)
    assert wave.shape == (1, 11 * rate // 100)


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        (cases.PUBLISHED, cases.PUBLISHED_PARAMETERS),
        (cases.PUBLISHED_48K, cases.PUBLISHED_48K_PARAMETERS),
    ],
)
def test_published_sizes(config, parameters):
    module = convert_vocoder.from_config(config)
    assert (
        sum(x.size for x in jax.tree.leaves(abstract(module)))
        == parameters + 2 * module.mel_channels
    )


@pytest.mark.parametrize(
    ("rate", "config"), [(16_000, cases.PUBLISHED), (48_000, cases.PUBLISHED_48K)]
)
def test_official_configs_are_the_published_ones(rate, config):
    official = convert_vocoder.from_official(convert_vocoder.OFFICIAL_CONFIGS[rate])
    assert official == convert_vocoder.from_config(config)


@pytest.mark.parametrize("config", [cases.PUBLISHED, *cases.TINY.values()])
def test_config_comes_back(config):
    module = convert_vocoder.from_config(config)
    written = convert_vocoder.to_config(module)
    left = ("initializer_range", "sampling_rate", "torch_dtype", "transformers_version")
    assert written == {key: config[key] for key in config if key not in left}
    assert convert_vocoder.from_config(written) == module


@pytest.mark.parametrize("name", cases.TINY)
def test_conversion_is_a_bijection(name):
    config, tensors, _ = tiny(name)
    expected = abstract(convert_vocoder.from_config(config))
    table = convert_vocoder.TRANSFORMERS
    exported = export(
        convert(tensors, table, expected, network="vocoder"), table, network="vocoder"
    )
    assert exported.keys() == tensors.keys()
    for key, tensor in tensors.items():
        np.testing.assert_array_equal(exported[key], tensor, strict=True)


def from_official(config: dict, tensors: dict[str, np.ndarray]) -> Params:
    module = convert_vocoder.from_config(config)
    tensors = convert_vocoder.official_tensors(tensors, mel_channels=module.mel_channels)
    return convert(tensors, convert_vocoder.OFFICIAL, abstract(module), network="vocoder")


@pytest.mark.parametrize("prefix", ["", "_orig_mod."])
def test_official_names(prefix):
    config, tensors, _ = tiny("rates_of_48k")
    official = cases.rename_as_official(tensors)
    params = from_official(config, {prefix + name: x for name, x in official.items()})
    expected = abstract(convert_vocoder.from_config(config))
    tensors |= {"mean": np.zeros_like(tensors["mean"]), "scale": np.ones_like(tensors["scale"])}
    theirs = convert(tensors, convert_vocoder.TRANSFORMERS, expected, network="vocoder")
    jax.tree.map(np.testing.assert_array_equal, params, theirs)
    exported = export(params, convert_vocoder.OFFICIAL, network="vocoder")
    assert exported.keys() == official.keys() | {"mean", "scale"}
    for key, tensor in official.items():
        np.testing.assert_array_equal(exported[key], tensor, strict=True)


@pytest.mark.parametrize("names", convert_vocoder._WEIGHT_NORMS)
def test_weight_norm_is_folded(names):
    """Tensors (g, v) of which v has any length: what counts is its direction."""
    config, tensors, _ = tiny("rates_of_16k")
    tensors = cases.rename_as_official(tensors)
    normed = {}
    for name, tensor in tensors.items():
        if not name.endswith(".weight"):
            normed[name] = tensor
            continue
        stem = name.removesuffix("weight")
        rows = tensor.reshape(len(tensor), -1)
        norm = np.sqrt((rows * rows).sum(1)).reshape(-1, 1, 1)
        normed[stem + names[0]] = norm
        normed[stem + names[1]] = tensor * np.exp(random_array(name, norm.shape))
    errors = jax.tree.map(
        relative_error, from_official(config, normed), from_official(config, tensors)
    )
    assert max(error for error in jax.tree.leaves(errors) if np.isfinite(error)) < 1e-12
    assert len([e for e in jax.tree.leaves(errors) if not np.isfinite(e)]) == 1  # `mean` of zeros


def test_half_a_weight_norm_is_named():
    config, tensors, _ = tiny("rates_of_16k")
    tensors = cases.rename_as_official(tensors)
    tensors["ups.0.weight_v"] = tensors.pop("ups.0.weight")
    with pytest.raises(ConversionError, match=r"ups\.0\.weight_v \(without ups\.0\.weight_g\)"):
        from_official(config, tensors)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model_type", "univnet_model"),
        ("upsample_rates", [5, 4]),
        ("upsample_kernel_sizes", [4, 16, 8, 4, 4]),
        ("resblock_kernel_sizes", [3, 7]),
        ("resblock_kernel_sizes", [3, 7, 12]),
        ("num_speakers", 2),
    ],
)
def test_unsupported_config(key, value):
    with pytest.raises(ConversionError, match=key):
        convert_vocoder.from_config(cases.PUBLISHED | {key: value})


def test_unsupported_official_config():
    config = convert_vocoder.OFFICIAL_CONFIGS[16_000] | {"resblock": "2"}
    with pytest.raises(ConversionError, match="resblock is '2'"):
        convert_vocoder.from_official(config)


def test_exact_length_is_not_exported():
    config = convert_vocoder.OFFICIAL_CONFIGS[48_000]
    with pytest.raises(ConversionError, match="exact_length"):
        convert_vocoder.to_config(convert_vocoder.from_official(config, exact_length=True))


def test_samples_depend_on_near_frames_alone():
    """A frame reaches a bounded stretch of the wave: what streaming and long clips rest on."""
    config, tensors, _ = tiny("normalized")
    mel = random_array("long", (1, 40, config["model_in_dim"]))
    changed = mel.copy()
    changed[:, 20] += 1
    before, after = (
        run(config, tensors, {"mel": x}, dtype="float64")["wave"][0] for x in (mel, changed)
    )
    touched = np.flatnonzero(before != after)
    rate = len(before) / 40
    assert abs(touched.mean() - 20.5 * rate) < 2 * rate
    assert touched[0] > 0
    assert touched[-1] < len(before) - 1


def test_mean_and_scale_act_only_where_asked_to():
    config, tensors, golden = tiny("normalized")
    mel = cases.inputs(config)["mel"]
    normalized = (mel - tensors["mean"]) / tensors["scale"]
    plain = config | {"normalize_before": False}
    wave = run(plain, tensors, {"mel": normalized}, dtype="float64")["wave"]
    assert relative_error(wave, golden["wave"]) < FLOAT64_BOUND
