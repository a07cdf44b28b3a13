"""Every configuration of `configs/small` learns eight real clips by heart, on what the ones before it have learnt."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from configs.small.system import NETWORKS
from ldm_jax import AudioLDM2
from ldm_jax.convert import native, random_checkpoint
from ldm_jax.convert.load import load
from ldm_jax.convert.random_checkpoint import random_params
from ldm_jax.models.bert import BERT
from ldm_jax.train.log import read_log
from tests.train.running import ROOT, run_toy

pytestmark = pytest.mark.slow

# What is learnt by heart has no use for augmentation, dropout or a moving average over many steps.
BY_HEART = (
    "--config.data.limit=8",
    "--config.batch=8",
    "--config.data.random_start=False",
    "--config.data.roll=False",
    "--config.data.gain=False",
    "--config.data.caption=first",
    "--config.ema=0.9",
    "--config.every.log=5",
    "--config.every.validation=0",
    "--config.every.preview=0",
    "--config.every.checkpoint=0",
    "--config.optimizer.warmup_steps=10",
)
# Steps, flags, the figure that falls, and to what share of where it began.
RUNS = {
    "vae": (
        150,
        (
            "--config.stage.disc_start=120",
            "--config.optimizer.learning_rate=3e-3",
            "--config.data.seconds=0.64",
            "--config.stage.kl_weight=62.5",
        ),
        "rec_loss",
        0.2,
    ),
    "vocoder": (100, ("--config.optimizer.learning_rate=2e-3",), "mel_error", 0.5),
    "vocos": (100, ("--config.optimizer.learning_rate=2e-3",), "convergence", 0.6),
    "audiomae": (150, ("--config.stage.decoder_dropout=False",), "loss", 0.75),
    "clap": (
        40,
        (
            "--config.stage.text_dropout=0.0",
            "--config.stage.drop_path=0.0",
            "--config.optimizer.weight_decay=0.0",
        ),
        "loss",
        0.5,
    ),
    "translator": (
        150,
        ("--config.stage.dropout=False", "--config.optimizer.learning_rate=3e-3"),
        "loss",
        0.3,
    ),
    # A loss of v begins at 1, which is about all that can be had where there is little noise.
    "self_supervised": (150, ("--config.stage.drop_probability=0.0",), "loss/diffusion", 0.6),
    "latent_diffusion": (150, ("--config.stage.drop_probability=0.0",), "loss/diffusion", 0.6),
    "joint": (
        150,
        (
            "--config.stage.drop_probability=0.0",
            "--config.stage.dropout=False",
            "--config.optimizer.learning_rate=1e-3",
        ),
        "loss/diffusion",  # half the whole loss is how far GPT-2 is off, and changes with who rolls out
        0.6,
    ),
    "speech": (
        60,
        ("--config.stage.drop_probability=0.0", "--config.stage.dropout=False"),
        "loss/diffusion",
        0.7,
    ),
}
NEEDS = {
    "translator": ("audiomae", "clap"),
    "self_supervised": ("vae", "audiomae"),
    "latent_diffusion": ("vae", "audiomae"),
    "joint": (
        "vae=latent_diffusion",
        "vocoder=vocos",
        "audiomae",
        "clap",
        "gpt2=translator",
        "translator",
        "unet=untrained",  # else it knows them by heart already
    ),
    "speech": ("vae", "audiomae", "clap"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the runs lie, and random weights: what reads text and tells captions apart, a UNet, what reads phonemes."""
    folder = tmp_path_factory.mktemp("small")
    random_checkpoint.write("small", folder / "random")
    random = load(folder / "random")
    text = BERT(vocab_size=random.networks["t5"].vocab_size, num_layers=2)
    params = {"t5": random_params(text, name="t5", seed=0)}
    native.save(dataclasses.replace(random, networks={"t5": text}, params=params), folder / "text")
    unet = NETWORKS["unet"]
    params = {"unet": random_params(unet, name="unet", seed=0)}
    untrained = dataclasses.replace(random, networks={"unet": unet}, params=params, tokenizers={})
    native.save(untrained, folder / "untrained")
    random_checkpoint.write("small-speech", folder / "speaking")
    return folder


@pytest.fixture(scope="module")
def trained(folder, prepared, spoken):
    """Trains a configuration, after what it needs; the lines of its log."""

    def run(name):
        if (folder / name / "export").exists():
            return read_log(folder / name)
        sources = dict(x.split("=") if "=" in x else (x, x) for x in NEEDS.get(name, ()))
        for source in sources.values():
            if source in RUNS:
                run(source)
        steps, flags, *_ = RUNS[name]
        weights = [f"--config.weights.{x}={folder / y}" for x, y in sources.items()]
        speech = name == "speech"
        if name in NEEDS and not speech:
            weights.append(f"--config.weights.t5={folder / 'text'}")
        clips = spoken if speech else prepared
        done = run_toy(
            folder / name,
            clips,
            *BY_HEART,
            f"--config.data.tokenizers={folder / ('speaking' if speech else 'text')}",
            f"--config.steps={steps}",
            *flags,
            *weights,
            config=f"configs/small/{name}.py:{clips}",
            timeout=900,
        )
        assert done.returncode == 0, done.stderr
        return read_log(folder / name)

    return run


@pytest.mark.parametrize("name", RUNS)
def test_it_learns_eight_clips_by_heart(name, trained):
    *_, figure, share = RUNS[name]
    values = [line[figure] for line in trained(name) if line.get(figure) is not None]
    assert all(np.isfinite(values))
    assert np.mean(values[-3:]) < share * values[0], values
    # And not at once: a figure that starts low, or a share that anything reaches, shows nothing.
    assert values[1] > share * values[0] or values[-1] < 0.5 * share * values[0], values


def test_what_was_trained_makes_sound(trained, folder):
    trained("joint")
    whole = folder / "whole"
    command = [
        sys.executable,
        "-m",
        "ldm_jax.train.export",
        str(folder / "joint"),
        "--out",
        str(whole),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "missing" not in done.stdout
    sampled = [
        sys.executable,
        "sample.py",
        "a bell",
        "--checkpoint",
        str(whole),
        "-o",
        str(folder / "a.wav"),
    ]
    done = subprocess.run(
        [*sampled, "--seconds", "5.12", "--steps", "10"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    wave, rate = soundfile.read(folder / "a.wav")
    assert (len(wave), rate) == (round(5.12 * 16_000), 16_000)
    assert np.isfinite(wave).all()
    record = json.loads((folder / "a.json").read_text())
    assert record["settings"]["steps"] == 10
    assert AudioLDM2.from_pretrained(whole).checkpoint.loa_tokens == 4
