"""AudioMAE's weight table and configurations."""

import jax
import numpy as np
import pytest

from ldm_jax.convert import audiomae as conversion
from ldm_jax.convert import rules
from tests import cases_audiomae as cases
from tests.golden import load


@pytest.mark.parametrize("name", cases.CASES)
def test_conversion_is_a_bijection(name):
    tensors = cases.tensors(load(f"audiomae_{name}")[0])
    shapes = cases.expected(cases.module(name))
    params = rules.convert(tensors, conversion.OFFICIAL, shapes, network="AudioMAE")
    back = rules.export(params, conversion.OFFICIAL, network="AudioMAE")
    assert back.keys() == tensors.keys()
    for key, x in tensors.items():
        np.testing.assert_array_equal(back[key], x)


def test_published_sizes():
    for name, config in cases.PUBLISHED.items():
        module = conversion.from_config(config)
        shapes = jax.tree.leaves(cases.expected(module))
        assert sum(x.size for x in shapes) == cases.PARAMETERS[name]
        assert module.grid == (64, 8)
        assert module.averaged_blocks == 3  # blocks 9, 10 and 11
        assert conversion.from_config(conversion.to_config(module)) == module
    encoder = conversion.from_config({**cases.PUBLISHED["vit"], "decoder_mode": None})
    shapes = jax.tree.leaves(cases.expected(encoder))
    assert sum(x.size for x in shapes) == cases.ENCODER_PARAMETERS
    assert conversion.from_config(conversion.to_config(encoder)) == encoder


@pytest.mark.parametrize("name", [*cases.PUBLISHED, None])
def test_configuration_from_shapes(name):
    config = cases.PUBLISHED.get(name, {**cases.PUBLISHED["vit"], "decoder_mode": None})
    module = conversion.from_config(config)
    tensors = rules.export(  # shapes without memory
        jax.tree.map(lambda x: np.broadcast_to(np.float32(0), x.shape), cases.expected(module)),
        conversion.OFFICIAL,
        network="AudioMAE",
    )
    assert conversion.from_config(conversion.config_of(tensors)) == module


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"in_chans": 3}, "in_chans is 3; only 1 is supported"),
        ({"use_custom_patch": True}, "use_custom_patch is True; only False is supported"),
        ({"decoder_mode": 4}, "decoder_mode is 4; supported are 0, 1 and None"),
        ({"no_shift": True}, "no_shift is True; only False is supported"),
        (
            {"contextual_depth": 11},
            "contextual_depth is 11; with a depth of 12 supported are 0 to 10",
        ),
        ({"mlp_ratio": 2.5}, "mlp_ratio is 2.5; only whole numbers are supported"),
        ({"windows": 4}, "unknown keys: windows"),
    ],
)
def test_unsupported_configurations(change, message):
    with pytest.raises(rules.ConversionError, match=message):
        conversion.from_config({**cases.PUBLISHED["vit"], **change})


def test_what_has_no_published_form():
    with pytest.raises(rules.ConversionError, match="2 blocks and 4 heads has no published form"):
        conversion.to_config(cases.module("swin"))
    with pytest.raises(
        rules.ConversionError, match="not the weights of a pretrained AudioMAE: no cls"
    ):
        conversion.config_of({"fc_norm.weight": np.zeros(3)})
