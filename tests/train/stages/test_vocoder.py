"""The vocoder's stage against HiFi-GAN's own code on the same weights, and what it promises of its own."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.audio.log_mel import MEL_16K, MEL_48K, LogMelSettings, log_mel
from ldm_jax.audio.multi_resolution_stft import multi_resolution_stft
from ldm_jax.convert import discriminators
from ldm_jax.convert import vocoder as convert_vocoder
from ldm_jax.convert.checkpoint import abstract_params, init_params
from ldm_jax.convert.rules import convert, export
from ldm_jax.data.features import TextTokenizers
from ldm_jax.models.vocos import Vocos
from ldm_jax.models.wave_discriminators import WaveDiscriminators
from ldm_jax.train.metrics import figures
from ldm_jax.train.stages.stage import Given
from ldm_jax.train.stages.vocoder import VocoderStage
from tests import cases_vocoder
from tests import cases_vocoder_training as cases
from tests.cases_vae_training import probe
from tests.golden import FLOAT32_BOUND, load, relative_error

# The published spectrogram takes the root of |X|^2 + 1e-9.
FLOAT64_BOUND = 1e-7
QUICKLY_COMPILED = {"xla_backend_optimization_level": 0}
STAGE = VocoderStage(segment_samples=cases.SAMPLES, loss_fmax=cases.LOSS_FMAX, **cases.MEL)
DISCRIMINATORS = WaveDiscriminators(
    period_widths=tuple(x // cases.NARROWING for x in WaveDiscriminators.period_widths),
    scale_widths=tuple(x // cases.NARROWING for x in WaveDiscriminators.scale_widths),
)


def networks_of(dtype: str) -> dict:
    vocoder = convert_vocoder.from_config(cases.VOCODER)
    return {
        "vocoder": vocoder.clone(dtype=dtype),
        "discriminator": DISCRIMINATORS.clone(dtype=dtype),
    }


def tables() -> dict:
    return {
        "vocoder": convert_vocoder.TRANSFORMERS,
        "discriminator": discriminators.wave_table(DISCRIMINATORS),
    }


def opened(dtype: str) -> dict:
    """Parameters under the names of the golden files."""
    tensors = {
        "vocoder": cases_vocoder.weights(cases.VOCODER, load("vocoder_rates_of_16k")[0]),
        "discriminator": cases.weights(load("vocoder_training")[0]),
    }
    return {
        name: jax.tree.map(
            lambda x: jnp.asarray(x, dtype),
            convert(tensors[name], tables()[name], abstract_params(module), network=name),
        )
        for name, module in networks_of(dtype).items()
    }


def given_of(wave: np.ndarray, dtype: str, **batch: np.ndarray) -> Given:
    start = jnp.zeros(len(wave), jnp.int32)
    arrays = {name: jnp.asarray(x, dtype) for name, x in {"wave": wave, **batch}.items()}
    return Given({}, arrays, {"start": start}, {}, jnp.zeros((), jnp.int32))


@functools.cache
def answers(dtype: str) -> dict:
    """Losses, figures and gradients in the peers' names."""
    with jax.enable_x64(dtype == "float64"):
        networks, params = networks_of(dtype), opened(dtype)
        given, out = given_of(cases.inputs()["wave"], dtype), {}
        for player in STAGE.players(networks):
            (part,) = player.networks

            def loss(mine, params, given, part=part, player=player):
                return player.loss({**params, part: mine}, given)

            gradient_of = jax.jit(
                jax.value_and_grad(loss, has_aux=True), compiler_options=QUICKLY_COMPILED
            )
            (value, metrics), gradient = gradient_of(params[part], params, given)
            assert value.dtype == dtype
            exported = export(gradient, tables()[part], network=part)
            left = ("mean", "scale", "weight_u")
            kept = {k: x for k, x in exported.items() if not k.endswith(left)}
            out |= figures(metrics) | {player.name: float(value), f"{player.name}_gradient": kept}
            out |= {k: x for k, x in exported.items() if k.endswith("weight_u")}
        return out


# In float64 in `make test-all`: compilation takes its time.
@pytest.mark.parametrize(
    ("dtype", "bound"),
    [
        ("float32", FLOAT32_BOUND),
        pytest.param("float64", FLOAT64_BOUND, marks=pytest.mark.slow),
    ],
)
def test_losses_and_gradients_are_the_authors(dtype, bound):
    golden, ours = load("vocoder_training")[1], answers(dtype)
    for player in ("discriminator", "generator"):
        assert relative_error(ours[player], golden[player]) < bound
        gradient = probe(ours[f"{player}_gradient"])
        assert relative_error(gradient, golden[f"{player}_gradient"]) < bound
    assert relative_error(ours["mel_error"], golden["mel_error"]) < max(bound, 1e-6)
    assert relative_error(ours["fooling_loss"], golden["fooling_loss"]) < max(bound, 1e-6)
    twice = 2 * ours["feature_loss"]
    assert relative_error(twice, golden["twice_feature_loss"]) < max(bound, 1e-6)
    vectors = [x for name, x in ours.items() if name.endswith("weight_u")]
    assert len(vectors) == 8
    assert all((x == 0).all() for x in vectors)


def test_before_its_start_a_discriminator_is_not_heard_and_learns_nothing():
    networks, params = networks_of("float32"), opened("float32")
    given, golden = given_of(cases.inputs()["wave"], "float32"), load("vocoder_training")[1]
    late = dataclasses.replace(STAGE, disc_start=3)
    discriminator, generator = late.players(networks)

    @jax.jit
    def losses(given):
        judge = {"discriminator": params["discriminator"]}
        learned = jax.value_and_grad(lambda mine: discriminator.loss({**params, **mine}, given)[0])(
            judge
        )
        return learned, generator.loss(params, given)

    for step, heard in ((2, False), (3, True)):
        (loss, slope), (whole, metrics) = losses(given._replace(step=jnp.int32(step)))
        if heard:
            assert relative_error(loss, golden["discriminator"]) < FLOAT32_BOUND
            assert relative_error(whole, golden["generator"]) < FLOAT32_BOUND
        else:
            assert loss == 0
            assert all((x == 0).all() for x in jax.tree.leaves(slope))
            error = figures(metrics)["mel_error"]
            np.testing.assert_allclose(whole, late.mel_weight * error, rtol=1e-6)


def test_the_stft_loss_is_that_of_the_stretch():
    networks, params = networks_of("float32"), opened("float32")
    wave = cases.inputs()["wave"]
    given = given_of(wave, "float32")
    more = dataclasses.replace(STAGE, stft_weight=2.5, disc_start=1)
    less = dataclasses.replace(more, stft_weight=0.0)
    with_it, without = (stage.players(networks)[1].loss(params, given)[0] for stage in (more, less))
    mel = log_mel(
        jnp.asarray(wave, jnp.float32),
        LogMelSettings(**cases.MEL, hop=160, num_mels=cases.VOCODER["model_in_dim"]),
    )
    made = networks["vocoder"].apply({"params": params["vocoder"]}, mel)
    size = min(made.shape[-1], wave.shape[-1])
    told = multi_resolution_stft(np.asarray(made)[:, :size], wave[:, :size])
    np.testing.assert_allclose(with_it - without, 2.5 * sum(told).mean(), rtol=1e-4)


def test_a_vocos_may_stand_in_its_place():
    """Its own hop, and its waves in the formula."""
    vocos = Vocos(8, 4, 4, 1, hop=128, n_fft=512, fmax=6_000.0)
    networks = networks_of("float32") | {"vocoder": vocos}
    params = opened("float32") | {"vocoder": init_params(vocos, jax.random.key(0))}
    wave = cases.inputs()["wave"].astype(np.float32)
    stage = dataclasses.replace(STAGE, disc_start=1, segment_samples=1024)
    _, generator = stage.players(networks)
    given = given_of(wave, "float32")._replace(draws={"start": jnp.array([0, 3])})
    loss, _ = generator.loss(params, given)
    real = np.stack([wave[0, :1024], wave[1, 384:1408]])
    made = vocos.apply({"params": params["vocoder"]}, jnp.asarray(log_mel(real, vocos.mel)))
    assert made.shape == (2, 1024)
    heard = dataclasses.replace(vocos.mel, fmax=STAGE.loss_fmax)
    error = np.abs(log_mel(real, heard) - log_mel(np.asarray(made), heard)).mean()
    np.testing.assert_allclose(loss, 45 * error, rtol=1e-5)


def test_spectral_norm_goes_on_after_a_step():
    """After as many iterations as the published code makes in a step, and after one as it has it then."""
    params, given = opened("float32"), given_of(cases.inputs()["wave"], "float32")
    golden = load("vocoder_training")[1]["spectral_u"]
    written = STAGE.after({}, params, given)["discriminator"]
    assert set(written) == {"msd_0"}
    assert set(written["msd_0"]) == set(params["discriminator"]["msd_0"])
    layers = sorted(written["msd_0"], key=lambda name: (name != "conv_post", name))
    ones = []
    for layer in layers:
        kernel = np.asarray(params["discriminator"]["msd_0"][layer]["kernel"], np.float64)
        matrix = kernel.reshape(-1, kernel.shape[-1])
        u = np.asarray(params["discriminator"]["msd_0"][layer]["kernel_u"], np.float64)
        for i in range(4):
            u = matrix.T @ (matrix @ u)
            u /= np.linalg.norm(u)
            if i == 0:
                ones.append(u)
        assert relative_error(written["msd_0"][layer]["kernel_u"], u) < FLOAT32_BOUND
    assert relative_error(np.concatenate(ones), golden) < 1e-6


def test_published_sizes_of_the_discriminators():
    """As counted of the published classes; msd with the 4,097 numbers of spectral norm's vectors."""
    params = abstract_params(WaveDiscriminators())
    counts = {"mpd": 0, "msd": 0}
    for name, tree in params.items():
        counts[name[:3]] += sum(x.size for x in jax.tree.leaves(tree))
    assert counts == {"mpd": 41_105_770, "msd": 29_618_821 + 4_097}


def test_segments_lie_within_the_sound():
    networks = networks_of("float32")
    samples = np.repeat(np.array([0, cases.SAMPLES, cases.SAMPLES + 320, 8000], np.int32), 500)
    batch = {"wave": jnp.zeros((2000, 8000)), "samples": jnp.asarray(samples)}
    start = STAGE.draw(networks, jax.random.key(0), batch, jnp.int32(0))["start"].reshape(4, 500)
    frames = (8000 - cases.SAMPLES) // 160
    assert [set(np.asarray(row)) for row in start[:3]] == [{0}, {0}, {0, 1, 2}]
    assert set(np.asarray(start[3])) == set(range(frames + 1))
    short = {"wave": jnp.zeros((2, 1000)), "samples": jnp.zeros(2, jnp.int32)}
    with pytest.raises(ValueError, match="clips of 1000 samples; segment_samples is 1632"):
        STAGE.draw(networks, jax.random.key(0), short, jnp.int32(0))


def test_a_segment_and_its_spectrogram_lie_together():
    """Cut from the clip, frame k is of the samples from 160 k on, and gives the wave that is compared with them."""
    networks, params = networks_of("float32"), opened("float32")
    wave = np.random.default_rng(0).standard_normal((2, 6400)).astype(np.float32)
    mel = log_mel(wave, STAGE._mel(networks["vocoder"]))
    stage = dataclasses.replace(STAGE, from_clip=True)
    given = given_of(wave, "float32", log_mel=mel)._replace(draws={"start": jnp.asarray([3, 20])})
    pair = jax.jit(lambda p: stage._pair(networks, p, given))(params)
    for row, first in enumerate((3, 20)):
        np.testing.assert_array_equal(
            pair.real[row], wave[row, 160 * first : 160 * first + cases.SAMPLES]
        )
    cut = jnp.asarray(np.stack([mel[0, 3:13], mel[1, 20:30]]))
    expected = jax.jit(networks["vocoder"].apply)({"params": params["vocoder"]}, cut)
    assert relative_error(pair.fake, expected) < FLOAT32_BOUND
    own = log_mel(np.asarray(pair.real), STAGE._mel(networks["vocoder"]))
    np.testing.assert_allclose(own[:, 2:-2], cut[:, 2:-2], atol=1e-4)  # the ends are reflected


def test_what_does_not_fit_is_said():
    networks = networks_of("float32")
    STAGE.check(networks)
    with pytest.raises(ValueError, match="segment_samples is 300; a log-mel takes at least 512"):
        dataclasses.replace(STAGE, segment_samples=300).check(networks)
    with pytest.raises(ValueError, match="'vocoder' is a WaveDiscriminators"):
        STAGE.check({"vocoder": DISCRIMINATORS})
    with pytest.raises(ValueError, match=r"stage\.sample_rate is 16000.*48000"):
        VocoderStage().features(TextTokenizers(), MEL_48K, 1.0)


def test_reads_waves():
    names = [
        [
            type(x).__name__
            for x in VocoderStage(from_clip=on).features(TextTokenizers(), MEL_16K, 1.0)
        ]
        for on in (False, True)
    ]
    assert names == [["Wave"], ["Wave", "LogMel"]]


def test_published_segments_are_whole_frames():
    """8192 samples have 51 frames, of which the published 16 kHz generator makes 8192 samples; likewise at 48 kHz."""
    for rate, mel, samples in ((16_000, MEL_16K, 8192), (48_000, MEL_48K, 15_360)):
        config = convert_vocoder.OFFICIAL_CONFIGS[rate]
        module = convert_vocoder.from_official(config, exact_length=rate == 48_000)
        frames = jnp.zeros((1, mel.frames(samples), mel.num_mels))
        made = jax.eval_shape(lambda x: module.init_with_output(jax.random.key(0), x)[0], frames)  # noqa: B023
        assert made.shape == (1, samples)


def test_previews_let_hear():
    networks, params = networks_of("float32"), opened("float32")
    rng = np.random.default_rng(0)
    wave = rng.uniform(-0.5, 0.5, (2, 1600)).astype(np.float32)
    quiet = jax.tree.map(jnp.zeros_like, params["vocoder"])
    quiet["conv_post"]["bias"] = jnp.full((1,), 0.25)
    preview = dataclasses.replace(STAGE, previewed=1).preview(
        networks, {"vocoder": quiet}, given_of(wave, "float32"), jax.random.key(0)
    )
    assert set(preview.waves) == set(preview.images) == {"clip_0_original", "clip_0_vocoder"}
    np.testing.assert_array_equal(preview.waves["clip_0_original"][0], wave[0])
    np.testing.assert_allclose(preview.waves["clip_0_vocoder"][0], np.tanh(0.25), rtol=1e-6)
    assert preview.waves["clip_0_vocoder"][1] == 16_000
    error = np.abs(preview.images["clip_0_original"] - preview.images["clip_0_vocoder"]).mean()
    assert preview.figures["log_mel_l1"] == pytest.approx(error, rel=0.1)
