"""The diffusers layout: a folder a component, as `cvssp/audioldm2` and its siblings are published."""

import dataclasses
import json
import pathlib
import shutil
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import numpy as np

from ldm_jax.convert import clap, gpt2, phoneme_encoder, t5, translator, unet, vae, vocoder
from ldm_jax.convert.checkpoint import SCHEDULER, Checkpoint, abstract_params
from ldm_jax.convert.files import (
    find_weights,
    open_tensors,
    save_tensors,
    staged,
    write_json,
)
from ldm_jax.convert.lazy import CheckpointError
from ldm_jax.convert.rules import ConversionError, Table, convert, export
from ldm_jax.models.bert import BERT
from ldm_jax.models.clap import CLAP
from ldm_jax.models.vocos import Vocos

DEFAULT_LOA_TOKENS = {"t5": 8, "phoneme_encoder": 512}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Component:
    """Where a network lies in this layout and how it is read.

    Attributes:
        folder: of the component.
        classes: [library, class] as `model_index.json` names it.
        from_config: `config.json` to network.
        to_config: and back.
        table: of its weights.
        weights: stem of the weights' file on export.
    """

    folder: str
    classes: tuple[str, str]
    from_config: Callable[[Mapping[str, Any]], nn.Module]
    to_config: Callable[[Any], dict[str, Any]]
    table: Table
    weights: str = "diffusion_pytorch_model"


COMPONENTS = {
    "unet": Component(
        folder="unet",
        classes=("audioldm2", "AudioLDM2UNet2DConditionModel"),
        from_config=unet.from_config,
        to_config=unet.to_config,
        table=unet.DIFFUSERS,
    ),
    "vae": Component(
        folder="vae",
        classes=("diffusers", "AutoencoderKL"),
        from_config=vae.from_config,
        to_config=vae.to_config,
        table=vae.DIFFUSERS,
    ),
    "vocoder": Component(
        folder="vocoder",
        classes=("transformers", "SpeechT5HifiGan"),
        from_config=vocoder.from_config,
        to_config=vocoder.to_config,
        table=vocoder.TRANSFORMERS,
        weights="model",
    ),
    "clap": Component(
        folder="text_encoder",
        classes=("transformers", "ClapModel"),
        from_config=clap.from_config,
        to_config=clap.to_config,
        table=clap.TRANSFORMERS,
        weights="model",
    ),
    "t5": Component(
        folder="text_encoder_2",
        classes=("transformers", "T5EncoderModel"),
        from_config=t5.from_config,
        to_config=t5.to_config,
        table=t5.TRANSFORMERS,
        weights="model",
    ),
    "phoneme_encoder": Component(
        folder="text_encoder_2",
        classes=("transformers", "VitsModel"),
        from_config=phoneme_encoder.from_config,
        to_config=phoneme_encoder.to_config,
        table=phoneme_encoder.TRANSFORMERS,
        weights="model",
    ),
    "gpt2": Component(
        folder="language_model",
        classes=("transformers", "GPT2Model"),
        from_config=gpt2.from_config,
        to_config=gpt2.to_config,
        table=gpt2.TRANSFORMERS,
        weights="model",
    ),
    "translator": Component(
        folder="projection_model",
        classes=("audioldm2", "AudioLDM2ProjectionModel"),
        from_config=translator.from_config,
        to_config=translator.to_config,
        table=translator.DIFFUSERS,
    ),
}
TOKENIZERS = {"clap": "tokenizer", "t5": "tokenizer_2", "phoneme_encoder": "tokenizer_2"}
TOKENIZER_CLASSES = {
    "clap": "RobertaTokenizerFast",
    "t5": "T5TokenizerFast",
    "phoneme_encoder": "VitsTokenizer",
}


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """The object in a JSON file; CheckpointError where there is none."""
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} is missing; is {path.parent.parent} a whole checkpoint?"
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON: {error}") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} should hold a JSON object")
    return content


def load(folder: pathlib.Path) -> Checkpoint:
    """Reads a folder in this layout; arrays stay views of its files where they can.

    Raises:
        CheckpointError: a file missing or broken.
        ConversionError: a config that asks for what is not supported, or weights that do not fit it.
    """
    index = read_json(folder / "model_index.json")
    second = (index.get("text_encoder_2") or [None, "T5EncoderModel"])[1]
    names = [name for name in COMPONENTS if name not in ("t5", "phoneme_encoder")]
    names.append("phoneme_encoder" if second == "VitsModel" else "t5")
    configs = {name: read_json(folder / COMPONENTS[name].folder / "config.json") for name in names}
    networks = {name: COMPONENTS[name].from_config(configs[name]) for name in names}
    params = {}
    for name in names:
        component = COMPONENTS[name]
        tensors = open_tensors(find_weights(folder / component.folder))
        params[name] = convert(
            tensors,
            component.table,
            abstract_params(networks[name]),
            network=f"{folder}/{component.folder}",
        )
    default = DEFAULT_LOA_TOKENS["phoneme_encoder" if "phoneme_encoder" in names else "t5"]
    rates = configs["vocoder"]["upsample_rates"]
    return Checkpoint(
        networks=networks,
        params=params,
        tokenizers={name: folder / TOKENIZERS[name] for name in names if name in TOKENIZERS},
        scheduler=read_json(folder / "scheduler" / "scheduler_config.json"),
        sample_rate=int(configs["vocoder"]["sampling_rate"]),
        hop=int(np.prod(rates)),
        loa_tokens=int(configs["gpt2"].get("max_new_tokens") or default),
        preset=None,
        source=str(folder),
    )


def save(checkpoint: Checkpoint, folder: pathlib.Path, *, overwrite: bool = False) -> None:
    """Writes the layout that `AudioLDM2Pipeline.from_pretrained` reads, whole or not at all.

    Raises:
        ConversionError: a system that diffusers' pipeline cannot be, one without a translator, say, or a distilled one.
        CheckpointError: `folder` is there already and `overwrite` is off.
    """
    if checkpoint.distilled is not None:
        raise ConversionError(
            "the diffusers layout has no place for how a distilled model is to be sampled; keep it in a folder of ours"
        )
    if missing := [n for n in ("clap", "gpt2", "translator") if n not in checkpoint.networks]:
        raise ConversionError(
            f"the diffusers layout needs {', '.join(missing)}, which this checkpoint lacks"
        )
    if isinstance(checkpoint.networks.get("t5"), BERT):
        raise ConversionError(
            "diffusers' pipeline takes a T5 as its second text encoder, and this checkpoint has a BERT; keep it in a "
            "folder of ours"
        )
    if isinstance(checkpoint.networks.get("vocoder"), Vocos):
        raise ConversionError(
            "diffusers' pipeline takes a HiFi-GAN as its vocoder, and this checkpoint has a Vocos; keep it in a folder "
            "of ours"
        )
    names = [name for name in COMPONENTS if name in checkpoint.networks]
    with staged(folder, overwrite=overwrite) as building:
        index: dict[str, Any] = {"_class_name": "AudioLDM2Pipeline"}
        for name in names:
            component = COMPONENTS[name]
            place = building / component.folder
            config = component.to_config(checkpoint.networks[name])
            if name == "gpt2":
                config["max_new_tokens"] = checkpoint.loa_tokens
            if name == "vocoder":
                config["sampling_rate"] = checkpoint.sample_rate
            write_json(place / "config.json", config)
            tensors = export(checkpoint.params[name], component.table, network=name)
            if isinstance(network := checkpoint.networks[name], CLAP):
                tensors |= clap.buffers(network)
            save_tensors(place / f"{component.weights}.safetensors", tensors)
            index[component.folder] = list(component.classes)
        for name, source in checkpoint.tokenizers.items():
            shutil.copytree(source, building / TOKENIZERS[name])
            index[TOKENIZERS[name]] = ["transformers", TOKENIZER_CLASSES[name]]
        write_json(
            building / "scheduler" / "scheduler_config.json", {**SCHEDULER, **checkpoint.scheduler}
        )
        index["scheduler"] = ["diffusers", checkpoint.scheduler.get("_class_name", "DDIMScheduler")]
        write_json(
            building / "feature_extractor" / "preprocessor_config.json", clap.FEATURE_EXTRACTOR
        )
        index["feature_extractor"] = ["transformers", "ClapFeatureExtractor"]
        write_json(building / "model_index.json", index)
