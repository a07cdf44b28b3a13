"""AudioMAE's stage against its authors' code in training, and what must not matter."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from ldm_jax.convert import audiomae as conversion
from ldm_jax.convert import rules
from ldm_jax.models.audiomae import FIXED
from ldm_jax.models.audiomae_pretraining import patchify
from ldm_jax.train.metrics import figures
from ldm_jax.train.stages.audiomae import AudioMAEStage
from ldm_jax.train.stages.stage import Given
from tests import cases_audiomae, training_goldens
from tests import cases_audiomae_training as cases
from tests.golden import FLOAT32_BOUND, load, random_array, relative_error

KEY = jax.random.key(3)
SWIN = cases.NETWORKS["swin"]
jit = functools.partial(  # what is small compiles longer than it runs
    jax.jit,
    compiler_options={
        "xla_backend_optimization_level": 0,
        "xla_llvm_disable_expensive_passes": True,
    },
)


def given(batch, draws=None):
    return Given({}, batch, draws or {}, {}, jnp.zeros((), jnp.int32))


@functools.cache
def fresh(rows=8):
    """(networks, fresh parameters, a batch)."""
    batch = {"fbank": jnp.asarray(random_array("fbank", (rows, *SWIN.img_size)), jnp.float32)}
    params = jit(SWIN.init)(jax.random.key(1, impl="rbg"), batch["fbank"][:1])["params"]
    return {"audiomae": SWIN}, {"audiomae": params}, batch


@pytest.mark.parametrize(
    ("name", "norm_pix"), [("vit", False), ("swin", True)], ids=["vit-plain", "swin-normed"]
)
def test_golden(monkeypatch, name, norm_pix):
    """Losses and all gradients, with dropout in its places."""
    monkeypatch.setattr(nn.Dropout, "__call__", training_goldens.patterned_dropout)
    network = cases.NETWORKS[name]
    shapes, outputs = load(f"audiomae_training_{name}")
    params = rules.convert(
        cases_audiomae.tensors(shapes),
        conversion.OFFICIAL,
        cases_audiomae.expected(network),
        network="AudioMAE",
    )
    params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params)
    inputs = cases_audiomae.inputs(network.img_size, network.patch_size)
    ids = {key: jnp.asarray(inputs[key], jnp.int32) for key in ("keep_ids", "restore_ids")}
    draws = {**ids, "mask": jnp.asarray(inputs["mask"], jnp.float32), "dropout": KEY}
    batch = {"fbank": jnp.asarray(inputs["fbank"], jnp.float32)}
    (player,) = AudioMAEStage(norm_pix=norm_pix).players({"audiomae": network})
    gradient = jit(jax.value_and_grad(player.loss, has_aux=True))
    (loss, metrics), grads = gradient({"audiomae": params}, given(batch, draws))
    kind = "normed" if norm_pix else "plain"
    assert loss.dtype == jnp.float32
    assert relative_error(loss, outputs[kind]) < 1e-5
    visible = figures(metrics)["visible_loss"]
    assert relative_error(visible, outputs[f"{kind}_visible"]) < 1e-5
    ours = rules.export(jax.device_get(grads["audiomae"]), conversion.OFFICIAL, network="AudioMAE")
    for fixed in FIXED:
        assert not ours.pop(fixed).any()
    theirs = training_goldens.unpacked(outputs[f"{kind}_gradients"], ours)
    assert len(theirs) > 50
    for key, x in training_goldens.some_of(ours).items():
        assert relative_error(x, theirs[key]) < FLOAT32_BOUND, key


def test_draws():
    networks, _, batch = fresh()
    draw = jit(lambda key: AudioMAEStage().draw(networks, key, batch, jnp.int32(0)))
    one, two = map(draw, jax.random.split(KEY))
    assert one["keep_ids"].shape == (8, 6)  # int(32 * 0.2)
    np.testing.assert_array_equal(one["mask"].sum(axis=1), np.full(8, 26))
    assert (one["restore_ids"] != two["restore_ids"]).any(axis=1).all()
    assert one["dropout"].shape == ()
    assert (jax.random.key_data(one["dropout"]) != jax.random.key_data(two["dropout"])).any()


STAGE = AudioMAEStage(mask_ratio=0.5)


@jit
def slope(params, batch, draws):
    """(loss, gradients)."""
    (player,) = STAGE.players({"audiomae": SWIN})
    (loss, _), grads = jax.value_and_grad(player.loss, has_aux=True)(params, given(batch, draws))
    return loss, grads


@jit
def drawn(key, batch):
    return STAGE.draw({"audiomae": SWIN}, key, batch, jnp.int32(0))


def close(ours, theirs):
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-5)
    scale = float(optax.tree.norm(theirs[1]))
    compare = functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-5 * scale)
    jax.tree.map(compare, ours[1], theirs[1])


@pytest.mark.slow
def test_devices_and_microbatches_change_nothing():
    """Eight devices with a row each, and two microbatches of four rows, against the whole batch at once."""
    _, params, batch = fresh()
    draws = drawn(KEY, batch)
    whole = jax.device_get(slope(params, batch, draws))
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    with jax.set_mesh(mesh):
        rows, everywhere = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())
        spread = {name: rows if x.ndim else everywhere for name, x in draws.items()}
        many = slope(
            jax.device_put(params, everywhere),
            jax.device_put(batch, rows),
            jax.device_put(draws, spread),
        )
        close(jax.device_get(many), whole)
    halves = []
    for rows in (slice(0, None, 2), slice(1, None, 2)):
        part = jax.tree.map(lambda x, rows=rows: x[rows] if x.ndim else x, (batch, draws))
        halves.append(jax.device_get(slope(params, *part)))
    close(jax.tree.map(lambda x, y: (x + y) / 2, *halves), whole)


def test_it_learns():
    """Chords held for a whole clip: hidden patches follow from seen ones, and the loss falls from 1 to a part."""
    _, params, _ = fresh()
    tones = jnp.asarray(random_array("tones", (8, 1, 32)), jnp.float32)
    batch = {"fbank": jnp.broadcast_to(tones, (8, 64, 32))}
    adam = optax.adam(1e-2)
    descend = jit(adam.update)
    state, losses = adam.init(params), []
    for key in jax.random.split(KEY, 60):
        loss, grads = slope(params, batch, drawn(key, batch))
        updates, state = descend(grads, state)
        params = jax.tree.map(np.add, params, updates)
        losses.append(float(loss))
    assert losses[0] > 0.9
    assert np.mean(losses[-5:]) < 0.5


@pytest.mark.parametrize("norm_pix", [True, False])
def test_preview(norm_pix):
    """The pictures, from which the figures can be told."""
    networks, params, batch = fresh()
    silence = 4.2677393 / (2 * 4.5689974)  # of energy 1
    batch = {"fbank": batch["fbank"].at[0].set(silence).at[0, 0, 0].add(1 / (2 * 4.5689974))}
    stage = AudioMAEStage(norm_pix=norm_pix, previewed=8)
    shown = stage.preview(networks, params, given(batch), KEY)
    names = ("true", "seen", "made_up")
    assert set(shown.images) == {f"clip_{i}_{name}" for i in range(8) for name in names}
    assert shown.images["clip_0_true"][0, 0] == pytest.approx(0.5, abs=1e-5)  # half of ln e
    np.testing.assert_allclose(shown.images["clip_0_true"][1:], 0.0, atol=1e-5)
    true, seen, made_up = (_patches(shown, name) for name in names)
    hidden = (made_up != true).any(axis=-1)
    np.testing.assert_array_equal(hidden.sum(axis=1), np.full(8, 26))
    for row in range(8):
        assert (seen[row, hidden[row]] == true[row].min()).all()
        np.testing.assert_array_equal(seen[row, ~hidden[row]], true[row, ~hidden[row]])
    unit = 4.5689974  # of the network, in the pictures
    error = (made_up - true)[1:][hidden[1:]] / unit
    if norm_pix:
        error /= true[1:][hidden[1:]].std(axis=-1, ddof=1, keepdims=True) / unit
    rest = stage.preview(networks, params, given(batch), KEY).figures["hidden_loss"]
    assert rest == shown.figures["hidden_loss"]
    flat = np.square(_flat_error(made_up, true, hidden, norm_pix, unit)).mean()
    assert (7 * np.square(error).mean() + flat) / 8 == pytest.approx(rest, rel=1e-3)


def _flat_error(made_up, true, hidden, norm_pix, unit):
    """Of the clip without structure, whose deviation is the floor where all of a patch is one energy."""
    error = (made_up - true)[0][hidden[0]] / unit
    variance = (true[0][hidden[0]] / unit).round(5).var(axis=-1, ddof=1, keepdims=True)
    return error / np.sqrt(variance + 1e-6) if norm_pix else error


def _patches(shown, name):
    pictures = np.stack([shown.images[f"clip_{i}_{name}"] for i in range(8)])
    return np.asarray(patchify(jnp.asarray(pictures), SWIN.patch_size))


@pytest.mark.parametrize(
    ("change", "network", "message"),
    [
        ({}, SWIN.clone(decoder=None), "without a decoder predicts nothing"),
        ({"mask_ratio": 0.99}, SWIN, "mask_ratio 0.99 leaves 0 of 32 patches"),
        ({"mask_ratio": 0.0}, SWIN, "mask_ratio 0.0 leaves 32 of 32 patches"),
    ],
)
def test_wrong_settings(change, network, message):
    AudioMAEStage().check({"audiomae": SWIN})
    with pytest.raises(ValueError, match=message):
        AudioMAEStage(**change).check({"audiomae": network})
