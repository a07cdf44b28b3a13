"""The translator's, the diffusion model's and the joint stage: losses and gradients as the released code has them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import cases_joint as cases
from tests.golden import FLOAT32_BOUND, FLOAT64_BOUND, relative_error
from tests.train.stages import joint_setup as setup

BOUNDS = {"float32": FLOAT32_BOUND, "float64": FLOAT64_BOUND}


SLOWLY_COMPILED = ("true", "speech")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name in SLOWLY_COMPILED else name
        for name in cases.CASES
    ],
)
@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
def test_golden(name, dtype):
    """The loss, its parts, and the gradient of every tensor: its norm, and its product with a random direction."""
    expected = setup.stored(cases.kind(name))[1]
    with jax.enable_x64(dtype == "float64"):
        (loss, figures), gradients = setup.loss_and_gradients(name, dtype)
    assert loss.dtype == dtype
    assert relative_error(loss, expected[f"{name}/loss"]) < BOUNDS[dtype]
    for part in ("diffusion", "teacher_forced"):
        if f"{name}/{part}" in expected:
            total, count = figures[f"loss/{part}"]
            assert relative_error(total / count, expected[f"{name}/{part}"]) < FLOAT32_BOUND
    for network, tree in gradients.items():
        mine = cases.summary(setup.in_torch_layout(tree, network), network)
        theirs = expected[f"{name}/{network}"]
        scale = np.linalg.norm(theirs, axis=0)
        assert mine.shape == theirs.shape
        assert (np.linalg.norm(mine - theirs, axis=0) <= BOUNDS[dtype] * scale).all(), network


def norm(tree) -> float:
    return float(sum(jnp.sum(x**2) for x in jax.tree.leaves(tree))) ** 0.5


def test_whose_gradient_reaches_gpt2():
    """The diffusion loss's only through a roll-out, the translator's wherever there are conditions."""
    gradients = {
        (name, weight): setup.loss_and_gradients(name, teacher_weight=weight)[1]
        for name in ("true", "made_up", "dropped")
        for weight in (0.0, 2.0)
    }
    reached = {case: norm({"g": g["gpt2"], "t": g["translator"]}) for case, g in gradients.items()}
    assert reached["true", 0.0] == 0
    assert reached["dropped", 0.0] == 0
    assert reached["dropped", 2.0] == 0
    assert reached["made_up", 0.0] > 1e-3
    assert reached["true", 2.0] > 1e-3
    assert all(norm(g["unet"]) > 1e-3 for g in gradients.values())


@pytest.mark.slow
def test_each_clip_may_be_decided_for_itself():
    """The first clip without conditions, the second with true LOA, the third with a made-up one."""
    decided = {"drop": jnp.array([True, False, False]), "true": jnp.array([True, True, False])}
    (loss, figures), gradients = setup.loss_and_gradients(
        "made_up", draws=decided, drop="clip", switch="clip"
    )
    # Whole batches, of which each clip would be a third: as those of which all other clips are forgotten.
    one = [jnp.arange(3) == i for i in range(3)]
    parts = [
        setup.loss_and_gradients("made_up", draws=draws, drop="clip", switch="clip")
        for draws in (
            {"drop": jnp.array([True] * 3), "true": one[0]},
            {"drop": ~one[1], "true": one[1]},
            {"drop": ~one[2], "true": one[0]},
        )
    ]
    none = parts[0][0][0]
    together = none + (parts[1][0][0] - none) + (parts[2][0][0] - none)
    assert float(loss) == pytest.approx(float(together), rel=1e-5)
    assert float(figures["dropped"].total) == 1
    assert float(figures["loss/teacher_forced"].count) == 2
    expected = jax.tree.map(lambda a, b, c: b + c - a, *(part[1] for part in parts))
    flat = [jnp.concatenate([x.ravel() for x in jax.tree.leaves(g)]) for g in (gradients, expected)]
    assert relative_error(flat[0], flat[1]) < 1e-4


def test_draws():
    """At the rates asked for, for the batch or the clip, and nothing dropped in the first step."""
    modules, _ = setup.networks("base", "float32")
    batch = setup.batch()
    keys = jax.random.split(jax.random.key(0), 4000)

    def drawn(step, **settings):
        stage = setup.stage("made_up", **settings)
        return jax.jit(jax.vmap(lambda key: stage.draw(modules, key, batch, step)))(keys)

    whole = drawn(jnp.int32(1))
    assert whole["drop"].shape == whole["true"].shape == (4000,)
    assert float(whole["drop"].mean()) == pytest.approx(0.1, abs=0.02)
    assert float(whole["true"].mean()) == pytest.approx(0.25, abs=0.03)
    both = float((whole["drop"] & whole["true"]).mean())
    assert both == pytest.approx(0.025, abs=0.01)
    assert not drawn(jnp.int32(0), drop_probability=1.0)["drop"].any()
    clips = drawn(jnp.int32(1), drop="clip", switch="clip", clap_audio=0.31, clap_empty=0.1)
    rates = {"drop": 0.1, "true": 0.25, "clap_audio": 0.31, "clap_empty": 0.1}
    for name, rate in rates.items():
        assert clips[name].shape == (4000, 3)
        assert float(clips[name].mean()) == pytest.approx(rate, abs=0.02)


def test_scales():
    """The VAE's own or a given one, or what makes the variance of samples 1."""
    batch, modules = setup.batch(), setup.networks("base", "float32")[0]
    given = setup.stage("captions").measure(modules, {}, batch)["latent_scale"]
    assert float(given) == pytest.approx(cases.SCALE)
    scale = setup.stage("captions", scale_by_std=True).measure(modules, {}, batch)["latent_scale"]
    mean, deviation = np.split(cases.batch()["latents"], 2, axis=-1)
    samples = mean + deviation * np.random.RandomState(0).standard_normal((2000, *mean.shape))
    assert float(scale) == pytest.approx(1 / samples.std(), rel=1e-3)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("l1", {"penalty": "l3"}, "penalty is 'l3'; it can be 'l1', 'mse'"),
        ("l1", {"time_pool": 3}, "pooling by 3 does not tile AudioMAE's 8 x 2 patches"),
        ("l1", {"speech": True}, "encodings hold no phonemes"),
        ("captions", {"latent_scale": 0.0}, "without a VAE and its scaling factor: name the VAE"),
        ("captions", {"contexts": ("loa",)}, "the UNet has 2 slots for contexts"),
        ("captions", {"film": True}, "film is True, but the UNet's film_dim is None"),
        ("captions", {"drop_probability": 1.5}, "drop_probability is a probability"),
        ("captions", {"weighting": "none"}, "weighting"),
        ("true", {"time_pools": (1, 2)}, "the translator makes LOA of one pooling"),
        ("true", {"switch": "never"}, "switch is 'never'; it can be 'batch', 'clip'"),
        ("true", {"captions": False}, "captions must be True"),
    ],
)
def test_what_does_not_fit_is_told(name, settings, message):
    modules, _ = setup.networks("base", "float32")
    setup.stage(name).check(modules)
    with pytest.raises(ValueError, match=message):
        setup.stage(name, **settings).check(modules)
