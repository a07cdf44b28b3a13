"""Whole checkpoints: our folder, diffusers' and the official single file."""

import dataclasses
import json
import pathlib
import shutil

import jax
import numpy as np
import pytest
from flax import traverse_util

from ldm_jax.convert import (
    audiomae,
    clap,
    diffusers_folder,
    gpt2,
    native,
    official,
    phoneme_encoder,
    random_checkpoint,
    t5,
    translator,
    unet,
    vae,
    vocoder,
)
from ldm_jax.convert.checkpoint import abstract_params, count_params
from ldm_jax.convert.lazy import CheckpointError
from ldm_jax.convert.load import load
from ldm_jax.convert.rules import ConversionError, export
from ldm_jax.models.audiomae import AudioMAE
from ldm_jax.models.bert import BERT
from ldm_jax.models.phoneme_encoder import PhonemeEncoder
from ldm_jax.models.vocos import Vocos


@pytest.fixture(scope="module", params=["tiny", "tiny-speech"])
def folder(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / request.param
    random_checkpoint.write(request.param, path, loa_tokens=9)
    return path


def same_params(ours, theirs):
    ours, theirs = (traverse_util.flatten_dict(tree) for tree in (ours, theirs))
    return ours.keys() == theirs.keys() and all(np.array_equal(ours[k], theirs[k]) for k in ours)


@pytest.mark.parametrize("save", [native.save, diffusers_folder.save])
def test_what_is_saved_is_loaded_bit_for_bit(folder, tmp_path, save):
    first = load(folder)
    save(first, tmp_path / "again")
    second = load(tmp_path / "again")
    assert second.networks == first.networks
    assert same_params(second.params, first.params)
    assert second.tokenizers.keys() == first.tokenizers.keys()
    for name in ("scheduler", "sample_rate", "hop", "loa_tokens"):
        assert getattr(second, name) == getattr(first, name)
    for name, path in first.tokenizers.items():
        for file in path.iterdir():
            assert (second.tokenizers[name] / file.name).read_bytes() == file.read_bytes()


@pytest.mark.parametrize(
    ("name", "other", "message"),
    [
        ("t5", BERT(vocab_size=8, num_layers=1), "takes a T5 .* and this checkpoint has a BERT"),
        ("vocoder", Vocos(64, 8, 8, 1), "takes a HiFi-GAN .* and this checkpoint has a Vocos"),
    ],
)
def test_what_diffusers_has_no_class_for(folder, tmp_path, name, other, message):
    system = load(folder)
    system = dataclasses.replace(system, networks={**system.networks, name: other})
    with pytest.raises(ConversionError, match=message):
        diffusers_folder.save(system, tmp_path / "theirs")
    assert not (tmp_path / "theirs").exists()


def test_our_folder_is_not_converted_but_mapped(folder, tmp_path):
    native.save(load(folder), tmp_path / "ours")
    leaf = load(tmp_path / "ours").params["unet"]["conv_in"]["kernel"]
    assert not leaf.flags.owndata  # a view of the file


def rewrite(folder, tmp_path, component, change):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    path = copy / component / "config.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    return copy


def test_a_foreign_config_names_key_and_value(folder, tmp_path):
    blocks = ["DownBlock2D", "StrangeBlock2D"]
    broken = rewrite(folder, tmp_path, "unet", lambda config: config | {"down_block_types": blocks})
    with pytest.raises(ConversionError, match="StrangeBlock2D"):
        load(broken)


def test_shapes_that_do_not_fit_are_listed(folder, tmp_path):
    broken = rewrite(folder, tmp_path, "vae", lambda config: config | {"latent_channels": 4})
    with pytest.raises(ConversionError, match=r"wrong shapes(.|\n)*post_quant_conv"):
        load(broken)


def test_missing_and_truncated_files(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="cut short"):
        load(copy)
    weights.unlink()
    with pytest.raises(CheckpointError, match="unet"):
        load(copy)
    shutil.rmtree(copy / "vae")
    with pytest.raises(CheckpointError, match="vae"):
        load(copy)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        load(tmp_path / "empty")


def zeros(module, table):
    """Tensors of a published size in no memory, under the names of `table`."""
    params = jax.tree.map(
        lambda leaf: np.broadcast_to(np.float32(0), leaf.shape), abstract_params(module)
    )
    return export(params, table, network="zeros")


def below(prefix, tensors):
    return {prefix + name: tensor for name, tensor in tensors.items()}


def official_file(name):
    """The tensors that the official file `name` holds, by the prefixes of its classes."""
    film = name == "audioldm_48k"
    rate = 48_000 if film else 16_000
    network = unet.from_official(unet.OFFICIAL_CONFIGS[name])
    tensors = below("model.diffusion_model.", zeros(network, unet.official_table(network)))
    tensors["model_ema.decay"] = tensors["betas"] = tensors["logvar"] = np.zeros(1, np.float32)
    tensors["scale_factor"] = np.float32(0.41)
    network = vae.from_official(vae.OFFICIAL_CONFIGS[rate], scaling_factor=1.0)
    levels = len(network.block_out_channels)
    tensors |= below("first_stage_model.", zeros(network, vae.official_table(levels)))
    network = vocoder.from_official(vocoder.OFFICIAL_CONFIGS[rate])
    part = zeros(network, vocoder.OFFICIAL)
    part = {key: x for key, x in part.items() if key not in ("mean", "scale")}
    tensors |= below("first_stage_model.vocoder.", part)
    clap_tensors = zeros(clap.from_config(clap.laion_config("base")), clap.LAION)
    tensors |= below("clap.model.", clap_tensors)
    tensors["clap.mel_transform.spectrogram.window"] = np.zeros(1, np.float32)
    published = random_checkpoint.published()
    text = zeros(published["t5"], t5.TRANSFORMERS)
    if film:
        return tensors | below("cond_stage_models.0.model.", clap_tensors)
    if name == "audioldm_16k_crossattn_t5":
        return tensors | below("cond_stage_models.0.model.", text)
    nested = "cond_stage_models.0.cond_stage_models."
    tensors |= below(f"{nested}0.model.", clap_tensors)
    tensors |= below("cond_stage_models.0.model.", zeros(published["gpt2"], gpt2.TRANSFORMERS))
    if "speech" in name:
        speech = random_checkpoint.speaking(published, 192)
        tensors |= below(f"{nested}1.", zeros(PhonemeEncoder(), phoneme_encoder.OFFICIAL))
        front = zeros(speech["translator"], translator.OFFICIAL)
        positions = [key for key in front if key.endswith("learnable_positional_embedding")]
        tensors[f"{nested}1.learnable_positional_embedding"] = front.pop(positions[0])
    else:
        tensors |= below(f"{nested}1.model.", text)
        tensors |= below("cond_stage_models.1.model.", text)
        front = zeros(published["translator"], translator.OFFICIAL)
    network = AudioMAE(decoder="vit")
    tensors |= below(f"{nested}2.audiomae.model.", zeros(network, audiomae.OFFICIAL))
    return tensors | below("cond_stage_models.0.", front)


PUBLISHED = {
    "audioldm2-full": (346_943_496, {"clap", "t5", "gpt2", "translator", "audiomae"}, 8),
    "audioldm2-full-large-1150k": (
        718_012_296,
        {"clap", "t5", "gpt2", "translator", "audiomae"},
        8,
    ),
    "audioldm2-speech-gigaspeech": (
        261_926_536,
        {"clap", "phoneme_encoder", "gpt2", "translator", "audiomae"},
        512,
    ),
    "audioldm_16k_crossattn_t5": (265_531_016, {"clap", "t5"}, 0),
    "audioldm_48k": (262_699_152, {"clap"}, 0),
}


@pytest.mark.parametrize(
    "name",
    [
        name if name == "audioldm2-full" else pytest.param(name, marks=pytest.mark.slow)
        for name in PUBLISHED
    ],
)
def test_official_files_are_told_by_their_tensors(tmp_path, name):
    for tokenizer, write in (("tokenizer", "clap"), ("tokenizer_2", "t5")):
        random_checkpoint.TOKENIZERS[write](tmp_path / tokenizer)
    tensors = official_file(name)
    checkpoint = official.from_tensors(tensors, source=tmp_path / f"{name}.pth")
    size, others, loa_tokens = PUBLISHED[name]
    assert set(checkpoint.networks) == {"unet", "vae", "vocoder"} | others
    assert count_params(checkpoint.params["unet"]) == size
    assert checkpoint.loa_tokens == loa_tokens
    assert checkpoint.sample_rate == (48_000 if "48k" in name else 16_000)
    assert checkpoint.networks["unet"].head_dim == 32
    assert checkpoint.networks["vae"].scaling_factor == pytest.approx(0.41)


def test_an_official_tensor_too_many_is_named(tmp_path):
    tensors = official_file("audioldm_48k") | {"cond_stage_models.7.stray": np.zeros(3)}
    random_checkpoint.TOKENIZERS["clap"](tmp_path / "tokenizer")
    with pytest.raises(ConversionError, match=r"cond_stage_models\.7\.stray"):
        official.from_tensors(tensors, source=tmp_path / "x.pth")


def test_what_is_no_audioldm2_checkpoint_is_said(tmp_path):
    with pytest.raises(ConversionError, match="not an official AudioLDM 2 checkpoint"):
        official.from_tensors({"weight": np.zeros(3)}, source=pathlib.Path("x.pth"))
