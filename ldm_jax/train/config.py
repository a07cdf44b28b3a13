"""What a run is told: typed fields with defaults, filled in by a file in `configs/` and by flags.

`--config=configs/small/vae.py --config.optimizer.learning_rate=1e-4` sets a single field. A name that is not a field is
an error. Nothing writes to a config after `check`.
"""

import dataclasses
from typing import Any

from ml_collections import ConfigDict

from ldm_jax.audio.log_mel import MEL_16K, MEL_48K
from ldm_jax.convert.native import describe
from ldm_jax.data.segments import Shaping
from ldm_jax.train.lora import LoRA
from ldm_jax.train.optimizer import Optimizer
from ldm_jax.train.stages.stage import Stage

MELS = {16_000: MEL_16K, 48_000: MEL_48K}


@dataclasses.dataclass(kw_only=True, slots=True)
class Data:
    """Where clips come from and how they become examples.

    Attributes:
        prepared: folders that `python -m ldm_jax.data.prepare` wrote.
        rates: how often each is drawn from; () goes by size.
        split: to train on.
        validation: split for validation and previews; "" goes without.
        limit: only so many first rows of each (0 is all), for trying out.
        encoded: read what `python -m ldm_jax.data.encoding` stored in place of sound.
        what: encodings to read; () is all.
        sample_rate: of the waves, and which log-mel is made of them: 16000 or 48000.
        seconds: of a segment.
        random_start: False always takes the beginning.
        padding: "end", "random" or "repeat".
        peak: of the waves after their mean is taken off; 0 leaves them as they are.
        roll: AudioMAE's augmentation, round in time.
        gain: AudioMAE's augmentation by a random factor.
        mix: probability of mixing two clips and joining their captions.
        caption: "any" or "first" of a clip's captions.
        tokenizers: a checkpoint, or a folder with `clap/`, `t5/`, `phoneme_encoder/` tokeniser files; "" takes those
            of the checkpoints that networks are read from.
        clap_length: tokens of a caption for CLAP.
        t5_length: tokens of a caption for T5.
        workers: processes that make batches; 0 makes them in threads of this one.
        threads: in each.
        ahead: batches made before they are asked for.
    """

    prepared: tuple[str, ...] = ()
    rates: tuple[float, ...] = ()
    split: str = "train"
    validation: str = "validation"
    limit: int = 0
    encoded: bool = False
    what: tuple[str, ...] = ()
    sample_rate: int = 16_000
    seconds: float = 10.24
    random_start: bool = True
    padding: str = "end"
    peak: float = 0.5
    roll: bool = False
    gain: bool = False
    mix: float = 0.0
    caption: str = "any"
    tokenizers: str = ""
    clap_length: int = 128
    t5_length: int = 128
    workers: int = 0
    threads: int = 1
    ahead: int = 2

    def shaping(self, *, training: bool) -> Shaping:
        """How rows become segments; for validation the beginning, the first caption and no augmentation."""
        fixed: dict[str, Any] = {} if training else {"random_start": False, "caption": "first"}
        augmented = {"roll": self.roll, "gain": self.gain, "mix": self.mix} if training else {}
        values: dict[str, Any] = {
            "sample_rate": self.sample_rate,
            "seconds": self.seconds,
            "random_start": self.random_start,
            "padding": self.padding,
            "peak": self.peak or None,
            "caption": self.caption,
        }
        return Shaping(**(values | augmented | fixed))


@dataclasses.dataclass(kw_only=True, slots=True)
class Mesh:
    """Devices as a grid. -1 takes what the other axes leave.

    Attributes:
        data: copies of the model; rows of the batch are divided among them.
        fsdp: devices that divide each copy's parameters, and rows too.
        tensor: devices that divide each layer.
        slices: TPU slices (or nodes) that `data` goes across.
    """

    data: int = -1
    fsdp: int = 1
    tensor: int = 1
    slices: int = 1


@dataclasses.dataclass(kw_only=True, slots=True)
class Prompts:
    """What is sampled at each preview of a stage that trains a UNet.

    Attributes:
        texts: prompts; () samples none.
        transcripts: what is spoken, one a prompt, for systems that speak.
        steps: of the sampler.
        guidance_scale: 1 is without guidance.
        sampler: see `ldm_jax.diffusion.samplers`.
        seed: the same every time, so that previews can be compared.
    """

    texts: tuple[str, ...] = ()
    transcripts: tuple[str, ...] = ()
    steps: int = 50
    guidance_scale: float = 3.5
    sampler: str = "dpmsolver++"
    seed: int = 0


@dataclasses.dataclass(kw_only=True, slots=True)
class Intervals:
    """After how many steps things happen; 0 is never.

    Attributes:
        log: a line in `log.jsonl`.
        checkpoint: a checkpoint; there is always one at the end.
        keep: how many of the last stay.
        keep_every: those at multiples of it stay for good.
        validation: the losses of the averaged parameters on held-out clips with fixed noise.
        validation_batches: how many batches of them.
        preview: sounds, pictures and figures of the averaged parameters.
    """

    log: int = 50
    checkpoint: int = 1000
    keep: int = 2
    keep_every: int = 0
    validation: int = 0
    validation_batches: int = 4
    preview: int = 0


@dataclasses.dataclass(kw_only=True, slots=True)
class Training:
    """One run.

    Attributes:
        name: of the run.
        stage: what is trained; see `ldm_jax.train.stages`.
        networks: architectures by name, as `architectures` makes them; those of a checkpoint need not be given.
        checkpoint: a folder, file or Hub id with several networks: parameters of all that have no entry in `weights`.
        weights: where single networks' parameters come from: a run's folder, a checkpoint, a file. "" is nowhere.
        resume: folder of another run whose whole state this one starts from, optimiser and step included.
        steps: batches to train on.
        batch: rows over all devices.
        accumulation: microbatches that a batch is divided into.
        seed: of parameters, data order and noise.
        dtype: compute type: "float32" or "bfloat16"; parameters and losses are float32.
        frozen_dtype: that of the frozen networks; "" is `dtype`.
        ema: decay of the moving average.
        bad_updates: so many updates in a row with a loss or gradient that is not finite end the run.
        optimizer: of every player.
        trainable: patterns of the paths that are trained; () is all, or with `lora` nothing but its factors.
        lora: see `ldm_jax.train.lora`; rank 0 trains the parameters themselves.
        data: see `Data`.
        mesh: see `Mesh`.
        prompts: see `Prompts`.
        every: see `Intervals`.
        tensorboard: whether event files are written too.
        profile: (first, last) step to be profiled; () is none.
    """

    name: str
    stage: Any
    networks: ConfigDict = dataclasses.field(default_factory=ConfigDict)
    checkpoint: str = ""
    weights: ConfigDict = dataclasses.field(default_factory=ConfigDict)
    resume: str = ""
    steps: int = 1000
    batch: int = 8
    accumulation: int = 1
    seed: int = 0
    dtype: str = "float32"
    frozen_dtype: str = ""
    ema: float = 0.9999
    bad_updates: int = 20
    optimizer: Optimizer = dataclasses.field(default_factory=Optimizer)
    trainable: tuple[str, ...] = ()
    lora: LoRA = dataclasses.field(default_factory=LoRA)
    data: Data = dataclasses.field(default_factory=Data)
    mesh: Mesh = dataclasses.field(default_factory=Mesh)
    prompts: Prompts = dataclasses.field(default_factory=Prompts)
    every: Intervals = dataclasses.field(default_factory=Intervals)
    tensorboard: bool = False
    profile: tuple[int, ...] = ()


def architectures(**modules: Any) -> ConfigDict:
    """Networks as fields that flags can set: `--config.networks.unet.transformer_depth=2`."""
    return ConfigDict({name: describe(module) for name, module in modules.items()})


def check(config: Training) -> None:
    """Raises ValueError, in one sentence, for what can be seen to be wrong without any file or device."""
    if not isinstance(config.stage, Stage):
        raise ValueError(f"stage is {config.stage!r}; it should be one of ldm_jax.train.stages")
    for name in ("steps", "batch", "accumulation", "bad_updates"):
        if getattr(config, name) < 1:
            raise ValueError(f"{name} must be at least 1, not {getattr(config, name)}")
    if config.batch % config.accumulation:
        raise ValueError(
            f"a batch of {config.batch} cannot be divided into {config.accumulation} microbatches; "
            "choose a multiple"
        )
    if config.accumulation > 1 and not config.stage.accumulates():
        raise ValueError(
            f"the loss of {type(config.stage).__name__} is one of the whole batch, and microbatches would make "
            "another of it: accumulation must be 1"
        )
    for name in ("dtype", "frozen_dtype"):
        if getattr(config, name) not in ("float32", "bfloat16", *(("",) if "_" in name else ())):
            raise ValueError(f"{name} is {getattr(config, name)!r}; it can be float32 or bfloat16")
    if not 0 <= config.ema < 1:
        raise ValueError(f"ema must be at least 0 and below 1, not {config.ema}")
    if config.data.sample_rate not in MELS:
        raise ValueError(
            f"data.sample_rate is {config.data.sample_rate}; log-mels are defined for "
            f"{' and '.join(map(str, MELS))} Hz"
        )
    encoded = getattr(config.stage, "encoded", False)
    if encoded != config.data.encoded:
        raise ValueError(
            f"stage.encoded is {encoded} and data.encoded is {config.data.encoded}: both say whether batches hold "
            "encodings in place of sound, where the stage can read them"
        )
    if not config.data.prepared:
        raise ValueError(
            "data.prepared names no dataset: python -m ldm_jax.data.prepare SOURCE --out DIR makes one, "
            "--config.data.prepared=\"('DIR/NAME',)\" names it"
        )
    if config.profile and (len(config.profile) != 2 or config.profile[0] > config.profile[1]):
        raise ValueError(f"profile is (first, last), not {config.profile}")
    if config.every.keep < 1:
        raise ValueError("every.keep must be at least 1: a run without a checkpoint is lost")


def to_json(config: Any) -> Any:
    """A config as plain values, for the run's folder; the stage and its class included."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        values = {
            field.name: to_json(getattr(config, field.name)) for field in dataclasses.fields(config)
        }
        return {"class": type(config).__name__, **values} if isinstance(config, Stage) else values
    if isinstance(config, ConfigDict):
        return to_json(config.to_dict())
    if isinstance(config, dict):
        return {name: to_json(value) for name, value in config.items()}
    if isinstance(config, (list, tuple)):
        return [to_json(value) for value in config]
    if callable(config):  # a weighting of one's own
        return getattr(config, "__qualname__", repr(config))
    return config
