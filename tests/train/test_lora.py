"""LoRA: what PEFT computes, from where it starts, and what is written."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from ldm_jax.convert.lazy import CheckpointError
from ldm_jax.convert.random_checkpoint import random_params, tiny
from ldm_jax.convert.rules import CONV1D, CONV2D, LINEAR
from ldm_jax.models.layers import Conv, Dense
from ldm_jax.train import lora
from ldm_jax.train.lora import LoRA
from ldm_jax.train.representation import flat
from tests import cases_lora as cases
from tests.golden import load, random_tensors, relative_error

KEY = jax.random.key(0)
LAYOUT = (LINEAR, CONV1D, CONV2D)


@pytest.mark.parametrize("name", cases.LAYERS)
def test_merged_it_is_what_peft_adds(name):
    shapes, golden = load(f"lora_{name}")
    weights = random_tensors(shapes)
    window, _, after = cases.LAYERS[name]
    (kernel,), (a,), (b,) = (
        LAYOUT[len(window)].forward(weights[f"{key}.weight"].astype(np.float32))
        for key in ("base_layer", "lora_A", "lora_B")
    )
    factors = {"kernel": {lora.A: a, lora.B: b.reshape(b.shape[-2:])}}
    settings = LoRA(rank=cases.RANK, alpha=cases.ALPHA)
    merged = lora.merge({"kernel": kernel}, factors, scale=settings.scale())
    layer = Conv(after, window, use_bias=False) if window else Dense(after, use_bias=False)
    out = layer.apply({"params": merged}, jnp.asarray(cases.inputs(name), jnp.float32))
    assert relative_error(out, golden["out"]) < 2e-6


@pytest.fixture(scope="module")
def unet():
    module = tiny()["unet"]
    return module, {"unet": random_params(module, name="unet", seed=0)}


def test_it_starts_at_the_base_bit_for_bit(unet):
    _, params = unet
    split, join = lora.representation(LoRA(rank=4, targets=("mid_block/.*kernel$",)))
    joined = join(*split(params, KEY))
    for path, x in flat(params).items():
        assert np.array_equal(flat(joined)[path], x), path


def test_what_is_trained_is_as_small_as_the_rank_says(unet):
    _, params = unet
    settings = LoRA(rank=2)
    trained, _ = lora.representation(settings).split(params, KEY)
    kernels = {p: x for p, x in flat(params).items() if "/attn" in p and p.endswith("kernel")}
    wanted = sum(2 * (x.shape[0] + x.shape[1]) for x in kernels.values())
    assert sum(x.size for x in flat(trained).values()) == wanted


def test_a_is_drawn_as_pytorch_draws_and_b_is_zero():
    params = {"net": {"conv": {"kernel": jnp.zeros((3, 3, 40, 50))}}}
    targets = ("conv/kernel$",)
    trained, _ = lora.representation(LoRA(rank=8, targets=targets)).split(params, KEY)
    a, b = (trained["net"]["conv"]["kernel"][name] for name in (lora.A, lora.B))
    bound = 1 / np.sqrt(3 * 3 * 40)
    assert a.shape == (3, 3, 40, 8)
    assert b.shape == (8, 50)
    assert not b.any()
    assert bound * 0.99 < float(jnp.abs(a).max()) <= bound
    # The standard deviation of a uniform variable, within 5 standard errors of 2880 draws.
    assert abs(float(a.std()) / (bound / np.sqrt(3)) - 1) < 5 * np.sqrt(0.2 / a.size)


def test_factors_do_not_depend_on_what_else_is_a_target(unet):
    _, params = unet
    one, _ = lora.representation(LoRA(rank=2, targets=("attn1/to_q/kernel$",))).split(params, KEY)
    all_, _ = lora.representation(LoRA(rank=2)).split(params, KEY)
    for path, x in flat(one).items():
        assert np.array_equal(flat(all_)[path], x), path
    assert len({float(x[0, 0]) for path, x in flat(all_).items() if path.endswith(lora.A)}) > 4


def test_gradients_are_those_of_the_layer_with_two_paths():
    """d loss / dA = s x^T (dy B^T), d loss / dB = s (x A)^T dy, for y = x W + s (x A) B."""
    x, w, dy = (
        jax.random.normal(jax.random.key(i), s) for i, s in enumerate([(7, 5), (5, 4), (7, 4)])
    )
    split, join = lora.representation(LoRA(rank=2, alpha=6.0, targets=("kernel$",)))
    trained, held = split({"net": {"kernel": w}}, KEY)
    factors = trained["net"]["kernel"]
    factors[lora.B] = jax.random.normal(jax.random.key(9), (2, 4))
    gradient = jax.grad(lambda t: jnp.sum(x @ join(t, held)["net"]["kernel"] * dy))(trained)
    found = gradient["net"]["kernel"]
    a, b = np.asarray(factors[lora.A], np.float64), np.asarray(factors[lora.B], np.float64)
    x, dy = np.asarray(x, np.float64), np.asarray(dy, np.float64)
    assert relative_error(found[lora.A], 3 * x.T @ (dy @ b.T)) < 1e-5
    assert relative_error(found[lora.B], 3 * (x @ a).T @ dy) < 1e-5


def test_it_is_saved_alone_and_merged_elsewhere(unet, tmp_path):
    module, params = unet
    settings = LoRA(rank=2, alpha=5.0)
    split, join = lora.representation(settings, also=("conv_out/bias$",))
    trained, held = split(params, KEY)
    trained = jax.tree.map(lambda x: x + 0.1, trained)
    bases = {"unet": lora.base_of(module, params["unet"])}
    lora.save(trained, settings, tmp_path / "mine", bases=bases)
    saved = lora.load(tmp_path / "mine")
    assert saved.settings == settings
    assert saved.bases == json.loads(json.dumps(bases))
    merged = flat(lora.merge(params, saved.factors, scale=settings.scale()))
    for path, x in flat(join(trained, held)).items():
        if path != "unet/conv_out/bias":  # trained as it is, and no part of a LoRA
            assert np.array_equal(merged[path], x), path
    size = sum(x.nbytes for x in flat(trained).values())
    written = (tmp_path / "mine" / lora.WEIGHTS).stat().st_size
    assert size - 32 <= written < size + 40_000
    with pytest.raises(CheckpointError, match="there already"):
        lora.save(trained, settings, tmp_path / "mine", bases=bases)


def test_what_cannot_be_is_said_in_one_sentence(unet, tmp_path):
    _, params = unet
    with pytest.raises(ValueError, match=r"rank and lora\.alpha must be 0 or more, not -1"):
        lora.check(LoRA(rank=-1))
    with pytest.raises(ValueError, match="which is no kernel"):
        lora.representation(LoRA(rank=1, targets=("conv_in",))).split(params, KEY)
    with pytest.raises(ValueError, match=r"no LoRA to write"):
        lora.save(params, LoRA(rank=1), tmp_path / "none", bases={})
    assert not (tmp_path / "none").exists()
    with pytest.raises(CheckpointError, match=r"lora\.json cannot be read"):
        lora.load(tmp_path)


def test_dense_of_flax_needs_no_change():
    """The modules of flax itself, whose kernels have the same layout."""
    layer = nn.Dense(3)
    params = {"net": layer.init(KEY, jnp.ones((1, 4)))["params"]}
    split, join = lora.representation(LoRA(rank=1, targets=("kernel$",)))
    trained, held = split(params, KEY)
    assert trained["net"]["kernel"][lora.A].shape == (4, 1)
    assert np.array_equal(join(trained, held)["net"]["bias"], params["net"]["bias"])
