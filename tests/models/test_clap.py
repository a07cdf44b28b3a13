"""CLAP without torch: against golden outputs of transformers, and what must not matter."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.convert import clap as convert_clap
from ldm_jax.convert import rules
from ldm_jax.models.clap import CLAP
from ldm_jax.models.htsat import bicubic_taps, mel_to_image
from ldm_jax.models.swin import from_windows, shift_bias, to_windows
from tests import cases_clap as cases
from tests.golden import FLOAT32_BOUND, FLOAT64_BOUND, load, random_array, relative_error

OUTPUTS = ("text_embeds", "audio_embeds", "logits_per_text", "logits_per_audio")


def expected(module: CLAP):
    channels = (4,) if module.audio.fusion else ()
    features = jnp.zeros((1, *channels, 8, module.audio.num_mels))
    arguments = (jnp.zeros((1, 2), jnp.int32), jnp.ones((1, 2), bool), features, jnp.ones(1, bool))
    return jax.eval_shape(module.init, jax.random.key(0), *arguments)["params"]


def convert(config: dict, tensors: dict[str, np.ndarray], table=convert_clap.TRANSFORMERS):
    module = convert_clap.from_config(config)
    return module, rules.convert(tensors, table, expected(module), network="CLAP")


def everything(module: CLAP, token_ids, mask, features, is_longer) -> dict:
    embeds = module(token_ids, mask, features, is_longer)
    return dict(zip(OUTPUTS, (*embeds, *module.logits(*embeds)), strict=True))


def prepare(config, tensors, *, dtype: str):
    """Our network with published tensors, in `dtype` throughout, as a function of its inputs."""
    module, params = convert(config, tensors)
    module = module.clone(dtype=jnp.dtype(dtype))
    compiled = jax.jit(functools.partial(module.apply, method=everything))
    kinds = {"features": np.promote_types(dtype, np.float32), "token_ids": np.int32}
    with jax.enable_x64(dtype == "float64"):
        params = jax.tree.map(lambda x: jnp.asarray(x, dtype), params)

    def run(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        with jax.enable_x64(dtype == "float64"):
            arrays = {key: jnp.asarray(x, kinds.get(key)) for key, x in inputs.items()}
            return {key: np.asarray(x) for key, x in compiled({"params": params}, **arrays).items()}

    return run


@functools.cache
def stored(name: str):
    shapes, outputs = load(f"clap_{name}")
    return cases.TINY[name], cases.weights(shapes), outputs


@functools.cache
def prepared(name: str, dtype: str):
    config, tensors, _ = stored(name)
    return prepare(config, tensors, dtype=dtype)


@pytest.mark.parametrize(
    ("dtype", "bound"), [("float32", FLOAT32_BOUND), ("float64", FLOAT64_BOUND)]
)
@pytest.mark.parametrize("name", cases.TINY)
def test_golden(name, dtype, bound):
    config, _, outputs = stored(name)
    ours = prepared(name, dtype)(cases.inputs(config))
    for key in OUTPUTS:
        assert ours[key].dtype == dtype
        assert relative_error(ours[key], outputs[key]) < bound, key


def test_padding_changes_no_text():
    """Neither how much of it there is nor what stands in it."""
    run, inputs = prepared("plain", "float32"), cases.inputs(cases.TINY["plain"])
    ids, mask = inputs["token_ids"], inputs["mask"]
    longer = run(inputs)["text_embeds"]
    filled = run(inputs | {"token_ids": np.where(mask, ids, 9)})["text_embeds"]
    np.testing.assert_array_equal(filled, longer)
    shorter = run(inputs | {"token_ids": ids[1:, :7], "mask": mask[1:, :7]})["text_embeds"]
    assert relative_error(shorter, longer[1:]) < 1e-6


def test_only_longer_clips_are_fused():
    """Channels 1 to 3 count where `is_longer`, and nowhere else; a clip does not see its batch."""
    run, inputs = prepared("fused", "float32"), cases.inputs(cases.TINY["fused"])
    features, longer = inputs["features"], inputs["is_longer"]
    before = run(inputs)["audio_embeds"]
    other = np.concatenate([features[:, :1], features[:, 1:][:, ::-1]], axis=1)
    after = run(inputs | {"features": other})["audio_embeds"]
    np.testing.assert_array_equal(after[~longer], before[~longer])
    assert all(
        relative_error(a, b) > 1e-3 for a, b in zip(after[longer], before[longer], strict=True)
    )
    mixed = run(inputs | {"features": np.stack([other[0], *features[1:]])})["audio_embeds"]
    np.testing.assert_array_equal(mixed[1:], before[1:])


def test_half_precision():
    """The embeddings stay float32 and of length 1."""
    config, _, outputs = stored("plain")
    ours = prepared("plain", "bfloat16")(cases.inputs(config))
    for key in OUTPUTS[:2]:
        assert ours[key].dtype == np.float32
        assert 1e-4 < relative_error(ours[key], outputs[key]) < 3e-2
        np.testing.assert_allclose(np.linalg.norm(ours[key], axis=-1), 1, rtol=1e-6)


def test_bicubic_taps():
    """Half way between two places the weights for A = -3/4 are -3/32, 19/32, 19/32, -3/32."""
    places, weights = bicubic_taps(7, 13)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-14)
    np.testing.assert_allclose(weights[::2], np.tile([0, 1, 0, 0], (7, 1)), atol=1e-14)
    np.testing.assert_allclose(weights[1::2], np.tile([-3, 19, 19, -3], (6, 1)) / 32, atol=1e-14)
    np.testing.assert_array_equal(places[1], [0, 0, 1, 2])
    np.testing.assert_array_equal(places[-1], [5, 6, 6, 6])


def test_mel_to_image_folds_time_over_frequency():
    mel = random_array("mel", (2, 3, 64, 4))  # 16 x 16 pixels: 4 pieces of 16 frames
    image = np.asarray(mel_to_image(jnp.asarray(mel), 16))
    for piece in range(4):
        part = mel[:, :, 16 * piece : 16 * (piece + 1)].swapaxes(2, 3)
        np.testing.assert_array_equal(
            image[:, :, 4 * piece : 4 * (piece + 1)], part.astype(np.float32)
        )


def test_windows_are_squares():
    image = np.arange(8 * 8).reshape(1, 8, 8, 1)
    cut = np.asarray(to_windows(jnp.asarray(image), 4))
    np.testing.assert_array_equal(cut[0, 1, :, 0].reshape(4, 4), image[0, :4, 4:, 0])
    np.testing.assert_array_equal(from_windows(jnp.asarray(cut), 4), image)


def test_shifted_windows_attend_to_neighbours_alone():
    """In an image rolled by 2, places of a window meet if they were less than 4 apart before."""
    row, column = np.mgrid[:8, :8]
    rolled = [np.roll(x, (-2, -2), axis=(0, 1))[None, ..., None] for x in (row, column)]
    row, column = (np.asarray(to_windows(jnp.asarray(x), 4))[0, ..., 0] for x in rolled)
    apart = [np.abs(x[:, :, None] - x[:, None, :]) for x in (row, column)]
    near = (apart[0] < 4) & (apart[1] < 4)
    np.testing.assert_array_equal(shift_bias(8, 4, 2), np.where(near, 0.0, -100.0))


@pytest.mark.parametrize("name", cases.TINY)
def test_conversion_is_a_bijection(name):
    config, tensors, _ = stored(name)
    _, params = convert(config, tensors)
    back = rules.export(params, convert_clap.TRANSFORMERS, network="CLAP")
    assert back.keys() == tensors.keys()
    for key, tensor in tensors.items():
        np.testing.assert_array_equal(back[key], tensor, strict=True)


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("name", cases.TINY)
def test_laion_layout(name, prefix):
    config, tensors, _ = stored(name)
    _, params = convert(config, tensors)
    laion = cases.laion_tensors(tensors)
    extras = dict.fromkeys(cases.LAION_EXTRAS, np.zeros(3))
    published = {prefix + key: x for key, x in (laion | extras).items()}
    _, again = convert(config, published, convert_clap.LAION)
    jax.tree.map(functools.partial(np.testing.assert_array_equal, strict=True), again, params)
    back = rules.export(params, convert_clap.LAION, network="CLAP")
    assert back.keys() == laion.keys()
    for key, tensor in laion.items():
        np.testing.assert_array_equal(back[key], tensor, strict=True)


@pytest.mark.parametrize("name", cases.PUBLISHED)
def test_published_parameters(name):
    shapes = expected(convert_clap.from_config(cases.PUBLISHED[name]))
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert count == cases.PUBLISHED_PARAMETERS[name]


@pytest.mark.parametrize("config", [*cases.PUBLISHED.values(), *cases.TINY.values()])
def test_config_comes_back(config):
    assert convert_clap.to_config(convert_clap.from_config(config)) == config


@pytest.mark.parametrize(("variant", "fusion"), cases.LAION_VARIANTS)
def test_laion_variants(variant, fusion):
    published = cases.PUBLISHED[cases.LAION_VARIANTS[variant, fusion]]
    text = published["text_config"] | {"layer_norm_eps": 1e-5}
    config = convert_clap.laion_config(variant, fusion=fusion)
    assert config == published | {"text_config": text}
    width = config["audio_config"]["patch_embeds_hidden_size"]
    tensors = {"audio_branch.patch_embed.proj.weight": np.zeros((width, 1, 4, 4))}
    if fusion:
        tensors["audio_branch.patch_embed.mel_conv2d.weight"] = np.zeros(1)
    for prefix in ("", "module."):
        assert (
            convert_clap.laion_config_of({prefix + key: x for key, x in tensors.items()}) == config
        )


def test_unknown_laion_variants():
    with pytest.raises(rules.ConversionError, match="variant is 'huge'; supported is 'tiny' or"):
        convert_clap.laion_config("huge")
    with pytest.raises(rules.ConversionError, match=r"patch_embed.proj.weight is missing"):
        convert_clap.laion_config_of({})
    tensors = {"audio_branch.patch_embed.proj.weight": np.zeros((96, 4, 4, 4))}
    with pytest.raises(rules.ConversionError, match=r"is \(96, 4, 4, 4\); supported is"):
        convert_clap.laion_config_of(tensors)


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        (None, {"model_type": "clip"}, "model_type is 'clip'; supported is 'clap'"),
        (None, {"projection_hidden_act": "gelu"}, "projection_hidden_act is 'gelu'; supported is"),
        ("text_config", {"hidden_act": "relu"}, "text_config.hidden_act is 'relu'; supported is"),
        ("audio_config", {"fusion_type": "channel_map"}, "fusion_type is 'channel_map'"),
        ("audio_config", {"enable_patch_layer_norm": False}, "enable_patch_layer_norm is False"),
        ("audio_config", {"patch_stride": [2, 2]}, r"patch_stride is \[2, 2\]; supported is"),
        ("audio_config", {"hidden_size": 1024}, "hidden_size is 1024; supported is 768"),
        ("audio_config", {"num_mel_bins": 60}, "num_mel_bins is 60; supported are divisors of"),
        ("audio_config", {"num_attention_heads": [4, 8]}, r"num_attention_heads is \[4, 8\]"),
        ("audio_config", {"spec_size": 128}, "spec_size is 128; supported are multiples of 256"),
    ],
)
def test_unsupported_configs(part, change, message):
    config = cases.PUBLISHED["laion/clap-htsat-unfused"]
    config = config | (change if part is None else {part: config[part] | change})
    with pytest.raises(rules.ConversionError, match=message):
        convert_clap.from_config(config)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("plain", {"features": (1, 300, 16)}, "300 frames, but a 64 x 64 image holds 256"),
        ("plain", {"features": (1, 4, 250, 16)}, r"fusion False: \(1, 250, 16\)"),
        ("plain", {"features": (1, 250, 64)}, r"fusion False: \(1, 250, 16\)"),
        ("plain", {"token_ids": (1, 30), "mask": (1, 30)}, "30 tokens, but there are 20 positions"),
        ("fused", {"features": (1, 250, 16)}, r"fusion True: \(1, 4, 250, 16\)"),
        ("fused", {"features": (1, 3, 250, 16)}, r"fusion True: \(1, 4, 250, 16\)"),
        ("fused", {"is_longer": None}, "a tower with fusion needs is_longer"),
    ],
)
def test_wrong_inputs(name, change, message):
    module = convert_clap.from_config(cases.TINY[name])
    sizes = {"token_ids": (1, 7), "mask": (1, 7), "features": (1, 250, 16), "is_longer": (1,)}
    kinds = {"token_ids": jnp.int32, "mask": bool, "is_longer": bool}
    if name == "fused":
        sizes["features"] = (1, 4, 250, 16)
    sizes |= change
    inputs = {
        key: None if size is None else jnp.zeros(size, kinds.get(key))
        for key, size in sizes.items()
    }
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(module.init, jax.random.key(0), **inputs)
