"""One update against what can be written down."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ldm_jax.train.metrics import figures
from ldm_jax.train.optimizer import Optimizer, transformation
from ldm_jax.train.representation import chosen
from ldm_jax.train.state import initial
from ldm_jax.train.step import averaged, make_step
from tests.train.toy import MELS, ROUND, Chase, Fit, Line

RATE = 0.01
KEY = jax.random.key(7)
BATCH = {"log_mel": jnp.asarray(np.random.default_rng(0).normal(-5, 2, (8, 12, MELS)), jnp.float32)}


def beginning(stage, tx, *, ballast=8192):
    networks = {name: Line(ballast=ballast) for name in stage.trained()}
    params = {
        name: module.init(jax.random.key(i), *module.example())["params"]
        for i, (name, module) in enumerate(networks.items())
    }
    players = stage.players(networks)
    transformations = {player.name: tx for player in players}
    state = initial(
        params,
        averaged=stage.averaged(),
        transformations=transformations,
        players={player.name: player.networks for player in players},
        constants={},
        followers={name: rule.of for name, rule in stage.followers().items()},
    )
    return networks, transformations, state


def stepper(stage, *, tx=None, accumulation=1, decay=0.5, round_steps=0):
    networks, transformations, state = beginning(stage, tx or optax.sgd(RATE))
    step = make_step(
        stage,
        networks,
        transformations,
        join=chosen().join,
        ema_decay=decay,
        accumulation=accumulation,
        round_steps=round_steps,
    )
    return jax.jit(step), state


def test_a_step_down_a_parabola():
    step, state = stepper(Fit())
    after, metrics = step(state, {}, {}, BATCH, KEY)
    x = np.asarray(BATCH["log_mel"]).mean(1) / 10
    target = Fit().draw({}, jax.random.fold_in(KEY, 0), BATCH, jnp.int32(0))["target"]
    kernel = np.asarray(state.params["line"]["line"]["kernel"])
    error = x @ kernel[:, 0] + np.asarray(state.params["line"]["line"]["bias"]) - np.asarray(target)
    slope = 2 * (error[:, None] * x).mean(0)
    np.testing.assert_allclose(
        after.params["line"]["line"]["kernel"][:, 0],
        kernel[:, 0] - RATE * slope,
        rtol=1e-5,
        atol=1e-7,
    )
    told = figures(jax.device_get(metrics))
    np.testing.assert_allclose(told["loss"], (error**2).mean(), rtol=1e-5)
    positive = np.asarray(target) > 0
    bands = [(error[~positive] ** 2).mean(), (error[positive] ** 2).mean()]
    np.testing.assert_allclose(told["by_sign"], bands, rtol=1e-5)
    whole = np.sqrt((slope**2).sum() + (2 * error.mean()) ** 2)
    np.testing.assert_allclose(told["grad_norm"], whole, rtol=1e-5)
    np.testing.assert_allclose(told["update_norm"], RATE * whole, rtol=1e-5)


@pytest.mark.parametrize("accumulation", [2, 4])
def test_microbatches_add_up_to_the_batch(accumulation):
    whole, state = stepper(Fit())
    parts, _ = stepper(Fit(), accumulation=accumulation)
    (one, told), (other, also) = (s(state, {}, {}, BATCH, KEY) for s in (whole, parts))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-7)
    told, also = (figures(jax.device_get(x)) for x in (told, also))
    assert told.keys() == also.keys()
    for name in told:
        np.testing.assert_allclose(also[name], told[name], rtol=1e-5, err_msg=name)


def test_the_second_player_sees_what_the_first_has_become():
    step, state = stepper(Fit(rivals=True))
    after, metrics = step(state, {}, {}, BATCH, KEY)
    x = BATCH["log_mel"].mean(1) / 10

    def value(params):
        return (x @ params["line"]["kernel"])[:, 0] + params["line"]["bias"][0]

    moved = value(after.params["line"])
    error = float(((value(state.params["rival"]) - moved) ** 2).mean())
    stale = float(((value(state.params["rival"]) - value(state.params["line"])) ** 2).mean())
    told = figures(jax.device_get(metrics))["rival/loss"]
    np.testing.assert_allclose(told, error, rtol=1e-5)
    assert abs(told - stale) > 1e-3 * stale
    assert set(after.ema) == {"line"}


@pytest.mark.parametrize("rivals", [False, True])
def test_an_update_is_made_in_the_place_of_what_it_replaces(rivals):
    """Besides the donated state, memory holds what is added to each parameter, no copy of parameters or moments."""
    stage, ballast = Fit(rivals=rivals), 1 << 18
    adamw = transformation(Optimizer(clip_norm=1.0, decayed="all"), total_steps=10)
    networks, rules, state = beginning(stage, adamw, ballast=ballast)
    step = make_step(stage, networks, rules, join=chosen().join, ema_decay=0.9)
    compiled = jax.jit(step, donate_argnums=0).lower(state, {}, {}, BATCH, KEY).compile()
    memory = compiled.memory_analysis()
    assert memory.alias_size_in_bytes >= 4 * (4 + 3 * rivals) * ballast
    assert memory.temp_size_in_bytes < 4 * ballast * len(networks) + 2**18


@pytest.mark.parametrize(
    "adamw",
    [transformation(Optimizer(learning_rate=RATE), total_steps=10), optax.adamw(RATE)],
    ids=["ours", "optax"],
)
@pytest.mark.parametrize("who", ["", "model", "rival"])
def test_an_update_that_is_not_finite_changes_nothing_but_the_counters(who, adamw):
    stage = Fit(poison=(0, 1, 3), rivals=bool(who), poisoned=who or "model")
    step, state = stepper(stage, tx=adamw)
    before = jax.device_get(state)
    rows = []
    for _ in range(5):
        state, metrics = step(state, {}, {}, BATCH, KEY)
        rows.append((int(state.skipped), int(state.skipped_in_a_row)))
        if len(rows) == 2:
            for name in ("params", "ema", "opt"):
                for a, b in zip(
                    jax.tree.leaves(getattr(state, name)),
                    jax.tree.leaves(getattr(before, name)),
                    strict=True,
                ):
                    np.testing.assert_array_equal(a, b)
            told = figures(jax.device_get(metrics))
            assert np.isnan(told[f"{who}/loss" if who else "loss"])
    assert rows == [(1, 1), (2, 2), (2, 0), (3, 1), (3, 0)]
    assert int(state.step) == 5
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(jax.device_get(state.params)))


def test_the_average_follows_as_published():
    params = {"a": jnp.asarray([3.0])}
    ema = {"a": jnp.asarray([1.0])}
    for step, decay, rate in ((0, 0.9999, 0.1), (90, 0.9999, 0.91), (10**6, 0.9999, 0.9999)):
        out = averaged(ema, params, jnp.int32(step), decay=decay)["a"][0]
        np.testing.assert_allclose(out, rate * 1 + (1 - rate) * 3, rtol=1e-5)
    # diffusers' and CompVis' rule after a thousand steps of a ramp, in float64
    want = value = 0.0
    tree = {"a": jnp.asarray([0.0])}
    for k in range(200):
        value = k / 200
        d = min(0.99, (1 + k) / (10 + k))
        want = d * want + (1 - d) * value
        tree = averaged(tree, {"a": jnp.asarray([value])}, jnp.int32(k), decay=0.99)
    np.testing.assert_allclose(tree["a"][0], want, rtol=1e-5)


def test_the_state_is_donated_and_compiled_once():
    networks, transformations, state = beginning(Fit(), optax.adam(RATE))
    step = jax.jit(
        make_step(Fit(), networks, transformations, join=chosen().join, ema_decay=0.9),
        donate_argnums=0,
    )
    first = state
    for _ in range(3):
        state, _ = step(state, {}, {}, BATCH, KEY)
    assert all(x.is_deleted() for x in jax.tree.leaves((first.params, first.ema, first.opt)))
    assert step._cache_size() == 1


def flat(tree):
    return np.concatenate([np.asarray(x, np.float64).ravel() for x in jax.tree.leaves(tree)])


def test_a_follower_is_the_average_of_what_the_student_was():
    """f_n = d^n f_0 + (1 - d) sum_k d^(n - k) p_k, but for updates that were skipped; with d = 1 it stands still."""
    step, state = stepper(Chase(decays=(0.95, 1.0), poison=(2,)), tx=optax.adam(RATE))
    start = flat(state.params)
    seen = []
    for _ in range(6):
        state, _ = step(state, {}, {}, BATCH, KEY)
        seen.append(flat(state.params))
    kept = [p for k, p in enumerate(seen) if k != 2]
    expected = 0.95**5 * start
    expected += 0.05 * sum(0.95 ** (4 - k) * p for k, p in enumerate(kept))
    np.testing.assert_array_equal(seen[2], seen[1])
    assert np.abs(seen[-1] - start).max() > RATE
    np.testing.assert_allclose(flat(state.followers["slow"]), expected, rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(flat(state.followers["still"]), start)


def test_losses_read_the_followers_and_the_number_of_the_round():
    """The loss is the distance from what the follower says, times the round's number plus one."""
    step, state = stepper(Chase(students=2, noise=0.0), tx=optax.sgd(0.0), round_steps=2)
    away = jax.tree.map(lambda x: x + 0.1, state.followers)
    x = np.asarray(BATCH["log_mel"]).mean(1) / 10
    error = (0.1 * x.sum(1) + 0.1) ** 2
    for number in (0, 1):
        at = dataclasses.replace(state, followers=away, step=jnp.int32(2 * number))
        _, metrics = step(at, {}, {}, BATCH, KEY)
        told = figures(jax.device_get(metrics))["loss"]
        np.testing.assert_allclose(told, (number + 1) * error.mean(), rtol=1e-4)


# Its learning rate falls in each round.
ANNEALED = Optimizer(learning_rate=RATE, schedule="linear", weight_decay=0.1)
ADAM = transformation(ANNEALED, total_steps=ROUND)


def in_rounds(count, **settings):
    stage = Chase(decays=(1.0, 0.9), students=count, **settings)
    return stepper(stage, tx=ADAM, decay=0.9999, round_steps=ROUND)


def test_a_round_begins_where_the_one_before_has_ended():
    """Parameters and followers are the average, the optimiser's state is new; and all rounds are one program."""
    step, state = in_rounds(3)
    for number in range(1, 3 * ROUND + 1):
        before, (state, _) = state, step(state, {}, {}, BATCH, KEY)
        assert np.abs(flat(state.ema) - flat(before.ema)).max() > 0
        if number % ROUND or number == 3 * ROUND:
            assert np.abs(flat(state.params) - flat(state.ema)).max() > 0
            continue
        for tree in (state.params, *state.followers.values()):
            np.testing.assert_array_equal(flat(tree), flat(state.ema))
        fresh = ADAM.init(state.params)
        np.testing.assert_array_equal(flat(state.opt), flat(fresh))
        assert np.abs(flat(before.opt)).max() > 1
    assert int(state.step) == 3 * ROUND
    assert step._cache_size() == 1


@pytest.mark.parametrize("poison", [(), (1, ROUND - 1, ROUND)])
def test_rounds_are_runs_that_each_begin_with_what_the_one_before_has_come_to(poison):
    """The moving average and the learning rate begin anew; updates are skipped, also the last one of a round."""
    step, state = in_rounds(3, poison=poison)
    alone, fresh = in_rounds(1, poison=poison)
    begin = fresh
    for number in range(3):
        for _ in range(ROUND):
            state, _ = step(state, {}, {}, BATCH, KEY)
        average = (begin if number == 0 else fresh).ema
        fresh = initial(
            average,
            averaged=("line",),
            transformations={"model": ADAM},
            players={"model": ("line",)},
            constants={},
            followers={"still": "line", "slow": "line"},
        )
        for _ in range(ROUND):
            fresh, _ = alone(fresh, {}, {}, {**BATCH, "behind": jnp.int32(number)}, KEY)
        np.testing.assert_allclose(flat(state.ema), flat(fresh.ema), rtol=1e-6, atol=1e-7)
    for name in ("params", "opt", "followers"):
        one, other = flat(getattr(state, name)), flat(getattr(fresh, name))
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)
    assert int(state.skipped) == int(fresh.skipped)
