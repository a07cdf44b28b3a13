import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.audio.griffin_lim import griffin_lim
from ldm_jax.audio.log_mel import MEL_16K, MEL_48K, LogMelSettings
from ldm_jax.audio.stft import istft, stft
from ldm_jax.convert import native
from ldm_jax.convert.checkpoint import abstract_params, init_params
from ldm_jax.convert.rules import Params, convert, export
from ldm_jax.models.vocos import BAND_STEPS, LOUDEST, DepthwiseConv, Vocos, spread
from tests import cases_vocos as cases
from tests.golden import FLOAT32_BOUND, FLOAT64_BOUND, load, random_array, relative_error

SMALL = Vocos(8, features=8, hidden=12, layers=2, griffin_lim=4, n_fft=64, hop=16)


def run(
    config: dict, tensors: dict[str, np.ndarray], inputs: dict[str, np.ndarray], *, dtype: str
) -> dict[str, np.ndarray]:
    module = cases.network(config)
    params = convert(tensors, cases.TABLE, abstract_params(module), network="vocoder")
    return {"wave": apply(module, params, inputs["mel"], dtype=dtype)}


def apply(
    module: Vocos, params: Params, mel: np.ndarray, *, dtype: str, method: str = "__call__"
) -> np.ndarray:
    with jax.enable_x64(dtype == "float64"):
        variables = {"params": jax.tree.map(lambda x: jnp.asarray(x, dtype), params)}
        module = module.clone(dtype=jnp.dtype(dtype))
        out = jax.jit(lambda v, x: module.apply(v, x, method=method))(
            variables, jnp.asarray(mel, dtype)
        )
        assert out.dtype == dtype
        return np.asarray(out)


def random_params(module: Vocos, *, scale: float = 0.3) -> Params:
    """Every parameter random, `out` included."""
    paths = jax.tree_util.tree_leaves_with_path(abstract_params(module))
    leaves = [scale * random_array(jax.tree_util.keystr(path), x.shape) for path, x in paths]
    return jax.tree.unflatten(jax.tree.structure(abstract_params(module)), leaves)


def log_mels(module: Vocos, *, rows: int = 2, frames: int = 11) -> np.ndarray:
    return random_array("log_mel", (rows, frames, module.mel_channels)) - 3.0


@pytest.mark.parametrize("name", cases.TINY)
@pytest.mark.parametrize(
    ("dtype", "bound"), [("float32", FLOAT32_BOUND), ("float64", FLOAT64_BOUND)]
)
def test_is_the_authors_network(name, dtype, bound):
    (shapes, golden), config = load(f"vocos_{name}"), cases.TINY[name]
    wave = run(config, cases.weights(shapes), cases.inputs(config), dtype=dtype)["wave"]
    assert relative_error(wave, golden["wave"]) < bound


@pytest.mark.parametrize("name", cases.TINY)
def test_goldens_reach_the_cut(name):
    config = cases.TINY[name]
    module, tensors = cases.network(config), cases.weights(load(f"vocos_{name}")[0])
    params = convert(tensors, cases.TABLE, abstract_params(module), network="vocoder")
    mel = cases.inputs(config)["mel"]
    said = apply(module, params, mel, dtype="float64", method="head")
    logarithm, phase = np.split(said, 2, axis=-1)
    assert 0 < (logarithm > np.log(LOUDEST)).mean() < 0.1
    assert (np.abs(phase) > np.pi).mean() > 0.05


@pytest.mark.parametrize("name", cases.TINY)
def test_conversion_is_a_bijection(name):
    tensors = cases.weights(load(f"vocos_{name}")[0])
    expected = abstract_params(cases.network(cases.TINY[name]))
    params = convert(tensors, cases.TABLE, expected, network="vocoder")
    exported = export(params, cases.TABLE, network="vocoder")
    assert exported.keys() == tensors.keys()
    for key, tensor in tensors.items():
        np.testing.assert_array_equal(exported[key], tensor, strict=True)


def test_published_size():
    params = abstract_params(cases.network(cases.PUBLISHED))
    assert sum(x.size for x in jax.tree.leaves(params)) == cases.PUBLISHED_PARAMETERS


@pytest.mark.parametrize("taps", [3, 7])
@pytest.mark.parametrize("time", [2, 20])
def test_depthwise_convolution_is_a_grouped_one(taps, time):
    """With its gradients; also of a clip shorter than the window."""
    x, weight = random_array("x", (2, time, 5)), random_array("w", (2, time, 5))
    params = {"kernel": random_array("k", (taps, 1, 5)), "bias": random_array("b", (5,))}

    def grouped(params, x):
        out = jax.lax.conv_general_dilated(
            *(x, params["kernel"], (1,), "SAME"),
            dimension_numbers=("NWC", "WIO", "NWC"),
            feature_group_count=5,
        )
        return out + params["bias"][None, None]

    def ours(params, x):
        return DepthwiseConv(taps, dtype=jnp.float64).apply({"params": params}, x)

    def answers(function):
        def loss(params, x):
            out = function(params, x)
            return (weight * out).sum(), out

        (_, out), slopes = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(params, x)
        return out, slopes

    with jax.enable_x64(True):
        errors = jax.tree.map(relative_error, answers(ours), answers(grouped))
    assert max(jax.tree.leaves(errors)) < 1e-12


def lee_and_seung(first: np.ndarray, mel: np.ndarray, bank: np.ndarray) -> np.ndarray:
    """`BAND_STEPS` multiplicative updates."""
    made = first
    for _ in range(BAND_STEPS):
        made = made * (np.exp(mel) @ bank.T) / np.maximum(made @ bank @ bank.T, 1e-20)
    return made


def test_magnitudes_are_brought_to_their_bands():
    """From the spread bands of a new network, and from what `out` adds to them; where a band reaches."""
    mel, bias, bank = log_mels(SMALL), random_array("bias", (33,)), SMALL.mel.bank
    heard = bank.sum(1) > 0
    params = jax.jit(functools.partial(init_params, SMALL))(jax.random.key(0))
    assert np.std(params["embed"]["kernel"]) > 0.01  # all but `out` is random
    with jax.enable_x64(True):
        bands = np.asarray(spread(jnp.asarray(mel), SMALL.mel))
    for added in (np.zeros(33), bias):
        params["out"]["bias"] = added
        made = apply(SMALL, params, mel, dtype="float64", method="magnitude")
        expected = lee_and_seung(np.exp(bands + added), mel, bank)
        assert relative_error(made[..., heard], expected[..., heard]) < 1e-10
        assert relative_error(made @ bank, np.exp(mel)) < 0.1
    assert relative_error(np.exp(bands + bias) @ bank, np.exp(mel)) > 0.4


SETTINGS = pytest.mark.parametrize(
    "settings", [MEL_16K, MEL_48K, SMALL.mel], ids=["16k", "48k", "small"]
)


@SETTINGS
def test_flat_spectra_come_back(settings):
    """Frames of loudness -3, 0 and 2: so is every bin, also those that no band reaches."""
    logarithm = np.array([-3.0, 0.0, 2.0])
    mel = np.log(np.exp(logarithm)[:, None] * settings.bank.sum(0))
    with jax.enable_x64(True):
        bins = spread(jnp.asarray(mel), settings)
    assert (settings.bank.sum(1) == 0).any()
    np.testing.assert_allclose(bins, np.repeat(logarithm[:, None], bins.shape[-1], 1), atol=1e-12)


@pytest.mark.filterwarnings("ignore:Empty filters")
def test_bands_without_bins_count_nothing():
    settings = LogMelSettings(
        sample_rate=16_000, n_fft=64, hop=16, num_mels=40, fmin=0.0, fmax=8_000.0
    )
    width = settings.bank.sum(0)
    assert (width == 0).any()
    mel = np.log(np.maximum(0.5 * width, settings.floor))[None]
    with jax.enable_x64(True):
        np.testing.assert_allclose(spread(jnp.asarray(mel), settings), np.log(0.5), rtol=1e-12)


def mel_hertz(mel):
    """Slaney's scale: 200 / 3 Hz a mel up to 1 kHz, then 27 mels each factor of 6.4."""
    return np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((mel - 15) / 27))


@pytest.mark.parametrize("bin", [5, 20, 40, 150, 400])
def test_between_bands_levels_are_mixed(bin):
    """In the proportion of two triangles of area 1, which where bands are equally wide is linear interpolation."""
    with jax.enable_x64(True):
        level = np.eye(64)
        mel = np.log(MEL_16K.bank.sum(0))[None] + level
        shares = np.asarray(spread(jnp.asarray(mel), MEL_16K))[:, bin]
        zero = np.asarray(spread(jnp.asarray(mel - level), MEL_16K))[:, bin]
    np.testing.assert_allclose(zero, 0, atol=1e-12)
    corners = mel_hertz(np.linspace(0, 15 + 27 * np.log(8) / np.log(6.4), 66))
    hertz = bin * 16_000 / 1024
    band = np.searchsorted(corners, hertz) - 2  # the last whose centre lies below
    before, low, high, after = corners[band : band + 4]
    there = (hertz - low) / (high - low)
    falling, rising = (1 - there) / (high - before), there / (after - low)
    expected = np.zeros(64)
    expected[[band, band + 1]] = np.array([falling, rising]) / (falling + rising)
    np.testing.assert_allclose(shares, expected, atol=1e-9)
    if after < 1000:
        np.testing.assert_allclose(shares[band + 1], there, atol=1e-9)


@SETTINGS
def test_shares_are_a_partition(settings):
    level = np.eye(settings.num_mels)
    with jax.enable_x64(True):
        mel = np.log(settings.bank.sum(0))[None] + level
        shares = np.asarray(spread(jnp.asarray(mel), settings))
    assert shares.min() > -1e-12
    np.testing.assert_allclose(shares.sum(0), 1, rtol=1e-9)
    assert ((shares > 1e-9).sum(0) <= 2).all()


@pytest.mark.parametrize("fmin", [0.0, 1_900.0])
def test_bins_beyond_the_bands_have_the_nearest_ones(fmin):
    settings = LogMelSettings(
        sample_rate=16_000, n_fft=64, hop=16, num_mels=6, fmin=fmin, fmax=6_000.0
    )
    bins = np.asarray(spread(jnp.asarray(random_array("bands", (1, 6)), jnp.float32), settings))[0]
    heard = np.flatnonzero(settings.bank.sum(1))
    assert heard[0] == (8 if fmin else 1)
    np.testing.assert_array_equal(bins[: heard[0]], bins[heard[0]])
    np.testing.assert_array_equal(bins[heard[-1] + 1 :], bins[heard[-1]])


def test_waves_are_griffin_lims_of_its_magnitudes():
    """In NumPy; `out` counts."""
    params, mel = random_params(SMALL), log_mels(SMALL)
    made = apply(SMALL, params, mel, dtype="float64", method="magnitude")
    params["out"] = jax.tree.map(np.zeros_like, params["out"])
    assert (
        relative_error(apply(SMALL, params, mel, dtype="float64", method="magnitude"), made) > 0.1
    )
    params = random_params(SMALL)
    for iterations in (1, 4):
        module = SMALL.clone(griffin_lim=iterations)
        wave = apply(module, params, mel, dtype="float64")
        expected = griffin_lim(made, n_fft=64, hop=16, pad=24, iterations=iterations)
        assert relative_error(wave, expected) < 1e-9


@pytest.mark.parametrize("iterations", [0, 4])
@pytest.mark.parametrize(("n_fft", "hop"), [(64, 16), (40, 12)])
def test_a_frame_is_a_hop(iterations, n_fft, hop):
    module = SMALL.clone(griffin_lim=iterations, n_fft=n_fft, hop=hop)
    mel = jax.ShapeDtypeStruct((3, 11, 8), jnp.float32)
    wave = jax.eval_shape(module.apply, {"params": abstract_params(module)}, mel)
    assert wave.shape == (3, 11 * hop)
    assert module.mel.frames(11 * hop) == 11


@pytest.mark.parametrize("iterations", [0, 8])
def test_a_clip_does_not_depend_on_its_neighbours(iterations):
    module = SMALL.clone(griffin_lim=iterations)
    params, mel = random_params(module), log_mels(module, rows=3)
    together = apply(module, params, mel, dtype="float64")
    alone = [apply(module, params, mel[i : i + 1], dtype="float64")[0] for i in range(3)]
    assert relative_error(together, np.stack(alone)) < 1e-9
    assert relative_error(together[0], together[1]) > 0.1


def test_gradients_take_griffin_lims_phases_as_given():
    """Against central differences of magnitudes under those phases; finite in float32 where a clip is silent."""
    params, mel = random_params(SMALL), log_mels(SMALL)
    probe, way = random_array("probe", (2, 176)), random_array("way", mel.shape)
    frames = {"n_fft": 64, "hop": 16, "pad": 24}

    def heard(mel, params, module):
        return (module.apply({"params": params}, mel) * probe.astype(mel.dtype)).sum()

    def magnitude(mel):
        return apply(SMALL, params, mel, dtype="float64", method="magnitude")

    made, before = magnitude(mel), 0.0
    phase = np.exp(2j * np.pi * np.random.default_rng(0).random(made.shape[1:], np.float32))
    for _ in range(SMALL.griffin_lim):
        now = stft(istft(made * phase, **frames), **frames)
        ahead, before = now + 0.99 * (now - before), now
        phase = ahead / np.abs(ahead)
    ahead, behind = (magnitude(mel + h * way) for h in (1e-6, -1e-6))
    expected = (istft((ahead - behind) / 2e-6 * phase, **frames) * probe).sum()
    with jax.enable_x64(True):
        module = SMALL.clone(dtype=jnp.float64)
        slope = (jax.jit(jax.grad(heard), static_argnums=2)(mel, params, module) * way).sum()
    assert relative_error(expected, slope) < 1e-5
    quiet = mel.astype(np.float32)
    quiet[1] = np.log(SMALL.mel.floor)
    single = jax.tree.map(np.float32, params)
    slopes = jax.jit(jax.grad(heard), static_argnums=2)(quiet, single, SMALL.clone(griffin_lim=32))
    assert np.isfinite(slopes).all()
    assert (np.abs(slopes).max((1, 2)) > 0).all()


@pytest.mark.parametrize("module", [SMALL, cases.network(cases.TINY["uneven"])])
def test_description_comes_back(module):
    written = json.loads(json.dumps(native.describe(module)))
    assert written["class"] == "Vocos"
    assert native.build(written) == module
