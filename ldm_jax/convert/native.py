"""Our own folder: `model.json`, a safetensors file a network with parameters as they are used, tokeniser files.

A folder may hold a few networks only and name another folder for the rest, as a student does that is kept beside the
system that it was distilled from.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Collection, Mapping
from typing import Any

import flax.linen as nn
import numpy as np
from flax import traverse_util

from ldm_jax.convert.checkpoint import SECONDS, Checkpoint, Own, abstract_params
from ldm_jax.convert.compact import packed, unpacked
from ldm_jax.convert.files import open_tensors, save_tensors, staged, write_json
from ldm_jax.convert.lazy import CheckpointError
from ldm_jax.convert.rules import IDENTITY, Params, Rule, Table, convert
from ldm_jax.diffusion.distilled import Distilled
from ldm_jax.models.audiomae import AudioMAE
from ldm_jax.models.bert import BERT
from ldm_jax.models.clap import CLAP
from ldm_jax.models.gpt2 import GPT2
from ldm_jax.models.htsat import HTSAT
from ldm_jax.models.lpips import LPIPS
from ldm_jax.models.patchgan import PatchGAN
from ldm_jax.models.phoneme_encoder import PhonemeEncoder
from ldm_jax.models.roberta import RoBERTa
from ldm_jax.models.t5 import T5Encoder
from ldm_jax.models.translator import Translator
from ldm_jax.models.unet import UNet
from ldm_jax.models.vae import VAE
from ldm_jax.models.vocoder import HiFiGAN
from ldm_jax.models.vocos import Vocos
from ldm_jax.models.wave_discriminators import WaveDiscriminators

FORMAT = 1
CLASSES = {
    kind.__name__: kind
    for kind in (
        *(AudioMAE, BERT, CLAP, GPT2, HTSAT, PhonemeEncoder, RoBERTa),
        *(T5Encoder, Translator, UNet, VAE, HiFiGAN, Vocos),
        *(LPIPS, PatchGAN, WaveDiscriminators),  # of training alone
    )
}
_SKIPPED = ("parent", "name", "dtype")
_AS_IT_IS = Table(rules=(Rule("{path:any}", "{path:any}", IDENTITY),))


def describe(module: nn.Module) -> dict[str, Any]:
    """A network as JSON: its class and its hyper-parameters, nested networks likewise."""
    fields = {field.name: getattr(module, field.name) for field in dataclasses.fields(module)}
    values = {
        name: describe(value) if isinstance(value, nn.Module) else value
        for name, value in fields.items()
        if name not in _SKIPPED
    }
    return {"class": type(module).__name__, **values}


def fingerprint(module: nn.Module, params: Mapping[str, np.ndarray], *, more: bytes = b"") -> str:
    """SHA-256, in hexadecimal, of what makes a network's numbers, whatever layout and file it was read from.

    Args:
        module: for its hyper-parameters.
        params: by path; their type, shape and bytes count.
        more: what counts beside them.
    """
    digest = hashlib.sha256(json.dumps(describe(module), sort_keys=True).encode())
    digest.update(more)
    for path, x in sorted(params.items()):
        digest.update(f"\n{path} {x.dtype} {x.shape}\n".encode())
        digest.update(np.ascontiguousarray(x).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def build(description: Mapping[str, Any]) -> nn.Module:
    """The network that `describe` described.

    Raises:
        CheckpointError: an unknown class or hyper-parameter.
    """
    values = dict(description)
    kind = CLASSES.get(values.pop("class", None))
    if kind is None:
        raise CheckpointError(
            f"unknown network class {description.get('class')!r}; known are {', '.join(CLASSES)}"
        )
    known = {field.name for field in dataclasses.fields(kind)} - set(_SKIPPED)
    if unknown := sorted(set(values) - known):
        raise CheckpointError(
            f"{kind.__name__} has no {', '.join(unknown)}; was this saved by a newer ldm_jax?"
        )
    return kind(**{name: _value(value) for name, value in values.items()})


def _value(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_value(item) for item in value)
    return build(value) if isinstance(value, dict) else value


def save(
    checkpoint: Checkpoint,
    folder: pathlib.Path,
    *,
    half: bool = False,
    int8: Collection[str] = (),
    rest: pathlib.Path | None = None,
    overwrite: bool = False,
) -> None:
    """Writes the folder, whole or not at all.

    Args:
        checkpoint: to write.
        folder: to write.
        half: in float16, half the room of float32 and 11 bits of each number; what reads it computes as ever.
        int8: networks whose kernels and tables are kept in 8 bits; see `convert.compact`.
        rest: a folder of ours that tokenisers are read from, and networks that are not in `checkpoint`. It is named
            relative to `folder`, so both can be moved together.
        overwrite: replaces `folder`.

    Raises:
        CheckpointError: `folder` is there already and `overwrite` is off, `int8` names no network of the checkpoint, a
            number that float16 cannot hold, or a `rest` that is no folder of ours.
        OSError: it cannot be written.
    """
    if strange := sorted(set(int8) - set(checkpoint.params)):
        raise CheckpointError(
            f"int8 names {strange[0]}, which is not among {', '.join(checkpoint.params)}"
        )
    if rest is not None:
        _content(rest)
    with staged(folder, overwrite=overwrite) as building:
        for name, params in checkpoint.params.items():
            flat = {".".join(path): x for path, x in traverse_util.flatten_dict(params).items()}
            tensors = packed(flat, network=name, half=half, int8=name in int8)
            save_tensors(building / f"{name}.safetensors", tensors)
        for name, source in ({} if rest else checkpoint.tokenizers).items():
            shutil.copytree(source, building / "tokenizers" / name)
        write_json(
            building / "model.json",
            {
                "format": FORMAT,
                "networks": {
                    name: describe(module) for name, module in checkpoint.networks.items()
                },
                "scheduler": dict(checkpoint.scheduler),
                "sample_rate": checkpoint.sample_rate,
                "hop": checkpoint.hop,
                "loa_tokens": checkpoint.loa_tokens,
                "preset": checkpoint.preset,
                "seconds": checkpoint.seconds,
                "distilled": None
                if checkpoint.distilled is None
                else checkpoint.distilled.to_json(),
                "made_from": checkpoint.source,
                **({} if rest is None else {"rest": _relative(rest, folder)}),
            },
        )


def _relative(rest: pathlib.Path, folder: pathlib.Path) -> str:
    return pathlib.PurePath(os.path.relpath(rest.resolve(), folder.resolve())).as_posix()


def load(folder: pathlib.Path) -> Checkpoint:
    """Reads what `save` wrote; arrays are views of the files.

    Raises:
        CheckpointError: a file missing, broken, or of a newer format.
        ConversionError: parameters that do not fit their network.
    """
    content = _content(folder)
    networks = {name: build(description) for name, description in content["networks"].items()}
    params = {
        name: _read(folder / f"{name}.safetensors", module) for name, module in networks.items()
    }
    tokenizers = {
        path.name: path for path in sorted((folder / "tokenizers").glob("*")) if path.is_dir()
    }
    rest = ""
    if content.get("rest"):
        others = _rest(folder, content["rest"])
        rest = others.source
        networks = {**others.networks, **networks}
        params = {**others.params, **params}
        tokenizers = {**others.tokenizers, **tokenizers}
    distilled = _distilled(content, folder)
    check_guidance(networks, distilled, source=str(folder))
    return Checkpoint(
        networks=networks,
        params=params,
        tokenizers=tokenizers,
        scheduler=content["scheduler"],
        sample_rate=content["sample_rate"],
        hop=content["hop"],
        loa_tokens=content["loa_tokens"],
        preset=content["preset"],
        source=str(folder),
        rest=rest,
        distilled=distilled,
        seconds=_seconds(content),
    )


def _rest(folder: pathlib.Path, named: Any) -> Checkpoint:
    """The folder that has what this one has not."""
    place = folder / str(named)
    if not (place / "model.json").is_file():
        raise CheckpointError(
            f"{folder} is a part of a system whose rest should be in {place}, where there is none; "
            "move both together, or export it whole"
        )
    if _content(place).get("rest"):
        raise CheckpointError(
            f"the rest of {folder}, {place}, is itself a part; it should be whole"
        )
    return load(place)


def read_own(folder: pathlib.Path) -> Own:
    """What a folder of ours is asked for where nothing else is said. No weights are read.

    Raises:
        CheckpointError: a broken `model.json`, or one of a newer format.
    """
    content = _content(folder)
    return Own(distilled=_distilled(content, folder), seconds=_seconds(content))


def check_guidance(
    networks: Mapping[str, nn.Module], distilled: Distilled | None, *, source: str
) -> None:
    """Raises CheckpointError unless a UNet takes a guidance scale just where `distilled` has a range of them."""
    unet = networks.get("unet")
    if not isinstance(unet, UNet):
        return
    takes = unet.guidance_features is not None
    if takes != bool(distilled is not None and distilled.guidance):
        raise CheckpointError(
            f"{source} does not fit together: its UNet takes {'a' if takes else 'no'} guidance scale as an input, and "
            f"what is kept of its distillation names {'no' if takes else 'a'} range of scales"
        )


def _content(folder: pathlib.Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / "model.json").read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder / 'model.json'} cannot be read: {error}") from None
    if content.get("format") != FORMAT:
        raise CheckpointError(
            f"{folder} has format {content.get('format')}; this ldm_jax reads {FORMAT}"
        )
    return content


def _distilled(content: Mapping[str, Any], folder: pathlib.Path) -> Distilled | None:
    """Folders from before there were students have nothing of this name."""
    if (told := content.get("distilled")) is None:
        return None
    try:
        if not isinstance(told, dict):
            raise ValueError(f"distilled is {told!r} and not an object")
        return Distilled.from_json(told)
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{folder / 'model.json'} cannot be understood: {error}") from None


def _seconds(content: Mapping[str, Any]) -> float:
    """Folders from before it was kept have nothing of this name."""
    return float(content.get("seconds", SECONDS))


def _read(path: pathlib.Path, module: nn.Module) -> Params:
    tensors = unpacked(open_tensors(path))
    return convert(
        {name.replace(".", "/"): x for name, x in tensors.items()},
        _AS_IT_IS,
        abstract_params(module),
        network=path.name,
    )
