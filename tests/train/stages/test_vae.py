"""The VAE's stage against the authors' losses on the same weights, and what it promises of its own."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.audio.log_mel import MEL_16K
from ldm_jax.convert import discriminators, lpips
from ldm_jax.convert import vae as convert_vae
from ldm_jax.convert.checkpoint import abstract_params, init_params
from ldm_jax.convert.rules import convert, export
from ldm_jax.data.features import TextTokenizers
from ldm_jax.models.patchgan import PatchGAN
from ldm_jax.train.metrics import figures
from ldm_jax.train.stages.stage import Given
from ldm_jax.train.stages.vae import VAEStage
from tests import cases_vae_training as cases
from tests.golden import FLOAT32_BOUND, FLOAT64_BOUND, load, relative_error

RUNS: list = [pytest.param("logistic", "float32", FLOAT32_BOUND, marks=pytest.mark.slow)]
RUNS += [(name, "float64", FLOAT64_BOUND) for name in cases.CASES]
QUICKLY_COMPILED = {"xla_backend_optimization_level": 0}
NAMES = {"vanilla": "logistic"}


def stage_of(case: dict) -> VAEStage:
    """In our names."""
    values = {**cases.DEFAULTS, **case}
    return VAEStage(
        perceptual_weight=values["perceptual_weight"],
        kl_weight=values["kl_weight"],
        logvar=values.get("logvar_init", 0.0),
        disc_loss=NAMES.get(values.get("disc_loss"), "hinge"),
        disc_weight=values["disc_weight"],
        disc_start=values["disc_start"],
    )


def tables(networks: dict) -> dict:
    return {
        "vae": convert_vae.DIFFUSERS,
        "discriminator": discriminators.patchgan_table(networks["discriminator"].layers),
        "lpips": lpips.TABLE,
    }


def opened(name: str, dtype: str) -> tuple[dict, dict]:
    """(networks, parameters) from the golden file's names, as a trainer's checkpoint has them."""
    tensors = cases.weights(load(f"vae_training_{name}")[0])
    networks = {
        "vae": convert_vae.from_config(cases.VAE),
        "discriminator": discriminators.patchgan_of(tensors),
        "lpips": lpips.network_of(tensors),
    }
    sources = {"vae": cases.part(tensors, "vae."), "discriminator": tensors, "lpips": tensors}
    params = {
        part: jax.tree.map(
            lambda x: jnp.asarray(x, dtype),
            convert(sources[part], tables(networks)[part], abstract_params(module), network=part),
        )
        for part, module in networks.items()
    }
    return {part: module.clone(dtype=dtype) for part, module in networks.items()}, params


def given_of(params: dict, step: int, dtype: str, **changed: np.ndarray) -> Given:
    inputs = {name: jnp.asarray(x, dtype) for name, x in (cases.inputs() | changed).items()}
    return Given(
        frozen={"lpips": params["lpips"]},
        batch={"log_mel": inputs["mel"]},
        draws={"noise": inputs["noise"]},
        constants={},
        step=jnp.asarray(step, jnp.int32),
    )


@functools.cache
def compiled(dtype: str, arguments: tuple) -> dict:
    """(loss, figures) and gradient of each player, by name, as functions of (all parameters, given)."""
    case = dict(arguments)
    name = next(name for name, other in cases.CASES.items() if case.items() <= other.items())
    networks, _ = opened(name, dtype)

    def gradient(player):
        def of(params, given):
            (part,) = player.networks
            return jax.value_and_grad(
                lambda mine: player.loss({**params, part: mine}, given), has_aux=True
            )(params[part])

        return jax.jit(of, compiler_options=QUICKLY_COMPILED)

    return {player.name: gradient(player) for player in stage_of(case).players(networks)}


@functools.cache
def answers(name: str, dtype: str) -> dict:
    """Losses, figures and gradients in the peers' names."""
    case = cases.CASES[name]
    arguments = tuple((key, value) for key, value in case.items() if key != "step")
    with jax.enable_x64(dtype == "float64"):
        networks, params = opened(name, dtype)
        given = given_of(params, case["step"], dtype)
        players = {player.name: player.networks[0] for player in stage_of(case).players(networks)}
        out = {}
        for player, gradient_of in compiled(dtype, arguments).items():
            (value, metrics), gradient = gradient_of(params, given)
            assert value.dtype == dtype
            gradient = jax.tree.map(np.asarray, gradient)
            exported = export(gradient, tables(networks)[players[player]], network=player)
            out |= figures(metrics) | {player: np.asarray(value), f"{player}_gradient": exported}
        return out


@pytest.mark.parametrize(("name", "dtype", "bound"), RUNS)
def test_losses_and_gradients_are_the_authors(name, dtype, bound):
    golden, ours = load(f"vae_training_{name}")[1], answers(name, dtype)
    for player in ("generator", "discriminator"):
        if player == "discriminator" and golden["disc_factor"] == 0:
            assert ours[player] == 0
            assert all((x == 0).all() for x in ours[f"{player}_gradient"].values())
            continue
        assert relative_error(ours[player], golden[player]) < bound
        gradient = cases.probe(ours[f"{player}_gradient"])
        assert relative_error(gradient, golden[f"{player}_gradient"]) < bound


@pytest.mark.parametrize("name", cases.CASES)
def test_figures_are_the_authors(name):
    golden, ours = load(f"vae_training_{name}")[1], answers(name, "float64")
    pairs = {"kl": "kl_loss", "perceptual_loss": "lpips"} | {
        name: name for name in ("nll_loss", "g_loss", "d_weight", "logits_real", "logits_fake")
    }
    judged = {"g_loss", "d_weight", "logits_real", "logits_fake"}
    for mine, theirs in pairs.items():
        if mine in judged & ours.keys() and golden["disc_factor"] == 0:
            assert np.isnan(ours[mine])  # counted nowhere: the discriminator was not called
        elif mine in ours:
            # Figures are kept in float32.
            assert relative_error(ours[mine], golden[theirs].mean()) < 1e-5, mine
    perceptual = stage_of(cases.CASES[name]).perceptual_weight * ours.get("perceptual_loss", 0.0)
    assert relative_error(ours["rec_loss"] + perceptual, golden["rec_loss"]) < 1e-5


def test_published_weights_are_told_by_shape():
    """Also behind the names of a trainer's whole checkpoint; what is not theirs is left."""
    tensors = cases.weights(load("vae_training_logistic")[0])
    inside = cases.part(tensors, "loss.discriminator.")
    assert discriminators.patchgan_of(inside) == discriminators.patchgan_of(tensors)
    table = discriminators.patchgan_table(3)
    expected = abstract_params(PatchGAN(features=cases.PATCHGAN_FEATURES))
    params = convert(tensors, table, expected, network="PatchGAN")
    for name, x in export(params, table, network="PatchGAN").items():
        np.testing.assert_array_equal(x, inside[name])


def test_alone_the_vae_is_one_player():
    stage = VAEStage(disc_weight=0.0)
    assert stage.trained() == ("vae",)
    assert [p.name for p in stage.players({})] == ["model"]
    assert stage.accumulates()
    assert not VAEStage().accumulates()
    assert VAEStage().frozen() == ()
    assert VAEStage(perceptual_weight=1.0).frozen() == ("lpips",)


def test_rows_weigh_the_same():
    """Without a discriminator the loss is the mean of the rows' losses."""
    networks, params = opened("heard", "float32")
    stage = VAEStage(disc_weight=0.0, kl_weight=10.0)
    (player,) = stage.players(networks)
    inputs = cases.inputs()

    @functools.partial(jax.jit, compiler_options=QUICKLY_COMPILED)
    def loss(mel, noise):
        return player.loss(params, given_of(params, 0, "float32", mel=mel, noise=noise))[0]

    whole = loss(inputs["mel"], inputs["noise"])
    each = [loss(inputs["mel"][i : i + 1], inputs["noise"][i : i + 1]) for i in range(2)]
    assert float(whole) == pytest.approx(float(sum(each)) / 2, rel=1e-5)


def test_draws_noise_for_the_latents():
    networks, _ = opened("heard", "float32")
    batch = {"log_mel": jnp.zeros((3, 40, 32))}
    noise = VAEStage().draw(networks, jax.random.key(1), batch, jnp.int32(0))["noise"]
    assert noise.shape == (3, 20, 16, 3)
    assert abs(float(noise.std()) - 1) < 0.05
    with pytest.raises(ValueError, match=r"41 frames and 32 bands.*multiples of 2"):
        VAEStage().draw(
            networks, jax.random.key(1), {"log_mel": jnp.zeros((3, 41, 32))}, jnp.int32(0)
        )


def test_what_does_not_fit_is_said():
    networks, _ = opened("heard", "float32")
    VAEStage().check(networks)
    with pytest.raises(ValueError, match="reconstruction is 'huber'; it can be l1 or l2"):
        VAEStage(reconstruction="huber").check(networks)
    with pytest.raises(ValueError, match="disc_loss is 'wgan'"):
        VAEStage(disc_loss="wgan").check(networks)
    with pytest.raises(ValueError, match=r"kl_weight is -1\.0; it must be at least 0"):
        VAEStage(kl_weight=-1.0).check(networks)
    with pytest.raises(ValueError, match="'vae' is a PatchGAN"):
        VAEStage().check({"vae": PatchGAN()})


def test_previews_reconstruct():
    networks, params = opened("heard", "float32")
    last = {"kernel": jnp.zeros((3, 3, 8, 1)), "bias": jnp.full(1, -2.5)}
    flat = {**params["vae"], "decoder": {**params["vae"]["decoder"], "conv_out": last}}
    preview = VAEStage(previewed=1).preview(
        networks, {"vae": flat}, given_of(params, 0, "float32"), jax.random.key(0)
    )
    mel = cases.inputs()["mel"].astype(np.float32)
    assert set(preview.images) == {"clip_0_original", "clip_0_reconstruction"}
    np.testing.assert_array_equal(preview.images["clip_0_original"], mel[0])
    np.testing.assert_array_equal(preview.images["clip_0_reconstruction"], np.full((40, 32), -2.5))
    assert preview.figures["l1"] == pytest.approx(float(np.abs(mel + 2.5).mean()), rel=1e-5)


def test_reads_log_mels():
    features = VAEStage().features(TextTokenizers(), MEL_16K, 10.24)
    assert [type(x).__name__ for x in features] == ["LogMel"]


def test_new_discriminators_begin_as_published():
    start = jax.jit(
        functools.partial(init_params, PatchGAN(features=16)), compiler_options=QUICKLY_COMPILED
    )
    params = start(jax.random.key(0))
    assert np.std(params["conv_2"]["kernel"]) == pytest.approx(0.02, rel=0.02)
    assert np.mean(params["norm_3"]["scale"]) == pytest.approx(1.0, abs=0.01)
    assert np.std(params["norm_3"]["scale"]) == pytest.approx(0.02, rel=0.3)
    assert sum(x.size for x in jax.tree.leaves(abstract_params(PatchGAN()))) == 2_763_585
