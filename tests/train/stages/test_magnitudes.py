"""The stage of magnitudes against its formula in NumPy, and what it promises of its own."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import optax
import pytest

from ldm_jax.audio.log_mel import MEL_16K, MEL_48K
from ldm_jax.convert import vocoder as convert_vocoder
from ldm_jax.convert.checkpoint import abstract_params, init_params
from ldm_jax.data.features import TextTokenizers
from ldm_jax.models.vocos import Vocos
from ldm_jax.train.metrics import figures
from ldm_jax.train.stages.magnitudes import MagnitudeStage
from ldm_jax.train.stages.stage import Given
from tests import cases_vocoder
from tests.golden import random_array, relative_error

SAMPLES = 320  # 20 frames of 8 bands
VOCODER = Vocos(8, features=8, hidden=12, layers=2, griffin_lim=4, n_fft=64, hop=16)
NETWORKS = {"vocoder": VOCODER}
STAGE = MagnitudeStage(segment_samples=SAMPLES, log_weight=0.7, convergence_weight=2.0, floor=0.02)
START = np.array([0, 3, 10, 1])


def random_params() -> dict:
    """Every parameter random; norms about 1."""

    def leaf(path, x):
        name = jax.tree_util.keystr(path)
        return (1.0 if "scale" in name else 0.0) + 0.2 * random_array(name, x.shape)

    return jax.tree_util.tree_map_with_path(leaf, abstract_params(VOCODER))


def waves() -> np.ndarray:
    """Of loudness 1 to 0.01, so that some magnitudes lie under the floor."""
    return np.geomspace(1, 0.01, 4)[:, None] * random_array("wave", (4, 800))


def given_of(wave: np.ndarray, dtype: str) -> Given:
    start = jnp.asarray(START[: len(wave)])
    batch = {"wave": jnp.asarray(wave, dtype)}
    return Given({}, batch, {"start": start}, {}, jnp.zeros((), jnp.int32))


@functools.cache
def bank() -> np.ndarray:
    return librosa.filters.mel(sr=16_000, n_fft=64, n_mels=8, fmax=8_000, dtype=np.float64).T


def magnitudes(wave: np.ndarray) -> np.ndarray:
    """Of frames of 64 samples, one every 16, of a stretch reflected by 24 at its ends."""
    padded = np.pad(wave, ((0, 0), (24, 24)), mode="reflect")
    window = np.sin(np.pi * np.arange(64) / 64) ** 2
    frames = [padded[:, t : t + 64] * window for t in range(0, padded.shape[1] - 63, 16)]
    return np.abs(np.fft.rfft(np.stack(frames, 1)))


def stretches() -> np.ndarray:
    return np.stack([row[16 * i : 16 * i + SAMPLES] for row, i in zip(waves(), START, strict=True)])


def log_mels() -> np.ndarray:
    return np.log(np.maximum(magnitudes(stretches()) @ bank(), 1e-5))


def formula(stage: MagnitudeStage, made: np.ndarray) -> dict[str, float]:
    """The docstring's, of what the vocoder makes of the stretches."""
    true = np.maximum(magnitudes(stretches()), stage.floor)
    norms = [np.linalg.norm(x - y) / np.linalg.norm(x) for x, y in zip(true, made, strict=True)]
    log_error = np.abs(np.log(true) - np.log(np.maximum(made, stage.floor))).mean()
    loss = stage.log_weight * log_error + stage.convergence_weight * np.mean(norms)
    return {"loss": loss, "log_error": log_error, "convergence": np.mean(norms)}


def test_loss_and_gradient_are_the_formulas():
    """The gradient against central differences of the formula, along four directions."""
    with jax.enable_x64(True):
        vocoder, params = VOCODER.clone(dtype="float64"), random_params()
        (player,) = STAGE.players({"vocoder": vocoder})
        (loss, metrics), slope = jax.jit(jax.value_and_grad(player.loss, has_aux=True))(
            {"vocoder": params}, given_of(waves(), "float64")
        )
        mel = jnp.asarray(np.log(np.maximum(magnitudes(stretches()) @ bank(), 1e-5)))
        make = jax.jit(lambda p: vocoder.apply({"params": p}, mel, method="magnitude"))

        def expected(params):
            return formula(STAGE, np.asarray(make(params)))

        told = expected(params)
        assert loss.dtype == "float64"
        assert relative_error(loss, told.pop("loss")) < 1e-10
        assert figures(metrics).keys() == told.keys()
        for name, value in figures(metrics).items():
            assert relative_error(value, told[name]) < 1e-6, name  # kept in float32
        for seed in range(4):

            def moved(step, seed=seed):
                return jax.tree.map(
                    lambda x: x + step * random_array("way", x.shape, seed=seed), params
                )

            ahead, behind = (expected(moved(step))["loss"] for step in (1e-6, -1e-6))
            way = jax.tree.map(np.subtract, moved(1.0), params)
            along = sum(jax.tree.leaves(jax.tree.map(np.vdot, way, slope["vocoder"])))
            assert relative_error(along, (ahead - behind) / 2e-6) < 1e-5


def test_some_magnitudes_lie_under_the_floor():
    assert 0.02 < (magnitudes(stretches()) < STAGE.floor).mean() < 0.5


def test_silence_has_finite_gradients():
    params = jax.tree.map(np.float32, {"vocoder": random_params()})
    (player,) = STAGE.players(NETWORKS)
    wave = waves()
    wave[::2] = 0
    (loss, metrics), slope = jax.jit(jax.value_and_grad(player.loss, has_aux=True))(
        params, given_of(wave, "float32")
    )
    assert all(np.isfinite(x) for x in (float(loss), *figures(metrics).values()))
    assert all(np.isfinite(x).all() and (x != 0).any() for x in jax.tree.leaves(slope))


def test_silence_does_not_drown_what_is_heard():
    """At the published rate and bands: without a floor under its norm, a silent stretch would count hundredfold."""
    module = Vocos(64, features=4, hidden=4, layers=1, griffin_lim=1)
    params = {"vocoder": jax.jit(functools.partial(init_params, module))(jax.random.key(0))}
    (player,) = MagnitudeStage(segment_samples=2_560).players({"vocoder": module})
    answer = jax.jit(jax.grad(player.loss, has_aux=True))
    sizes = {}
    for loudness in (0.1, 0.0):
        wave = loudness * random_array("wave", (1, 2_560))
        slope, metrics = answer(params, given_of(wave, "float32"))
        sizes[loudness] = figures(metrics)["convergence"], float(optax.tree.norm(slope))
    assert 0.3 < sizes[0.1][0] < 0.5
    assert sizes[0.0][0] < 2 * sizes[0.1][0]
    assert sizes[0.0][1] < 20 * sizes[0.1][1]


def test_stretches_lie_within_the_sound():
    samples = np.repeat(np.array([0, SAMPLES, SAMPLES + 32, 800], np.int32), 200)
    batch = {"wave": jnp.zeros((800, 800)), "samples": jnp.asarray(samples)}
    drawn = STAGE.draw(NETWORKS, jax.random.key(0), batch, jnp.int32(0))
    assert set(drawn) == {"start"}
    start = np.asarray(drawn["start"]).reshape(4, 200)
    assert [set(row) for row in start] == [{0}, {0}, {0, 1, 2}, set(range(31))]
    short = {"wave": jnp.zeros((2, 300)), "samples": jnp.zeros(2, jnp.int32)}
    with pytest.raises(ValueError, match="clips of 300 samples; segment_samples is 320"):
        STAGE.draw(NETWORKS, jax.random.key(0), short, jnp.int32(0))


def test_whom_it_moves_and_what_it_reads():
    assert STAGE.trained() == STAGE.averaged() == ("vocoder",)
    assert STAGE.frozen() == ()
    (player,) = STAGE.players(NETWORKS)
    assert player.networks == ("vocoder",)
    features = MagnitudeStage().features(TextTokenizers(), MEL_16K, 1.0)
    assert [type(x).__name__ for x in features] == ["Wave"]


HIFIGAN = convert_vocoder.from_config(cases_vocoder.TINY["rates_of_16k"])


@pytest.mark.parametrize(
    ("changed", "networks", "said"),
    [
        ({}, {"vocoder": HIFIGAN}, "'vocoder' is a HiFiGAN; it has to be a Vocos with griffin_lim"),
        ({}, {"vocoder": VOCODER.clone(griffin_lim=0)}, "'vocoder' is a Vocos with phases"),
        ({"sample_rate": 48_000}, {}, "one for 16000 Hz; stage.sample_rate is 48000"),
        ({"segment_samples": 64}, {}, "segment_samples is 64; it must be more than 64"),
    ],
)
def test_what_does_not_fit_is_said(changed, networks, said):
    with pytest.raises(ValueError, match=said):
        dataclasses.replace(STAGE, **changed).check({**NETWORKS, **networks})


def test_what_fits_is_let_pass():
    STAGE.check(NETWORKS)
    dataclasses.replace(STAGE, segment_samples=65).check(NETWORKS)


def test_data_of_another_rate_is_refused():
    with pytest.raises(ValueError, match=r"stage\.sample_rate is 16000, that of the data 48000"):
        MagnitudeStage().features(TextTokenizers(), MEL_48K, 1.0)


def test_previews_let_hear():
    wave = waves()[:2].astype(np.float32)
    params = {"vocoder": jax.tree.map(np.float32, random_params())}
    preview = dataclasses.replace(STAGE, previewed=1).preview(
        NETWORKS, params, given_of(wave, "float32"), jax.random.key(0)
    )
    assert set(preview.waves) == set(preview.images) == {"clip_0_original", "clip_0_vocoder"}
    original, rate = preview.waves["clip_0_original"]
    np.testing.assert_array_equal(original, wave[0])
    assert rate == 16_000
    mel = np.log(np.maximum(magnitudes(wave) @ bank(), 1e-5))
    np.testing.assert_allclose(preview.images["clip_0_original"], mel[0], atol=1e-4)
    made = jax.jit(VOCODER.apply)({"params": params["vocoder"]}, jnp.asarray(mel, jnp.float32))
    assert (
        relative_error(preview.waves["clip_0_vocoder"][0], made[0]) < 1e-2
    )  # Griffin-Lim spreads rounding


def test_it_learns_a_batch_by_heart():
    """Two tones in one band each, of which the bands alone would make noise a band wide."""
    stage, module = MagnitudeStage(segment_samples=SAMPLES), VOCODER.clone(features=32, hidden=64)
    params = {"vocoder": jax.jit(functools.partial(init_params, module))(jax.random.key(0))}
    (player,) = stage.players({"vocoder": module})
    hertz = np.array([3_100.0, 5_900.0])
    given = given_of(np.sin(2 * np.pi * hertz[:, None] * np.arange(800) / 16_000), "float32")
    adam = optax.adam(1e-2)

    @jax.jit
    def run(params):
        def step(state, _):
            params, moments = state
            (_, metrics), slope = jax.value_and_grad(player.loss, has_aux=True)(params, given)
            update, moments = adam.update(slope, moments)
            return (optax.apply_updates(params, update), moments), metrics

        return jax.lax.scan(step, (params, adam.init(params)), None, 60)[1]

    metrics = run(params)
    for name, share in {"log_error": 0.4, "convergence": 0.2}.items():
        values = np.asarray(metrics[name].total / metrics[name].count)
        assert values[-10:].mean() < share * values[0], name
        assert values[1] > 0.5 * values[0], name  # and not at once
