"""HiFiGAN against transformers, and against torch's own transposed convolution and weight norm."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from ldm_jax.convert import vocoder as convert_vocoder
from ldm_jax.convert.rules import convert, export
from ldm_jax.models.vocoder import ConvTranspose
from tests import cases_vocoder as cases
from tests.golden import FLOAT32_BOUND, FLOAT64_BOUND, random_array, relative_error
from tests.models.test_vocoder import abstract, run
from tests.parity import oracle_vocoder as oracle


def compare(config: dict, inputs: dict, dtype: str) -> float:
    tensors = cases.weights(config, oracle.shapes(config))
    theirs = oracle.run(config, tensors, inputs, dtype=dtype)["wave"]
    assert 0.03 < theirs.std() < 0.9
    return relative_error(run(config, tensors, inputs, dtype=dtype)["wave"], theirs)


@pytest.mark.parametrize("config", cases.TINY.values(), ids=cases.TINY)
@pytest.mark.parametrize(
    ("dtype", "bound"), [("float32", FLOAT32_BOUND), ("float64", FLOAT64_BOUND)]
)
def test_tiny(config, dtype, bound):
    assert compare(config, cases.inputs(config), dtype) < bound


@pytest.mark.slow
@pytest.mark.parametrize("config", [cases.PUBLISHED, cases.PUBLISHED_48K], ids=["16k", "48k"])
def test_published(config):
    assert compare(config, cases.inputs(config, frames=50), "float32") < FLOAT32_BOUND


@pytest.mark.parametrize(
    ("config", "tensors", "parameters"),
    [
        (cases.PUBLISHED, cases.PUBLISHED_TENSORS, cases.PUBLISHED_PARAMETERS),
        (cases.PUBLISHED_48K, cases.PUBLISHED_48K_TENSORS, cases.PUBLISHED_48K_PARAMETERS),
    ],
)
def test_published_tensors(config, tensors, parameters):
    shapes = oracle.shapes(config)
    assert len(shapes) == tensors
    assert sum(np.prod(x) for x in shapes.values()) == parameters + 2 * config["model_in_dim"]


@pytest.mark.parametrize("rate", [2, 3, 5, 6])
def test_exact_length_is_torchs_output_padding(rate):
    """The geometry of the training code's 48 kHz generator."""
    padding = {"padding": rate // 2 + rate % 2, "output_padding": rate % 2}
    layer = torch.nn.ConvTranspose1d(4, 2, 2 * rate, rate, **padding, dtype=torch.float64)
    x = random_array("x", (2, 7, 4))
    with torch.inference_mode():
        theirs = layer(torch.from_numpy(x).mT).mT.numpy()
    assert theirs.shape[1] == 7 * rate
    low = 2 * rate - rate - rate // 2  # as HiFiGAN crops
    kernel = layer.weight.detach().permute(2, 0, 1).numpy()
    variables = {"params": {"kernel": kernel, "bias": layer.bias.detach().numpy()}}
    with jax.enable_x64(True):
        module = ConvTranspose(2, 2 * rate, rate, (low, rate // 2), jnp.float64)
        ours = jax.jit(module.apply)(variables, x)
    assert relative_error(ours, theirs) < 1e-12


@pytest.mark.parametrize("config", cases.TINY.values(), ids=cases.TINY)
def test_export_loads_in_the_peer(config):
    """Config and weights written by us give the peer the same network."""
    tensors = cases.weights(config, oracle.shapes(config))
    module, table = convert_vocoder.from_config(config), convert_vocoder.TRANSFORMERS
    params = convert(tensors, table, abstract(module), network="vocoder")
    exported = export(params, table, network="vocoder")
    written, inputs = convert_vocoder.to_config(module), cases.inputs(config)
    theirs = oracle.run(written, exported, inputs, dtype="float64")
    expected = oracle.run(config, tensors, inputs, dtype="float64")
    jax.tree.map(np.testing.assert_array_equal, theirs, expected)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("parametrized", [False, True])
def test_weight_norm_is_torchs(parametrized):
    config = cases.TINY["rates_of_16k"]
    normed, folded = oracle.weight_normed(config, parametrized=parametrized)
    assert normed.keys() != folded.keys()
    expected, table = abstract(convert_vocoder.from_config(config)), convert_vocoder.TRANSFORMERS
    ours = export(convert(normed, table, expected, network="vocoder"), table, network="vocoder")
    assert ours.keys() == folded.keys()
    for name, tensor in folded.items():
        np.testing.assert_allclose(ours[name], tensor, rtol=1e-6, atol=1e-7)
