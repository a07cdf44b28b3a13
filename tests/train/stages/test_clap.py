"""CLAP's stage against LAION's code in training, and what must not matter."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from ldm_jax.audio.log_mel import MEL_16K
from ldm_jax.convert import clap as conversion
from ldm_jax.convert import rules
from ldm_jax.data.features import TextTokenizers
from ldm_jax.models.audiomae import AudioMAE
from ldm_jax.models.htsat import FIXED
from ldm_jax.train.metrics import figures
from ldm_jax.train.stages.clap import ClapStage
from ldm_jax.train.stages.stage import Given
from tests import cases_clap, training_goldens
from tests import cases_clap_training as cases
from tests.golden import FLOAT32_BOUND, load, relative_error

KEY = jax.random.key(3)
FAST = jax.random.key(3, impl="rbg")  # compiles faster
jit = functools.partial(  # what is small compiles longer than it runs
    jax.jit,
    compiler_options={
        "xla_backend_optimization_level": 0,
        "xla_llvm_disable_expensive_passes": True,
    },
)


def arrays(batch):
    return {
        name: jnp.asarray(x, jnp.float32 if x.dtype == np.float64 else x.dtype)
        for name, x in batch.items()
    }


def inputs(batch):
    return [arrays(batch)[f"clap_{name}"] for name in ("ids", "mask", "audio")]


def given(batch, draws=None):
    return Given({}, batch, draws or {}, {}, jnp.zeros((), jnp.int32))


@functools.cache
def stored():
    """(parameters, golden outputs)."""
    shapes, outputs = load("clap_training")
    expected = jax.eval_shape(cases.NETWORK.init, KEY, *inputs(cases.batch(1)))["params"]
    tensors = cases_clap.weights(shapes)
    params = rules.convert(tensors, conversion.LAION, expected, network="CLAP")
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params), outputs


@functools.cache
def smallest(rows=8):
    """(networks, fresh parameters, a batch)."""
    batch = arrays(cases.batch(rows))
    params = jit(cases.SMALLEST.init)(FAST, *inputs(batch))["params"]
    return {"clap": cases.SMALLEST}, {"clap": params}, batch


def test_golden(monkeypatch):
    """Loss and all gradients, with SpecAugment, the batch's norm, dropout and stochastic depth in their places."""
    monkeypatch.setattr(nn.Dropout, "__call__", training_goldens.patterned_dropout)
    params, outputs = stored()
    (player,) = ClapStage().players({"clap": cases.NETWORK})
    draws = {"kept": jnp.asarray(cases.kept()), "dropout": KEY}
    gradient = jit(jax.value_and_grad(player.loss, has_aux=True))
    (loss, metrics), grads = gradient({"clap": params}, given(arrays(cases.batch()), draws))
    assert loss.dtype == jnp.float32
    assert relative_error(loss, outputs["two_scales"]) < 1e-5
    ours = rules.export(jax.device_get(grads["clap"]), conversion.LAION, network="CLAP")
    for name in FIXED:
        assert not ours.pop(f"audio_branch.bn0.{name}").any()
    theirs = training_goldens.unpacked(outputs["two_scales_gradients"], ours)
    whole = np.linalg.norm(outputs["two_scales_gradients"])
    close = 0
    for name, x in training_goldens.some_of(ours).items():
        if np.linalg.norm(theirs[name]) < 1e-7 * whole:  # biases of keys move no softmax
            assert np.linalg.norm(x) < 1e-5 * whole, name
        else:
            assert relative_error(x, theirs[name]) < FLOAT32_BOUND, name
            close += 1
    assert close > 60
    cosines = outputs["text"] @ outputs["audio"].T
    shown, apart = figures(metrics), ~np.eye(4, dtype=bool)
    assert shown["cosine_of_pairs"] == pytest.approx(np.diagonal(cosines).mean(), abs=1e-5)
    assert shown["cosine_of_others"] == pytest.approx(cosines[apart].mean(), abs=1e-5)
    assert shown["audio_of_text_at_1"] == (cosines.argmax(1) == np.arange(4)).mean()
    assert shown["text_of_audio_at_1"] == (cosines.argmax(0) == np.arange(4)).mean()
    scales = np.exp([params["logit_scale_a"], params["logit_scale_t"]])
    assert [shown["audio_scale"], shown["text_scale"]] == pytest.approx(list(scales), rel=1e-5)


def test_what_no_gradient_moves():
    """Running statistics as PyTorch's after the same batch; scales between 1 and 100."""
    params, outputs = stored()
    batch = given(arrays(cases.batch()))
    params = params | {"logit_scale_a": jnp.float32(5.0), "logit_scale_t": jnp.float32(-0.1)}
    networks = {"clap": cases.NETWORK}
    changes = ClapStage().after(networks, {"clap": params}, batch)["clap"]
    moved = changes.pop("audio_model")["batch_norm"]
    for name in FIXED:
        assert relative_error(moved[name], outputs[name]) < 1e-6
    assert np.exp(changes["logit_scale_a"]) == pytest.approx(100, rel=1e-6)
    assert changes["logit_scale_t"] == 0
    kept = ClapStage(by_batch=False, one_scale=True, max_scale=10.0)
    changes = kept.after(networks, {"clap": params}, batch)["clap"]
    assert changes == {"logit_scale_a": pytest.approx(np.log(10), rel=1e-6)}


STAGE = ClapStage(text_dropout=0.0, drop_path=0.0, time_stripes=(20, 2), mel_stripes=(3, 2))


@jit
def update(params, batch, draws):
    """(loss, gradients, what no gradient moves)."""
    networks = {"clap": cases.SMALLEST}
    (player,) = STAGE.players(networks)
    everything = given(batch, draws)
    (loss, _), grads = jax.value_and_grad(player.loss, has_aux=True)(params, everything)
    return loss, grads, STAGE.after(networks, params, everything)


@jit
def drawn(key, batch):
    return STAGE.draw({"clap": cases.SMALLEST}, key, batch, jnp.int32(0))


def test_a_pod_sees_the_whole_batch():
    """Eight devices with a row each: loss, gradients and statistics are those of one device."""
    _, params, batch = smallest()
    draws = drawn(KEY, batch)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    with jax.set_mesh(mesh):
        rows, everywhere = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())
        spread = {name: rows if x.ndim else everywhere for name, x in draws.items()}
        many = update(
            jax.device_put(params, everywhere),
            jax.device_put(batch, rows),
            jax.device_put(draws, spread),
        )
        many = jax.device_get(many)
    one = jax.device_get(update(params, batch, draws))
    np.testing.assert_allclose(many[0], one[0], rtol=1e-5)
    scale = float(optax.tree.norm(one[1]))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5 * scale), many[1], one[1])
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5), many[2], one[2])


@pytest.mark.slow
def test_it_learns():
    """Eight pairs by heart: from ln 8, the loss of a guess, to a small part of it; the nearest is the right one."""
    networks, params, batch = smallest()
    adam = optax.adam(1e-2)
    descend = jit(adam.update)
    state, losses = adam.init(params), []
    before = STAGE.preview(networks, params, given(batch), KEY)
    for key in jax.random.split(KEY, 60):
        loss, grads, changes = update(params, batch, drawn(key, batch))
        updates, state = descend(grads, state)
        params = joined(jax.tree.map(np.add, params, updates), changes)
        losses.append(float(loss))
    shown = STAGE.preview(networks, params, given(batch), KEY)
    assert losses[0] > 0.8 * np.log(8)
    assert np.mean(losses[-5:]) < 0.3 * np.log(8)
    assert before.figures["audio_of_text_at_1"] < 0.5
    assert shown.figures["audio_of_text_at_1"] > 0.8  # by running statistics, without stripes
    assert shown.figures["text_of_audio_at_1"] > 0.8
    assert shown.figures["audio_of_text_at_10"] == 1


def joined(params, changes):
    if not isinstance(changes, dict):
        return changes
    return params | {name: joined(params[name], x) for name, x in changes.items()}


def test_same_captions():
    """A repeated caption repels its other clip, or is spared."""
    networks, params, batch = smallest()
    batch = dict(batch)
    for name in ("clap_ids", "clap_mask"):
        batch[name] = batch[name].at[5].set(batch[name][2])
    draws = {"kept": jnp.ones(batch["clap_audio"].shape, bool), "dropout": KEY}
    embeds = jit(cases.SMALLEST.apply)({"params": params["clap"]}, *inputs(batch))
    text, audio = map(np.asarray, embeds)
    logits = np.exp(params["clap"]["logit_scale_a"]) * text @ audio.T
    for spare in (False, True):
        stage = ClapStage(spare_same_caption=spare, text_dropout=0.0, drop_path=0.0, by_batch=False)
        (player,) = stage.players(networks)
        loss, _ = jit(player.loss)(params, given(batch, draws))
        rivals = np.where(spare & ~np.eye(8, dtype=bool) & _twins(), -np.inf, logits)
        want = -np.mean([np.diagonal(_log_softmax(x)) for x in (rivals, rivals.T)])
        assert float(loss) == pytest.approx(want, rel=1e-5)


def _twins():
    twins = np.eye(8, dtype=bool)
    twins[2, 5] = twins[5, 2] = True
    return twins


def _log_softmax(x):
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def test_draws():
    networks, _, batch = smallest()
    first, second = (drawn(key, batch) for key in jax.random.split(KEY))
    assert first["kept"].shape == batch["clap_audio"].shape
    assert first["dropout"].shape == ()
    assert (first["kept"] != second["kept"]).any(axis=(1, 2)).all()
    stage = ClapStage(time_stripes=(64, 0), mel_stripes=(8, 0))
    assert stage.draw(networks, KEY, batch, jnp.int32(0))["kept"].all()


@pytest.mark.parametrize(
    ("change", "network", "message"),
    [
        ({}, AudioMAE(), "'clap' is a AudioMAE; it has to be a CLAP"),
        (
            {},
            cases.NETWORK.clone(audio=cases.NETWORK.audio.clone(fusion=True)),
            "with fusion cannot",
        ),
        (
            {"drop_path": 1.0},
            cases.NETWORK,
            "drop_path is 1.0; it has to be at least 0 and below 1",
        ),
        ({"text_dropout": -0.1}, cases.NETWORK, "text_dropout is -0.1"),
        ({"max_scale": 0.5}, cases.NETWORK, "max_scale is 0.5; it has to be at least 1"),
    ],
)
def test_wrong_settings(change, network, message):
    with pytest.raises(ValueError, match=message):
        ClapStage(**change).check({"clap": network})


def test_features_need_captions():
    ClapStage().check({"clap": cases.NETWORK})
    with pytest.raises(ValueError, match="takes captions: no tokenizer"):
        ClapStage().features(TextTokenizers(), MEL_16K, 10.0)
