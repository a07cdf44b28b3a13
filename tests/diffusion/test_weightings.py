"""Weightings against their authors' own code, identities, and limits at both ends."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.diffusion import bands, schedules, weightings
from ldm_jax.diffusion.schedules import Schedule

TIMESTEPS = [0, 150, 400, 700, 999]
LOG_SNR = schedules.scaled_linear().log_snr[TIMESTEPS]
# What the peers' own classes weigh an error of 1 with at those timesteps of AudioLDM 2's schedule:
# (ours, options, prediction, theirs). Min-SNR's are `GaussianDiffusion.training_losses` of
# TiankaiHang/Min-SNR-Diffusion-Training 5189997, in float64 but for its float32 SNR; P2's the same of
# jychoi118/P2-weighting 3da0947; k-diffusion's `Denoiser.loss` of crowsonkb/k-diffusion 4601bf0 with
# sigma = sigma_t / alpha_t and an error of 1 in x0.
PEERS = {
    "min-snr snr": ("snr", {}, "x0",
        [665.6665039, 2.584628344, 0.3062452674, 0.01592045091, 1.423242356e-4]),
    "min-snr trunc_snr": ("truncated", {}, "x0",
        [665.6665039, 2.584628344, 1, 1, 1]),
    "min-snr inv_snr": ("inverse", {}, "x0",
        [0.001502253697, 0.3869028091, 3.265356541, 62.81229019, 7026.210449]),
    "min-snr min_snr_5": ("min_snr", {}, "x0",
        [5, 2.584628344, 0.3062452674, 0.01592045091, 1.423242356e-4]),
    "min-snr min_snr_5 of eps": ("min_snr", {}, "eps",
        [0.007511269, 1, 1, 1, 1]),
    "min-snr vmin_snr_5": ("min_snr", {}, "v",
        [0.007500001831, 0.7210310514, 0.2344469764, 0.0156709629, 1.423039807e-4]),
    "min-snr max_snr_2 of eps": ("truncated", {"floor": 2}, "eps",
        [1, 1, 6.530713167, 125.6245826, 14052.42045]),
    # Its code for eps, used with v, is TANGO's formula.
    "min-snr min_snr_5 of v": ("tango", {}, "v",
        [0.007511269, 1, 1, 1, 1]),
    "p2 gamma 1": ("p2", {}, "eps",
        [0.0015, 0.27896893, 0.765552998, 0.984329045, 0.999857724]),
    "p2 gamma 0.5": ("p2", {"gamma": 0.5}, "eps",
        [0.038729835, 0.528175116, 0.874958873, 0.992133558, 0.999928832]),
    "p2 k 3": ("p2", {"k": 3}, "eps",
        [0.001495513, 0.179062933, 0.302457899, 0.331573725, 0.333317518]),
    "k-diffusion karras": ("edm", {}, "x0",
        [669.666666667, 6.584628559, 4.306245329, 4.015920451, 4.000142324]),
    "k-diffusion karras, sigma_data 1": ("edm", {"sigma_data": 1}, "x0",
        [666.666666667, 3.584628559, 1.306245329, 1.015920451, 1.000142324]),
    "k-diffusion soft-min-snr": ("soft_min_snr", {"gamma": 4}, "x0",
        [3.976107516, 1.57009832, 0.2844662161, 0.01585733674, 1.423191646e-4]),
    "k-diffusion soft-min-snr, sigma_data 1": ("soft_min_snr", {"gamma": 1}, "x0",
        [0.9985, 0.7210310682, 0.234447023, 0.01567096195, 1.423039752e-4]),
    "k-diffusion snr": ("snr", {}, "x0",
        [665.6666667, 2.584628559, 0.3062453285, 0.01592045073, 1.423242285e-4]),
}  # fmt: skip
# Every weighting, and the options that change its shape.
ALL = [
    *((name, {}) for name in weightings.WEIGHTINGS),
    ("truncated", {"floor": 0.2}),
    ("p2", {"k": 2.0, "gamma": 0.5}),
    ("sigmoid", {"bias": -3.0}),
    ("bsa", {"reading": "sum"}),
    ("bsa", {"reading": "smooth"}),
]


@pytest.mark.parametrize("case", PEERS)
def test_peers(case):
    name, options, prediction, theirs = PEERS[case]
    made = weightings.weighting(name, **options)
    ours = weightings.weight_for(prediction, made, LOG_SNR)
    np.testing.assert_allclose(ours, theirs, rtol=5e-7)


@pytest.mark.parametrize(("name", "options"), ALL)
def test_predictions_have_proportional_errors(name, options):
    """w_x |x0 - x0'|^2 = w_eps |eps - eps'|^2 = w_v |v - v'|^2 for what one denoiser says, at random levels."""
    rng = np.random.RandomState(0)
    log_snr = rng.uniform(-9, 9, 64)
    alpha, sigma = np.sqrt(1 / (1 + np.exp(-log_snr))), np.sqrt(1 / (1 + np.exp(log_snr)))
    x0, eps, wrong = rng.standard_normal((3, 64))
    z = alpha * x0 + sigma * eps
    wrong_eps = (z - alpha * wrong) / sigma
    errors = {
        "x0": x0 - wrong,
        "eps": eps - wrong_eps,
        "v": alpha * eps - sigma * x0 - (alpha * wrong_eps - sigma * wrong),
    }
    made = weightings.weighting(name, **options)
    losses = [weightings.weight_for(p, made, log_snr) * e**2 for p, e in errors.items()]
    np.testing.assert_allclose(losses[1:], [losses[0]] * 2, rtol=1e-10)


@pytest.mark.parametrize(("name", "options"), ALL)
@pytest.mark.parametrize("double", [False, True])
def test_jax_agrees_with_numpy(name, options, double):
    made = weightings.weighting(name, **options)
    log_snr = np.linspace(-12, 12, 49)
    with jax.enable_x64(double):
        for prediction in weightings.GAINS:
            function = functools.partial(weightings.weight_for, prediction, made)
            ours = jax.jit(function)(jnp.asarray(log_snr))
            assert ours.dtype == (jnp.float64 if double else jnp.float32)
            np.testing.assert_allclose(ours, function(log_snr), rtol=1e-12 if double else 3e-6)


def test_identities():
    x = np.linspace(-9, 9, 37)
    w = weightings.weighting
    same = np.testing.assert_allclose
    same(w("sigmoid", bias=np.log(5))(x), w("soft_min_snr", gamma=5)(x), rtol=1e-12)
    same(w("sigmoid", bias=-3)(x), np.exp(x) / (1 + np.exp(x + 3)), rtol=1e-12)
    same(w("soft_min_snr", gamma=3)(x), 3 * np.exp(x) / (3 + np.exp(x)), rtol=1e-12)
    same(w("edm", sigma_data=1)(x), w("snr_plus_one")(x), rtol=1e-12)
    same(w("p2", gamma=0)(x), w("snr")(x), rtol=1e-12)
    same(w("debiased")(x) ** 2, w("snr")(x), rtol=1e-12)
    same(w("inverse")(x) * w("snr")(x), 1, rtol=1e-12)
    same(w("bsa", gamma=np.inf)(x), w("truncated")(x), rtol=1e-12)
    same(w("bsa", floor=1e-9)(x), w("min_snr")(x), rtol=1e-12)
    eps_weight = weightings.weight_for("eps", w("snr"), x)
    np.testing.assert_array_equal(eps_weight, 1)  # exactly, so that nothing is lost by weighing
    np.testing.assert_array_equal(weightings.weight_for("v", w("snr_plus_one"), x), 1)


def test_tango_lies_between_1_and_6():
    """Its range on x0: 1 at pure noise, 6 at SNR = 5, 5 for clean latents; 1 on v's error below SNR 5."""
    x = np.linspace(-30, 30, 6001)
    ours = weightings.tango(x)
    assert ours.min() >= 1
    assert ours.max() == pytest.approx(6, abs=0.02)
    assert x[ours.argmax()] == pytest.approx(np.log(5), abs=0.01)
    np.testing.assert_allclose(ours[[0, -1]], [1, 5], rtol=1e-9)


@pytest.mark.parametrize(
    ("reading", "at_0", "at_1", "at_infinity"),
    [("clip", 1, 1, 5), ("sum", 1, 2, 6), ("smooth", 1, 1 + 5 / 6, 6)],
)
def test_bsa_is_bounded_at_both_ends(reading, at_0, at_1, at_infinity):
    """On x0, where neither end is lost (Min-SNR's floor is 0) nor takes all (SNR + 1 has no ceiling)."""
    ours = weightings.weighting("bsa", reading=reading)(np.array([-np.inf, 0, 40.0]))
    np.testing.assert_allclose(ours, [at_0, at_1, at_infinity], rtol=1e-12)
    moved = weightings.weighting("bsa", reading=reading, gamma=8, floor=0.5)
    assert moved(np.array([-40.0]))[0] == pytest.approx(0.5)
    assert moved(np.array([40.0]))[0] == pytest.approx(8 if reading == "clip" else 8.5)


# Percent of the weight on TANGO's schedule at timesteps 999, 959 .. 39: the noisiest, SNR < 1, SNR > 5.
SHARES_OF_25_STEPS = {
    "uniform": (4.00, 68.0, 12.0),
    "snr": (0.008, 6.6, 72.6),
    "snr_plus_one": (1.17, 24.5, 54.9),
    "truncated": (1.36, 23.1, 59.8),
    "min_snr": (0.015, 12.6, 47.4),
    "bsa": (2.24, 38.1, 33.6),
    "debiased": (0.27, 26.4, 43.2),
}


def test_shares_of_a_student_of_25_steps():
    whole = schedules.scaled_linear(beta_start=0.00085, beta_end=0.012)
    student = Schedule(whole.alphas_cumprod[39::40])
    for name, (first, noisy, clean) in SHARES_OF_25_STEPS.items():
        weights = weightings.weighting(name)(student.log_snr)
        shares = 100 * bands.shares(weights, student.log_snr, (0.0, np.log(5)))
        np.testing.assert_allclose(shares[[0, 2]], [noisy, clean], atol=0.051)
        assert 100 * weights[-1] / weights.sum() == pytest.approx(first, abs=0.0051)


ZERO_SNR = schedules.rescale_zero_terminal_snr(schedules.scaled_linear())
REFUSED = {"eps": set(weightings.WEIGHTINGS), "x0": {"inverse"}, "v": {"inverse"}}


@pytest.mark.parametrize("prediction", REFUSED)
@pytest.mark.parametrize("name", weightings.WEIGHTINGS)
def test_pure_noise(name, prediction):
    """A schedule that ends at SNR = 0 takes every bounded weighting with x0 and v, and none with eps."""
    made = weightings.weighting(name)
    weightings.check(made, schedules.scaled_linear(), prediction)
    if name not in REFUSED[prediction]:
        weightings.check(made, ZERO_SNR, prediction)
        return
    with pytest.raises(
        ValueError, match=rf"{name} weighs the error of {prediction} with \S+ at timestep 999"
    ):
        weightings.check(made, ZERO_SNR, prediction)


@pytest.mark.parametrize(
    ("weighting", "message"),
    [
        (lambda log_snr: -log_snr, "with -6.50.* at timestep 0, whose log SNR is 6.50"),
        (lambda log_snr: 0 * log_snr, "with 0 at every timestep"),
        (
            lambda log_snr: log_snr[:-1],
            r"one weight for each of 1000 log SNRs, but the .* gave shape \(999,\)",
        ),
        (weightings.weighting("min_snr", gamma=-1), r"min_snr\(gamma=-1\) weighs .* with -1"),
    ],
)
def test_what_is_refused(weighting, message):
    with pytest.raises(ValueError, match=message):
        weightings.check(weighting, schedules.scaled_linear(), "x0")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("bas", {}, "The weighting must be one of uniform, snr, .* but got 'bas'"),
        ("min_snr", {"gama": 5}, "The weighting 'min_snr' has only gamma, but got gama=5"),
        ("snr", {"gamma": 5}, "The weighting 'snr' has no options, but got gamma=5"),
        ("min_snr", {"gamma": "5"}, "'min_snr' takes a number for gamma, but got '5'"),
        ("bsa", {"floor": 6.0}, "0 < floor <= gamma, but got floor 6 and gamma 5"),
        ("bsa", {"reading": "B1"}, "The reading of bsa must be one of clip, sum, smooth"),
        ("edm", {"sigma_data": 0}, "sigma_data of edm must be above 0, but got 0"),
        ("soft_min_snr", {"gamma": 0}, "gamma of soft_min_snr must be above 0"),
    ],
)
def test_bad_names_and_options(name, options, message):
    with pytest.raises(ValueError, match=message):
        weightings.weighting(name, **options)


def test_unknown_prediction():
    with pytest.raises(
        ValueError, match="The prediction must be one of eps, x0, v, but got 'score'"
    ):
        weightings.weight_for("score", weightings.snr, LOG_SNR)
