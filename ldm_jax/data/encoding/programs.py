"""The compiled programs: each device runs the same one on its rows, so that their number changes nothing."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Float

from ldm_jax.audio.clap_features import SAMPLE_RATE as CLAP_RATE
from ldm_jax.audio.clap_features import clap_features, clap_fusion_features
from ldm_jax.audio.kaldi import AUDIOMAE_RATE, audiomae_input
from ldm_jax.audio.log_mel import MEL_16K, MEL_48K, log_mel
from ldm_jax.audio.resampling import resample
from ldm_jax.data.encoding.parts import Part
from ldm_jax.data.encoding.settings import DTYPES, Settings
from ldm_jax.models.loa import pool_loa
from ldm_jax.parallel.mesh import place, replicated, rows
from ldm_jax.parallel.program import program

Arrays = dict[str, Any]
LOG_MELS = {settings.sample_rate: settings for settings in (MEL_16K, MEL_48K)}
POOLING = {"pooled": 8, "grid": 1}  # patches that an LOA token spans in time and in frequency


class Programs:
    """Encoders of batches of fixed shape, with their parameters on every device of a mesh."""

    def __init__(
        self, parts: Mapping[str, Part], settings: Settings, *, sample_rate: int, mesh: Mesh
    ) -> None:
        """Places the parameters; see `compiled`."""
        self._mesh = mesh
        self._run = {
            name: compiled(name, part.module, settings, sample_rate, mesh)
            for name, part in parts.items()
        }
        self._params = {name: place(part.tree, replicated(mesh)) for name, part in parts.items()}

    def __call__(self, arrays: Arrays, names: tuple[str, ...]) -> dict[str, jax.Array]:
        """The encodings `names` of a batch; its first axis must divide among the devices. Does not wait for them."""
        placed = place(arrays, rows(self._mesh))
        return {name: self._run[name](self._params[name], placed) for name in names}


@functools.cache
def compiled(
    name: str, module: Any, settings: Settings, sample_rate: int, mesh: Mesh
) -> Callable[..., Any]:
    """(parameters, arrays) -> the encoding `name`, rows divided over the mesh. Nothing is compiled before it is called.

    Raises:
        ValueError: windows that the network cannot take.
    """
    function = _FUNCTIONS[name](
        module.clone(dtype=jnp.dtype(settings.dtype)), settings, sample_rate
    )
    dtype = jnp.dtype(DTYPES.get(name, "float32"))
    return program(
        jax.shard_map(
            lambda params, arrays: function(params, arrays).astype(dtype),
            mesh=mesh,
            in_specs=(PartitionSpec(), PartitionSpec("data")),
            out_specs=PartitionSpec("data"),
            check_vma=False,
        )
    )


def window_inputs(
    wave: Float[np.ndarray, " samples"],
    names: tuple[str, ...],
    settings: Settings,
    rate: int,
    fusion: bool,
    *,
    repeat: bool = False,
) -> Arrays:
    """What the programs `names` read of one window.

    Args:
        wave: its samples, of which there are at most a window's.
        names: of windowed encodings.
        settings: of the encoding.
        rate: of the wave in Hz.
        fusion: whether CLAP reads four spectrograms.
        repeat: whether what is short is repeated, for VAE and AudioMAE; else zeros follow it.
    """
    length = round(settings.seconds * rate)
    wave = shaped(wave)
    padded = np.resize(wave, length) if repeat else np.pad(wave, (0, length - len(wave)))
    inputs: Arrays = {}
    if "latents" in names:
        inputs["wave"] = padded
    if "loa" in names:
        inputs["wave_16k"] = resample(padded, rate, AUDIOMAE_RATE)
    if "clap_audio" in names:
        wave = resample(wave, rate, CLAP_RATE)
        if fusion:
            inputs["clap"], inputs["clap_longer"] = clap_fusion_features(
                wave, padding=settings.clap_padding
            )
        else:
            inputs["clap"] = clap_features(wave, padding=settings.clap_padding)
    return {
        name: np.asarray(x, bool if x.dtype == bool else np.float32) for name, x in inputs.items()
    }


def shaped(wave: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """0.5 (wave - mean) / (max |wave - mean| + 1e-8), as in AudioLDM 2's training."""
    wave = np.asarray(wave, np.float32)
    wave = wave - wave.mean()
    return wave * (0.5 / (np.abs(wave).max() + 1e-8))


def _latents(module: Any, settings: Settings, sample_rate: int) -> Callable[..., Any]:
    mel = LOG_MELS.get(sample_rate)
    if mel is None:
        raise ValueError(f"no VAE is published for {sample_rate} Hz; there are 16000 and 48000")
    frames = round(settings.seconds * sample_rate) / mel.hop
    step = 2 ** (len(module.block_out_channels) - 1)
    if frames % step:
        raise ValueError(
            f"windows of {settings.seconds} s are {frames:g} frames, which the VAE cannot divide by {step}; "
            f"take a multiple of {step * mel.hop / sample_rate:g} s"
        )

    def run(params: Any, arrays: Arrays) -> jax.Array:
        x = log_mel(arrays["wave"], mel)[..., None]
        mean, logvar = module.apply({"params": params}, x, method="encode")
        return jnp.concatenate([mean, jnp.exp(0.5 * logvar)], axis=-1)

    return run


def _loa(module: Any, settings: Settings, _: int) -> Callable[..., Any]:
    frames, grid = module.img_size[0], module.grid
    if settings.seconds * 100 > frames:
        raise ValueError(
            f"windows of {settings.seconds} s are longer than AudioMAE's {frames / 100} s; leave out loa"
        )
    pooling = POOLING[settings.loa]

    def run(params: Any, arrays: Arrays) -> jax.Array:
        x = audiomae_input(arrays["wave_16k"], frames=frames)
        features = module.apply({"params": params}, x, method="features")
        return pool_loa(features, time_pool=pooling, freq_pool=pooling, grid=grid)

    return run


def _clap_audio(module: Any, *_: Any) -> Callable[..., Any]:
    def run(params: Any, arrays: Arrays) -> jax.Array:
        longer = arrays.get("clap_longer")
        return module.apply({"params": params}, arrays["clap"], longer, method="embed_audio")

    return run


def _t5(module: Any, *_: Any) -> Callable[..., Any]:
    return lambda params, arrays: module.apply({"params": params}, arrays["ids"], arrays["mask"])


def _clap_text(module: Any, *_: Any) -> Callable[..., Any]:
    return lambda params, arrays: module.apply(
        {"params": params}, arrays["ids"], arrays["mask"], method="embed_text"
    )


_FUNCTIONS: dict[str, Callable[..., Callable[..., Any]]] = {
    "latents": _latents,
    "loa": _loa,
    "clap_audio": _clap_audio,
    "t5": _t5,
    "clap_text": _clap_text,
}
