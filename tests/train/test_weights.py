"""Where networks come from, in which order, and the sentences where they cannot."""

import pathlib

import jax
import numpy as np
import pytest

from ldm_jax.convert import native, random_checkpoint
from ldm_jax.convert.checkpoint import SCHEDULER, Checkpoint
from ldm_jax.convert.lazy import CheckpointError
from ldm_jax.convert.load import load
from ldm_jax.models.audiomae import AudioMAE
from ldm_jax.models.vae import VAE
from ldm_jax.train.representation import flat
from ldm_jax.train.weights import open_networks, scratch, tokenizer_folders

SMALL = AudioMAE(
    (64, 16),
    embed_dim=16,
    depth=1,
    heads=2,
    decoder="vit",
    decoder_dim=8,
    decoder_depth=1,
    decoder_heads=2,
)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base") / "tiny"
    random_checkpoint.write("tiny", folder)
    return str(folder)


def alone(name, module, seed=1):
    return Checkpoint(
        networks={name: module},
        params={name: random_checkpoint.random_params(module, name=name, seed=seed)},
        tokenizers={},
        scheduler=SCHEDULER,
        sample_rate=16_000,
        hop=160,
        loa_tokens=0,
        preset=None,
        source="",
    )


@pytest.fixture
def vae_run(tmp_path):
    """A run that has trained a VAE and measured nothing else."""
    module = VAE((16, 32, 32), 8, 1, 8, 0.77)
    native.save(alone("vae", module), tmp_path / "run" / "export")
    (tmp_path / "run" / "checkpoints").mkdir()
    return str(tmp_path / "run")


def same(one, other):
    one, other = flat(one), flat(other)
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)


def test_a_source_of_its_own_comes_before_the_checkpoint_and_that_before_nothing(base, vae_run):
    opened = open_networks(
        {"audiomae": SMALL},
        trained=("unet", "audiomae"),
        frozen=("vae", "t5"),
        checkpoint=base,
        weights={"vae": vae_run},
    )
    published = load(base)
    assert opened.sources == {"unet": base, "audiomae": "", "vae": vae_run, "t5": base}
    assert opened.params.keys() == {"unet", "vae", "t5"}
    assert same(opened.params["unet"], published.params["unet"])
    assert not same(opened.params["vae"], published.params["vae"])
    assert opened.networks["vae"].scaling_factor == 0.77
    assert opened.networks["audiomae"] == SMALL
    assert set(opened.tokenizers) == {"clap", "t5"}
    assert (opened.sample_rate, opened.hop, opened.loa_tokens) == (16_000, 160, 8)


def test_scratch_is_a_source_too_and_an_empty_one_is_none(base):
    opened = open_networks(
        {"audiomae": SMALL, "unet": load(base).networks["unet"]},
        trained=("unet", "audiomae"),
        frozen=("vae",),
        checkpoint=base,
        weights={"unet": "scratch", "vae": "", "audiomae": ""},
    )
    assert opened.sources == {"unet": "", "audiomae": "", "vae": base}
    assert opened.params.keys() == {"vae"}


def test_a_published_unet_is_read_with_the_presets_heads(base):
    def heads(preset, networks=None):
        opened = open_networks(
            networks or {}, trained=("unet",), frozen=(), checkpoint=base, preset=preset
        )
        assert opened.preset == preset
        return opened.networks["unet"].heads, opened.networks["unet"].head_dim

    assert heads("official") == (None, 32)
    assert heads("diffusers") == (4, None)
    unet = load(base).networks["unet"].clone(heads=None, head_dim=16)
    assert heads("official", {"unet": unet}) == (None, 16)


def test_an_audiomae_that_only_listens_leaves_the_decoder_behind(tmp_path):
    native.save(alone("audiomae", SMALL), tmp_path / "mae")
    listening = SMALL.clone(decoder=None)
    opened = open_networks(
        {"audiomae": listening},
        trained=(),
        frozen=("audiomae",),
        weights={"audiomae": str(tmp_path / "mae")},
    )
    assert opened.networks["audiomae"] == listening
    wanted = flat(scratch(listening, name="audiomae", seed=0)).keys()
    assert flat(opened.params["audiomae"]).keys() == wanted


def test_scratch_depends_on_name_and_seed_alone():
    first = scratch(SMALL, name="audiomae", seed=0)
    again = jax.jit(lambda: scratch(SMALL, name="audiomae", seed=0))()
    for path, x in flat(first).items():
        np.testing.assert_allclose(x, flat(again)[path], rtol=2e-6, atol=1e-7)
    for other in (scratch(SMALL, name="other", seed=0), scratch(SMALL, name="audiomae", seed=1)):
        assert not np.array_equal(
            first["patch_embed"]["proj"]["kernel"], other["patch_embed"]["proj"]["kernel"]
        )


def refused(*, networks=None, trained=("unet",), frozen=(), **sources):
    with pytest.raises(CheckpointError) as error:
        open_networks(networks or {}, trained=trained, frozen=frozen, **sources)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_is_missing_is_one_sentence(base, tmp_path):
    words = refused(frozen=("vae", "audiomae"), checkpoint=base)
    assert "set weights.audiomae to a run" in words
    words = refused(trained=("discriminator",), checkpoint=base)
    assert "set networks.discriminator to start from scratch" in words
    words = refused(weights={"uent": "x"}, checkpoint=base)
    assert "weights.uent is given, but this stage has no such network; it has unet" in words
    assert "does not exist" in refused(weights={"unet": str(tmp_path / "nowhere")})
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    assert "ldm_jax.train.export" in refused(weights={"unet": str(tmp_path / "run")})
    (tmp_path / "lora").mkdir()
    (tmp_path / "lora" / "lora.json").write_text("{}")
    assert "is a LoRA alone" in refused(weights={"unet": str(tmp_path / "lora")})
    native.save(alone("audiomae", SMALL), tmp_path / "mae")
    assert "has no unet; it has audiomae" in refused(weights={"unet": str(tmp_path / "mae")})


@pytest.mark.parametrize(
    ("name", "fields", "words"),
    [
        ("unet", {"block_out_channels": (16, 64)}, r"block_out_channels is (16, 32)"),
        ("vae", {"latent_channels": 4}, "latent_channels is 8, that of networks.vae is 4"),
        ("gpt2", {"n_head": 2}, "n_head is 4, that of networks.gpt2 is 2"),
    ],
)
def test_a_checkpoint_of_another_model_is_told_by_its_first_field(base, name, fields, words):
    module = load(base).networks[name].clone(**fields)
    assert words.replace("(16, 32)", "") in refused(
        networks={name: module}, trained=(name,), checkpoint=base
    ).replace("(16, 32)", "").replace("[16, 32]", "")


def test_a_nested_field_has_its_path(base):
    clap = load(base).networks["clap"]
    other = clap.clone(text=clap.text.clone(num_layers=3))
    words = refused(networks={"clap": native.describe(other)}, trained=("clap",), checkpoint=base)
    assert "its text.num_layers is 2, that of networks.clap is 3" in words


def test_tokenizers_of_a_checkpoint_or_of_a_folder(base, tmp_path):
    """Those of a folder of ours lie one folder deeper than its weights."""
    whole = load(base)
    native.save(whole, tmp_path / "ours")
    ours = tmp_path / "ours" / "tokenizers"
    expected = {name: ours / name for name in whole.tokenizers}
    assert tokenizer_folders(tmp_path / "ours") == tokenizer_folders(ours) == expected
    assert set(tokenizer_folders(pathlib.Path("small"))) == {"clap", "t5"}  # as the package's model
    with pytest.raises(ValueError, match="neither a checkpoint nor a folder that holds clap/, t5/"):
        tokenizer_folders(tmp_path / "nothing")
