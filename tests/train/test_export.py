"""From a run's folder to a checkpoint that makes sound."""

import dataclasses
import json
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax import AudioLDM2
from ldm_jax.convert import native, random_checkpoint
from ldm_jax.convert.checkpoint import abstract_params
from ldm_jax.convert.lazy import CheckpointError
from ldm_jax.convert.load import load
from ldm_jax.models.vae import VAE
from ldm_jax.models.vocoder import HiFiGAN
from ldm_jax.train import export, lora
from ldm_jax.train.checkpoints import Checkpoints
from ldm_jax.train.lora import LoRA
from ldm_jax.train.optimizer import Optimizer, transformation
from ldm_jax.train.representation import chosen, flat, then
from ldm_jax.train.state import initial
from ldm_jax.train.trained import read_run, read_state
from ldm_jax.train.weight_norm import weight_normed
from ldm_jax.train.weights import open_networks, scratch

STEP = 7


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base") / "tiny"
    random_checkpoint.write("tiny", folder)
    return str(folder)


@pytest.fixture(scope="module")
def mini(base, tmp_path_factory):
    """Two of the base's networks, which open faster."""
    whole = load(base)
    some = {name: whole.networks[name] for name in ("unet", "vae")}
    params = {name: whole.params[name] for name in some}
    folder = tmp_path_factory.mktemp("mini") / "mini"
    native.save(dataclasses.replace(whole, networks=some, params=params), folder)
    return str(folder)


def moved(tree, by):
    return jax.tree.map(lambda x: np.asarray(x) + np.float32(by) * (1 + np.abs(x)), tree)


def on_device(tree):
    return jax.tree.map(jnp.asarray, tree)


def drawn(module, name):
    return jax.jit(lambda: scratch(module, name=name, seed=5))()


def write_run(run, opened, representation, *, trained, config, sampled=(), constants=()):
    """A run's folder as the loop leaves it; what was trained, its average, and what was held."""
    params = {
        name: opened.params.get(name) or drawn(opened.networks[name], name) for name in trained
    }
    learnt, held = representation.split(params, jax.random.key(1))
    transformations = {"model": transformation(Optimizer(), total_steps=9)}
    state = initial(
        learnt,
        averaged=trained,
        transformations=transformations,
        players={"model": trained},
        constants=dict(constants),
    )
    state = dataclasses.replace(
        state, params=on_device(moved(learnt, 0.02)), ema=on_device(moved(learnt, 0.01))
    )
    run.mkdir()
    kept = Checkpoints(run, keep=2, keep_every=0, about={})
    kept.save(STEP, state)
    kept.close()
    about = {
        "networks": {name: native.describe(x) for name, x in opened.networks.items()},
        "checkpoint": "",
        "weights": {},
        "seed": 5,
        "data": {"sample_rate": 16_000, "tokenizers": ""},
        **config,
    }
    (run / "run.json").write_text(json.dumps({"config": about, "sampled": dict(sampled)}))
    return state, held


@pytest.fixture(scope="module")
def tuned(mini, tmp_path_factory):
    """A LoRA of the UNet, and a whole VAE from scratch."""
    folder = tmp_path_factory.mktemp("runs")
    settings = LoRA(rank=2, alpha=3.0)
    opened = open_networks({}, trained=("unet",), frozen=("vae",), checkpoint=mini)
    representation = lora.representation(settings, also=("conv_out/bias$",))
    state, held = write_run(
        folder / "unet",
        opened,
        representation,
        trained=("unet",),
        config={"checkpoint": mini, "lora": dataclasses.asdict(settings)},
        constants={"latent_scale": jnp.float32(0.625)},
    )
    made = {
        "ema": representation.join(state.ema, held)["unet"],
        "raw": representation.join(state.params, held)["unet"],
        "factors": lora.apart(state.ema)[0],
    }
    vae = VAE((8, 8), 8, 1, 4, 1.0)
    opened = open_networks({"vae": vae}, trained=("vae",), frozen=())
    representation = chosen(("vae/(decoder|quant_conv)/",))
    state, held = write_run(folder / "vae", opened, representation, trained=("vae",), config={})
    return folder, made | {"vae": representation.join(state.ema, held)["vae"]}


def same(one, other):
    one, other = flat(one), flat(other)
    return one.keys() == other.keys() and all(
        np.array_equal(np.asarray(one[path]), np.asarray(other[path])) for path in one
    )


def test_a_run_is_read_as_it_was_trained(tuned, mini):
    folder, made = tuned
    run = read_run(folder / "unet")
    assert same(run.params["unet"], made["ema"])
    assert same(read_run(folder / "unet", raw=True, step=STEP).params["unet"], made["raw"])
    assert same(run.factors, made["factors"])
    assert run.constants == {"latent_scale": np.float32(0.625)}
    assert same(read_run(folder / "vae").params["vae"], made["vae"])
    assert same(run.system.params["vae"], native.load(pathlib.Path(mini)).params["vae"])


def test_runs_and_base_make_one_checkpoint(tuned, base, tmp_path):
    folder, made = tuned
    arguments = [str(folder / "vae"), str(folder / "unet"), "--checkpoint", base]
    command = [sys.executable, "-m", "ldm_jax.train.export", *arguments]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "missing" not in done.stdout
    out, published = load(tmp_path / "out"), load(base)
    assert same(out.params["unet"], made["ema"])
    assert same(out.params["vae"], made["vae"])
    assert same(out.params["clap"], published.params["clap"])
    assert out.networks.keys() == published.networks.keys()
    assert out.networks["vae"].scaling_factor == 0.625
    assert out.networks["unet"].head_dim == 32
    assert out.preset == "official"
    assert out.tokenizers.keys() == {"clap", "t5"}
    again = subprocess.run(
        [*command, "--out", str(tmp_path / "out")], capture_output=True, text=True
    )
    assert again.returncode == 2
    assert "is there already" in again.stderr


def test_what_was_trained_is_written_alone_beside_the_rest(tuned, base, tmp_path):
    folder, made = tuned
    native.save(load(base), tmp_path / "whole")
    command = [sys.executable, "-m", "ldm_jax.train.export", str(folder / "unet"), "--half"]
    command += ["--int8", "unet", "--beside", str(tmp_path / "whole")]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "part")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "missing" not in done.stdout
    files = sorted(path.name for path in (tmp_path / "part").iterdir())
    assert files == ["model.json", "unet.safetensors"]
    part, whole = load(tmp_path / "part"), load(tmp_path / "whole")
    assert part.networks.keys() == whole.networks.keys()
    assert same(part.params["vae"], whole.params["vae"])
    ours, wanted = flat(part.params["unet"]), flat(made["ema"])
    for path, x in wanted.items():
        step = np.abs(x).max(initial=0) / 127 if x.ndim > 1 and x.size >= 4096 else 0
        np.testing.assert_allclose(ours[path], x, rtol=2**-10, atol=0.51 * step + 1e-7)
    both = subprocess.run(
        [*command, "--checkpoint", base, "--out", str(tmp_path / "x")],
        capture_output=True,
        text=True,
    )
    assert both.returncode == 2
    assert "leave --checkpoint out" in both.stderr


@pytest.mark.slow
def test_it_sounds_as_the_parameters_that_were_never_written(tuned, base, tmp_path):
    folder, made = tuned
    system = export.assemble([folder / "unet"], base=base)
    native.save(system, tmp_path / "out")
    published = load(base)
    networks = dict(published.networks)
    networks["unet"] = networks["unet"].clone(heads=None, head_dim=32)
    networks["vae"] = networks["vae"].clone(scaling_factor=0.625)
    memory = dataclasses.replace(
        published,
        networks=networks,
        params={**published.params, "unet": jax.tree.map(np.asarray, made["ema"])},
        preset="official",
    )
    asked = {"seconds": 0.64, "steps": 2, "seed": 1}
    written = AudioLDM2.from_pretrained(tmp_path / "out", devices=jax.devices()[:1])
    ours = written.generate("a dog barks", **asked)
    plain = AudioLDM2(memory, preset=None, dtype=None, mesh=written.mesh)
    theirs = plain.generate("a dog barks", **asked)
    np.testing.assert_array_equal(ours.audio, theirs.audio)
    before = AudioLDM2.from_pretrained(base, devices=jax.devices()[:1])
    other = before.generate("a dog barks", **asked)
    assert np.abs(ours.audio - other.audio).max() > 1e-3


def test_a_lora_is_written_alone_and_put_on_its_base(tuned, mini, tmp_path, recwarn):
    folder, made = tuned
    command = [sys.executable, "-m", "ldm_jax.train.export", str(folder / "unet"), "--lora"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "lora")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    system = export.assemble([tmp_path / "lora"], base=mini)
    ours, wanted = flat(system.params["unet"]), flat(made["ema"])
    for path, x in wanted.items():
        if path != "conv_out/bias":
            assert np.array_equal(ours[path], x), path
    assert not [w for w in recwarn if "other weights" in str(w.message)]
    with pytest.raises(CheckpointError, match="give --checkpoint, what it is put on"):
        export.assemble([tmp_path / "lora"])


def test_a_lora_on_other_weights_is_told(tuned, mini, tmp_path):
    folder, made = tuned
    opened = load(mini)
    bases = {"unet": lora.base_of(opened.networks["unet"], opened.params["unet"])}
    lora.save(made["factors"], LoRA(rank=2, alpha=3.0), tmp_path / "lora", bases=bases)
    with pytest.warns(UserWarning, match="trained on other weights of the unet"):
        export.assemble([folder / "unet", tmp_path / "lora"])
    deeper = opened.networks["unet"].clone(layers_per_block=2)
    bases["unet"]["network"] = native.describe(deeper)
    lora.save(made["factors"], LoRA(rank=2), tmp_path / "other", bases=bases)
    with pytest.raises(CheckpointError, match="LoRA of another unet: its layers_per_block is 2"):
        export.assemble([tmp_path / "other"], base=mini)


def test_weight_norm_and_what_is_never_trained_come_together(tmp_path):
    module = HiFiGAN(8, 8, (2, 2), (4, 4), (3,), ((1, 3),))
    opened = open_networks({"vocoder": module}, trained=("vocoder",), frozen=())
    representation = then(chosen(), weight_normed(("^vocoder/",)))
    run = tmp_path / "run"
    state, held = write_run(run, opened, representation, trained=("vocoder",), config={})
    ours = flat(read_run(run).params["vocoder"])
    wanted = flat(representation.join(state.ema, held)["vocoder"])
    assert ours.keys() == wanted.keys() == flat(abstract_params(module)).keys()
    for path, x in wanted.items():
        np.testing.assert_allclose(ours[path], x, rtol=1e-6, atol=1e-8, err_msg=path)


def test_what_a_run_began_with_may_be_gone_if_it_trained_everything(tmp_path):
    module = VAE((8, 8), 8, 1, 4, 1.0)
    opened = open_networks({"vae": module}, trained=("vae",), frozen=())
    params = {"vae": random_checkpoint.random_params(module, name="vae", seed=0)}
    opened = dataclasses.replace(opened, params=params)
    config = {"weights": {"vae": str(tmp_path / "gone")}}
    state, _ = write_run(tmp_path / "a", opened, chosen(), trained=("vae",), config=config)
    assert same(read_run(tmp_path / "a").params["vae"], state.ema["vae"])
    some = chosen(("vae/quant_conv/",))
    write_run(tmp_path / "b", opened, some, trained=("vae",), config=config)
    with pytest.raises(CheckpointError, match="gone does not exist"):
        read_run(tmp_path / "b")


def test_what_a_run_alone_lacks_for_sound_is_said(tuned):
    folder, _ = tuned
    assert export.missing(export.assemble([folder / "vae"])) == ["unet", "vocoder"]
    lacking = export.missing(export.assemble([folder / "unet"]))
    assert lacking == ["clap", "gpt2", "t5", "translator", "vocoder"]


def test_the_runs_own_export_is_whole_and_carries_the_scale(tuned, mini, tmp_path):
    folder, made = tuned
    run = read_run(folder / "unet")
    export.write_export(run.system, run.params, tmp_path / "export", constants=run.constants)
    found = native.load(tmp_path / "export")
    assert found.networks.keys() == {"unet", "vae"}
    assert found.networks["vae"].scaling_factor == 0.625
    assert same(found.params["unet"], made["ema"])
    assert same(found.params["vae"], load(mini).params["vae"])
    other = read_run(folder / "vae")
    export.write_export(other.system, other.params, tmp_path / "export")  # takes its place
    assert native.load(tmp_path / "export").networks.keys() == {"vae"}


def test_a_damaged_or_absent_checkpoint_is_said(tuned, tmp_path):
    folder, _ = tuned
    with pytest.raises(CheckpointError, match=r"no checkpoint 8; it has 7"):
        read_state(folder / "vae", step=8)
    with pytest.raises(ValueError, match="is not the folder of a run"):
        read_run(tmp_path)
    sums = folder / "vae" / "checksums" / f"{STEP:08}.json"
    written = sums.read_text()
    wrong = json.loads(written)
    wrong[next(iter(wrong))][1] ^= 1
    sums.write_text(json.dumps(wrong))
    try:
        with pytest.raises(CheckpointError, match="is damaged"):
            read_state(folder / "vae")
    finally:
        sums.write_text(written)
