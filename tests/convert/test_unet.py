import jax
import numpy as np
import pytest

from ldm_jax.convert import unet as convert_unet
from ldm_jax.convert.rules import ConversionError, convert, export
from tests import cases_unet as cases
from tests.golden import load
from tests.models.test_unet import abstract


@pytest.mark.parametrize("name", cases.TINY)
def test_weights_come_back(name):
    """Both namings lead to the same parameters, and from them to every tensor, bit for bit."""
    config = cases.TINY[name]
    module = convert_unet.from_config(config)
    tensors = cases.tensors(load(f"unet_{name}")[0])
    official = {cases.official_name(key, config): x for key, x in tensors.items()}
    assert len(official) == len(tensors)
    params = {}
    for naming, named, table in (
        ("diffusers", tensors, convert_unet.DIFFUSERS),
        ("official", official, convert_unet.official_table(module)),
    ):
        params[naming] = convert(named, table, abstract(module), network=naming)
        exported = export(params[naming], table, network=naming)
        assert exported.keys() == named.keys()
        for key, tensor in named.items():
            np.testing.assert_array_equal(exported[key], tensor, err_msg=key)
    jax.tree.map(np.testing.assert_array_equal, params["diffusers"], params["official"])


@pytest.mark.parametrize("name", cases.PUBLISHED)
def test_published_sizes(name):
    module = convert_unet.from_config(cases.PUBLISHED[name])
    leaves = jax.tree.leaves(abstract(module))
    assert sum(leaf.size for leaf in leaves) == cases.PARAMETERS[name]
    assert len(leaves) == cases.TENSORS.get(name, len(leaves))


@pytest.mark.parametrize("name", cases.PUBLISHED)
def test_official_configs_are_the_published_ones_with_heads_of_width_32(name):
    module = convert_unet.from_official(convert_unet.OFFICIAL_CONFIGS[cases.OFFICIAL[name]])
    assert module == convert_unet.from_config(cases.PUBLISHED[name] | cases.WIDE_32)
    assert module.clone(heads=8, head_dim=None) == convert_unet.from_config(cases.PUBLISHED[name])


def test_official_heads_by_number():
    base = convert_unet.OFFICIAL_CONFIGS["audioldm2-full"]
    module = convert_unet.from_official({**base, "num_head_channels": -1, "num_heads": 8})
    assert module == convert_unet.from_config(cases.BASE)


@pytest.mark.parametrize("config", [cases.BASE, *cases.TINY.values()])
def test_config_comes_back(config):
    written = convert_unet.to_config(convert_unet.from_config(config))
    wanted = {key: value for key, value in config.items() if key != "_diffusers_version"}
    if isinstance(config["attention_head_dim"], int):
        assert written == wanted
    assert convert_unet.from_config(written) == convert_unet.from_config(config)


def test_heads_of_one_width_are_written_by_level():
    module = convert_unet.from_official(convert_unet.OFFICIAL_CONFIGS["audioldm2-full"])
    assert convert_unet.to_config(module)["attention_head_dim"] == [4, 8, 12, 20]
    assert convert_unet.from_config(convert_unet.to_config(module)) == module


def test_missing_keys_have_the_values_of_the_class():
    """diffusers 0.32.2, the signature of AudioLDM2UNet2DConditionModel."""
    module = convert_unet.from_config({})
    assert module.block_out_channels == (320, 640, 1280, 1280)
    assert module.attention_levels == (True, True, True, False)
    assert module.cross_attention_dims == (1280,)
    assert (module.in_channels, module.layers_per_block, module.heads) == (4, 2, 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sample_sizes": 256}, "sample_sizes is 256; known are"),
        ({"act_fn": "gelu"}, "act_fn is 'gelu'; supported is 'silu'"),
        (
            {"mid_block_type": None},
            "mid_block_type is None; supported is 'UNetMidBlock2DCrossAttn'",
        ),
        (
            {"down_block_types": ["AttnDownBlock2D"] * 4},
            "down_block_types has 'AttnDownBlock2D'; supported are DownBlock2D, CrossAttn",
        ),
        ({"up_block_types": ["UpBlock2D"] * 4}, "supported are mirror images"),
        ({"block_out_channels": [128, 256]}, "supported are mirror images"),
        (
            {"layers_per_block": [2, 2, 2, 1]},
            r"layers_per_block is \[2, 2, 2, 1\]; supported is one",
        ),
        (
            {"cross_attention_dim": [[None, 768]] * 3 + [[None, 1024]]},
            "cross_attention_dim .* supported is one value for all 4 levels",
        ),
        ({"cross_attention_dim": [[768, 1024]] * 4}, "one context to two slots"),
        ({"cross_attention_dim": [[None, 768, 64, 64]] * 4}, "one context to two slots"),
        ({"attention_head_dim": [8, 8, 12, 16]}, "supported are one number of heads at all levels"),
        ({"attention_head_dim": [8, 8]}, r"attention_head_dim is \[8, 8\]"),
        ({"attention_head_dim": 7}, "attention_head_dim is 7, and 256 channels of level 1"),
        ({"class_embed_type": "timestep"}, "class_embed_type is 'timestep' .* supported are None"),
        ({"class_embed_type": "simple_projection"}, "class_embeddings_concat False"),
    ],
)
def test_unsupported_configs(change, message):
    with pytest.raises(ConversionError, match=message):
        convert_unet.from_config(cases.BASE | change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra_sa_layer": False}, "extra_sa_layer is False; supported is True"),
        ({"use_scale_shift_norm": True}, "use_scale_shift_norm is True; supported is False"),
        ({"context_dim": [768, None, 1024]}, r"\[768, None, 1024\]; supported are widths, then"),
        ({"num_head_channels": 48}, "num_head_channels is 48, and 256 channels of level 1"),
        ({"num_head_channels": -1}, "one of heads and head_dim is to be given"),
    ],
)
def test_unsupported_official_configs(change, message):
    base = convert_unet.OFFICIAL_CONFIGS["audioldm2-full"]
    with pytest.raises(ConversionError, match=message):
        convert_unet.from_official({**base, **change})


def test_diffusers_cannot_have_two_contexts_after_the_second_slot():
    base = convert_unet.OFFICIAL_CONFIGS["audioldm2-full"]
    module = convert_unet.from_official({**base, "context_dim": [768, 1024, 512]})
    with pytest.raises(ConversionError, match="one context to two slots"):
        convert_unet.to_config(module)
