"""ConsistencyTTA's training steps on a tiny UNet: what both sides share. No torch.

The network is one level of TANGO's UNet, with a transformer in its middle. Everything random is drawn here and given to
both sides; the authors' code takes its draws (interval, noise, guidance scale) from here, not from its generator.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from tests.golden import load, random_array, random_tensors

SCHEDULER = {  # of stabilityai/stable-diffusion-2-1, which TANGO and ConsistencyTTA load
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "prediction_type": "v_prediction",
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "clip_sample": False,
    "trained_betas": None,
}
BETAS = {"beta_start": 0.00085, "beta_end": 0.012}
GAMMA = 5.0  # of Min-SNR
WIDTH = 6  # of the text states
UNET = {
    "act_fn": "silu",
    "attention_head_dim": 2,
    "block_out_channels": [8],
    "cross_attention_dim": WIDTH,
    "down_block_types": ["DownBlock2D"],
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 2,
    "layers_per_block": 1,
    "norm_eps": 1e-05,
    "norm_num_groups": 4,
    "out_channels": 2,
    "sample_size": [8, 4],
    "up_block_types": ["UpBlock2D"],
    "upcast_attention": True,
    "use_linear_projection": True,
}
FREQUENCIES = 2 * 8
BATCH = 4
LATENT = (BATCH, 8, 4, 2)  # (batch, time, freq, channels)
SCALES = np.array([0.0, 1.0, 2.625, 5.75])  # w of the clips, where it is random
STAGE_1_TIMESTEPS = np.array(
    [999, 0, 412, 130]
)  # the noisiest, where the signal is removed; the cleanest
INTERVALS = np.array([0, 16, 9, 5])  # from the noisiest, 0; the target of 16 is the clean latent
EMBEDDED_SCALES = np.array([0.0, 1.0, 1.5, 3.0, 4.0, 5.984375])


class Case(NamedTuple):
    """How AudioLCM is asked to run."""

    solver: str = "heun"
    scale: int = -1  # of the teacher's guidance: -1 is random, and told to the student; 1 is none
    karras: bool = False


STAGE_1 = {"random": -1, "fixed": 3, "unguided": 1}  # the scale of the teacher's guidance
STAGE_2 = {
    f"{solver}_{name}": Case(solver, scale)
    for solver in ("heun", "ddim")
    for name, scale in STAGE_1.items()
} | {"karras": Case(karras=True)}

LEARNING_RATE = 0.125  # of the step of gradient descent after which the averages are moved
DECAYS = {"target": 0.95, "ema": 0.999}

PROMPTS = ["a dog barks", "rain", "a train passes and a whistle blows", "wind in the trees"]
_WORDS = sorted({word for prompt in PROMPTS for word in prompt.split()})
VOCABULARY = 2 + len(_WORDS)


def tokens(prompts: list[str], length: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(ids, mask): a word is an id, then comes 1, the end, and 0 up to `length` or the longest."""
    rows = [[2 + _WORDS.index(word) for word in prompt.split()] + [1] for prompt in prompts]
    length = length or max(map(len, rows))
    ids = np.array([row + [0] * (length - len(row)) for row in rows])
    return ids, np.arange(length) < np.array([len(row) for row in rows])[:, None]


def embedding() -> np.ndarray:
    """(VOCABULARY, WIDTH): stands for the text encoder, exact in float32."""
    return random_array("consistency/embedding", (VOCABULARY, WIDTH)).astype(np.float32)


def contexts() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(states, mask) of the prompts, and of as many empty ones padded to the same length."""
    text = tokens(PROMPTS)
    empty = tokens([""] * BATCH, text[0].shape[1])
    return {
        name: (embedding()[ids], mask) for name, (ids, mask) in (("text", text), ("empty", empty))
    }


def clips() -> dict[str, np.ndarray]:
    """z_0 and its noise, channels last, exact in float32."""
    return {
        name: random_array(f"consistency/{name}", LATENT).astype(np.float32)
        for name in ("z_0", "noise")
    }


def weights(shapes: Mapping[str, tuple[int, ...]], network: str) -> dict[str, np.ndarray]:
    """Of the "teacher", the "student", its "target" or its "ema"; all share the frequencies, as copies of one do."""
    seed = ("teacher", "student", "target", "ema").index(network)
    made = {}
    for name, shape in shapes.items():
        x = random_tensors({name: shape}, seed=seed)[name]
        if "_embedding" in name and len(shape) == 2:
            x = (x / np.sqrt(shape[1])).astype(np.float32).astype(np.float64)
        if name == "guidance_proj.weight":
            x = random_array(name, shape).astype(np.float32).astype(np.float64)
        made[name] = x
    return made


def found(stage: str, case: str) -> dict[str, np.ndarray]:
    """What the authors' code makes of a case."""
    outputs = load(f"distill_consistency_{stage}")[1]
    start = f"{case}/"
    return {key.removeprefix(start): x for key, x in outputs.items() if key.startswith(start)}


def projections(gradients: Mapping[str, np.ndarray]) -> np.ndarray:
    """(tensors by name, 4): of each, in PyTorch's layout, onto four random directions of length 1."""
    made = []
    for name in sorted(gradients):
        x = np.asarray(gradients[name], np.float64).reshape(-1)
        directions = random_array(f"direction/{name}", (4, x.size))
        made.append(directions @ x / np.linalg.norm(directions, axis=1))
    return np.array(made)


# Stage 3: what stands for the decoder, the vocoder and CLAP's tower; resampling and CLAP's spectrogram are real.
LOSSES = {
    "clap": {"latent": 1.0, "clap_text": 0.1, "clap_audio": 0.1},
    "mel": {"latent": 0.7, "mel": 0.3},
    "stft": {"latent": 0.8, "stft": 0.1},
}
RATE = 16_000
SAMPLES = 10 * RATE + 640  # what is beyond 10 s does not count
MEL = (12, 8)
_LATENT_SIZE, _MEL_SIZE, _PARTIALS = 8 * 4 * 2, 12 * 8, 6
CLAP_MELS, _CLAP_FEATURES, _CLAP_WIDTH = 64, 10, 5
RESAMPLED = 400  # samples of the wave that is resampled by itself


def audio_weights() -> dict[str, np.ndarray]:
    """mel = tanh(z to_mel), wave = tanh(mel to_partials partials) / 2, clap = unit(mean tanh(frame to_hidden) to_clap).

    z is flattened from (channels, time, freq), and the mean is one over CLAP's frames.
    """
    shapes = {
        "to_mel": (_LATENT_SIZE, _MEL_SIZE),
        "to_partials": (_MEL_SIZE, _PARTIALS),
        "to_hidden": (CLAP_MELS, _CLAP_FEATURES),
        "to_clap": (_CLAP_FEATURES, _CLAP_WIDTH),
    }
    made = {name: random_array(f"consistency/{name}", shape) for name, shape in shapes.items()}
    made = {name: x / np.sqrt(len(x)) for name, x in made.items()}
    made["to_hidden"] /= 40  # of decibels
    made["partials"] = _partials()
    return {name: x.astype(np.float32) for name, x in made.items()}


def _partials() -> np.ndarray:
    """(6, SAMPLES): tones in noise, so that no band is silent."""
    hertz = np.array([110.0, 317.0, 740.0, 1500.0, 2900.0, 5200.0])[:, None]
    tones = np.sin(2 * np.pi * hertz * np.arange(SAMPLES) / RATE)
    return tones + 0.1 * random_array("consistency/partials", (_PARTIALS, SAMPLES))


def heard() -> dict[str, np.ndarray]:
    """The clips' true waves, what CLAP says of their texts, and a short wave."""
    wave = random_array("consistency/wave", (BATCH, _PARTIALS)) @ _partials()
    text = random_array("consistency/clap_text", (BATCH, _CLAP_WIDTH))
    made = {
        "wave": 0.1 * wave,
        "text": text / np.linalg.norm(text, axis=1, keepdims=True),
        "short": 0.3 * random_array("consistency/short", (RESAMPLED,)),
    }
    return {name: x.astype(np.float32) for name, x in made.items()}
