"""Cnn14 without torch: against golden outputs of panns_inference, and what must not matter."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.convert import checkpoint, cnn14, files, rules, single
from ldm_jax.models.cnn14 import Cnn14
from tests import cases_eval_networks as cases
from tests.golden import FLOAT32_BOUND, FLOAT64_BOUND, load, relative_error

EXTRAS = {  # what else the published file for 16 kHz holds
    "spectrogram_extractor.stft.conv_real.weight": np.zeros((257, 1, 512)),
    "logmel_extractor.melW": np.zeros((257, 64)),
    "bn0.num_batches_tracked": np.array(7),
    "conv_block3.bn2.num_batches_tracked": np.array(7),
}


@functools.cache
def stored(name: str):
    shapes, outputs = load(f"cnn14_{name}")
    return cases.weights(shapes), outputs


def convert(module: Cnn14, tensors) -> rules.Params:
    expected = checkpoint.abstract_params(module)
    return rules.convert(tensors, cnn14.OFFICIAL, expected, network="Cnn14")


def prepare(module: Cnn14, tensors, *, dtype: str):
    """Our network in `dtype` throughout, prepared once, as a function of its inputs."""
    module = module.clone(dtype=jnp.dtype(dtype))
    wide = np.promote_types(dtype, np.float32)
    with jax.enable_x64(dtype == "float64"):
        params = jax.tree.map(lambda x: jnp.asarray(x, dtype), convert(module, tensors))
        prepared = jax.jit(functools.partial(module.apply, method="prepare"))({"params": params})
    compiled = jax.jit(lambda *x: module.apply({}, *x))

    def run(log_mel: np.ndarray, lengths: np.ndarray | None = None) -> dict[str, np.ndarray]:
        with jax.enable_x64(dtype == "float64"):
            rows = None if lengths is None else jnp.asarray(lengths)
            out = compiled(jnp.asarray(log_mel, wide), rows, prepared)
            return {key: np.asarray(x) for key, x in out._asdict().items()}

    return run


@functools.cache
def prepared(name: str, dtype: str):
    return prepare(cases.CNN14[name], stored(name)[0], dtype=dtype)


@pytest.mark.parametrize(
    ("name", "dtype", "bound"),
    [
        ("narrow", "float32", FLOAT32_BOUND),
        ("narrow", "float64", FLOAT64_BOUND),
        ("wide", "float32", FLOAT32_BOUND),
    ],
)
def test_golden(name, dtype, bound):
    """Clips as rows of one batch, behind whose ends lies what is not a number; and by themselves."""
    run, theirs = prepared(name, dtype), stored(name)[1]
    rows = run(*cases.padded(cases.log_mels(), 80, filling=np.nan))
    for key, golden in theirs.items():
        assert rows[key].dtype == dtype
        assert np.abs(np.diff(golden, axis=0)).max() > 0.05 * np.abs(golden).max()  # clips differ
        for ours, row in zip(rows[key], golden, strict=True):
            assert relative_error(ours, row) < bound, key
    if name == "narrow":
        for i, clip in enumerate(cases.log_mels()):
            for key, ours in run(clip[None]).items():
                assert relative_error(ours, theirs[key][i : i + 1]) < bound, key


def test_unprepared_is_prepared():
    module, (tensors, _) = cases.CNN14["narrow"], stored("narrow")
    params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), convert(module, tensors))
    clip = jnp.asarray(cases.log_mels()[0][None], jnp.float32)
    ours = jax.jit(module.apply)({"params": params}, clip)
    for key, x in prepared("narrow", "float32")(clip).items():
        assert relative_error(getattr(ours, key), x) < 1e-6


def test_batch_changes_no_row():
    """To the last bit."""
    run = prepared("wide", "float32")
    log_mel, lengths = cases.padded(cases.log_mels(), 80, filling=0)
    whole = run(log_mel, lengths)
    for key, x in run(log_mel[:1], lengths[:1]).items():
        np.testing.assert_array_equal(x, whole[key][:1])


def test_half_precision():
    theirs = stored("wide")[1]
    ours = prepared("wide", "bfloat16")(*cases.padded(cases.log_mels(), 80, filling=np.nan))
    for key, golden in theirs.items():
        assert ours[key].dtype == np.float32
        assert 1e-4 < relative_error(ours[key], golden) < 3e-2


def test_published_sizes():
    shapes = checkpoint.abstract_params(Cnn14())
    assert checkpoint.count_params(shapes) == cases.CNN14_PARAMETERS
    assert shapes["conv_block6"]["conv2"]["kernel"].shape == (3, 3, 2048, 2048)
    assert shapes["fc_audioset"]["kernel"].shape == (2048, 527)


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("name", cases.CNN14)
def test_conversion_is_a_bijection(name, prefix):
    module, (tensors, _) = cases.CNN14[name], stored(name)
    published = {prefix + key: x for key, x in (tensors | EXTRAS).items()}
    assert cnn14.network_of(published) == module
    assert cnn14.sample_rate(published) == 16_000
    back = rules.export(convert(module, published), cnn14.OFFICIAL, network="Cnn14")
    assert back.keys() == tensors.keys()
    for key, tensor in tensors.items():
        np.testing.assert_array_equal(back[key], tensor, strict=True)


def test_file(tmp_path):
    """Safetensors with the published names; the pickled files are read in the parity tests."""
    tensors, _ = stored("narrow")
    files.save_tensors(tmp_path / "Cnn14.safetensors", {**tensors, **EXTRAS})
    read = single.load(tmp_path / "Cnn14.safetensors", "cnn14")
    assert read.networks["cnn14"] == cases.CNN14["narrow"]
    jax.tree.map(
        np.testing.assert_array_equal,
        read.params["cnn14"],
        convert(cases.CNN14["narrow"], tensors),
    )


@pytest.mark.parametrize(("bins", "rate"), [(129, 8_000), (257, 16_000), (513, 32_000)])
def test_sample_rate(bins, rate):
    assert cnn14.sample_rate({"logmel_extractor.melW": np.zeros((bins, 64))}) == rate


def test_wrong_files():
    assert cnn14.sample_rate({}) is None
    with pytest.raises(rules.ConversionError, match=r"melW is \(1025, 64\); the published front"):
        cnn14.sample_rate({"logmel_extractor.melW": np.zeros((1025, 64))})
    with pytest.raises(rules.ConversionError, match="not the weights of a Cnn14: no conv_block1"):
        cnn14.network_of({"features.0.weight": np.zeros((64, 1, 3, 3))})


def test_too_short():
    run = prepared("narrow", "float32")
    out = run(*cases.padded(cases.log_mels((31, 32)), 40, filling=0))
    for x in out.values():
        assert np.isnan(x[0]).all()
        assert np.isfinite(x[1]).all()
    with pytest.raises(ValueError, match=r"\(1, 31, 64\); it should be .* at least 32 frames"):
        run(np.zeros((1, 31, 64)))
    with pytest.raises(ValueError, match=r"\(1, 40, 80\); it should be \(batch, frames, 64\)"):
        run(np.zeros((1, 40, 80)))
    assert math.log2(Cnn14().min_frames) == 5
