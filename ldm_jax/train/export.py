"""python -m ldm_jax.train.export RUN [RUN ...] --out FOLDER: what runs have trained as one checkpoint to sample from.

Each RUN is the folder of a run, of a LoRA alone (`lora.json`), or of a checkpoint of ours. Networks are taken from the
runs that trained them (a later RUN before an earlier one), those that a run used as they were from where it had them,
and the rest, with tokenisers and scheduler, from --checkpoint. Moving averages are exported unless --raw is given; LoRA
is merged, or with --lora written alone. With --beside only what the runs have trained is written, to be kept next to a
whole checkpoint: students of one system share all but the UNet.

    python -m ldm_jax.train.export runs/vae runs/ldm --checkpoint cvssp/audioldm2 --out checkpoints/mine
    python sample.py "a dog barks" --checkpoint checkpoints/mine
"""

import argparse
import dataclasses
import pathlib
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from ldm_jax.convert import native
from ldm_jax.convert.checkpoint import Checkpoint, count_params
from ldm_jax.convert.lazy import CheckpointError
from ldm_jax.convert.load import load
from ldm_jax.convert.rules import Params
from ldm_jax.models.unet import UNet
from ldm_jax.models.vae import VAE
from ldm_jax.train import lora
from ldm_jax.train.representation import flat
from ldm_jax.train.trained import Trained, read_run
from ldm_jax.train.weights import first_difference


def write_export(
    system: Checkpoint,
    params: Mapping[str, Params],
    folder: pathlib.Path,
    *,
    constants: Mapping[str, Any] | None = None,
    overwrite: bool = True,
) -> None:
    """Writes networks that a run has trained as a folder of ours, whole or not at all.

    A scale of the latents that the run measured becomes the VAE's; a VAE that the run was only given is then written
    too, so that whoever goes on from this folder has the scale.

    Args:
        system: the run's networks and what is known around them, as `open_networks` gave it.
        params: of the networks to be written, as they are used: joined, merged, averaged.
        folder: to write.
        constants: that the run measured.
        overwrite: whether an earlier folder is replaced.

    Raises:
        CheckpointError: `folder` is there already and `overwrite` is off.
        OSError: it cannot be written.
    """
    params = dict(params)
    system = with_latent_scale(system, constants or {})
    if "latent_scale" in (constants or {}) and "vae" in system.params:
        params.setdefault("vae", system.params["vae"])
    whole = dataclasses.replace(
        plain(system),
        networks={name: system.networks[name] for name in params},
        params={name: jax.tree.map(np.asarray, x) for name, x in params.items()},
    )
    native.save(whole, folder, overwrite=overwrite)


def with_latent_scale(system: Checkpoint, constants: Mapping[str, Any]) -> Checkpoint:
    """`system`, its VAE with the scale of the latents that `constants` has, if it has one."""
    vae = system.networks.get("vae")
    if "latent_scale" not in constants or not isinstance(vae, VAE):
        return system
    scaled = vae.clone(scaling_factor=float(constants["latent_scale"]))
    return dataclasses.replace(system, networks={**system.networks, "vae": scaled})


def assemble(
    folders: Sequence[pathlib.Path],
    *,
    base: str = "",
    step: int | None = None,
    raw: bool = False,
    alone: bool = False,
) -> Checkpoint:
    """The system that runs and a base make together; see above.

    Args:
        folders: of runs, LoRAs and checkpoints of ours.
        base: a checkpoint in any layout, or "".
        step: of the runs' checkpoints; None is the last.
        raw: whether parameters are taken as they are, in place of their moving averages.
        alone: leaves out the networks that no run has trained.

    Raises:
        CheckpointError: a folder that is none of these, a checkpoint that is missing or damaged, a LoRA of another
            network.
    """
    loras = {folder: lora.load(folder) for folder in folders if (folder / lora.SETTINGS).is_file()}
    runs = [_trained(folder, step, raw) for folder in folders if folder not in loras]
    systems = [load(base)] if base else []
    systems += [run.system for run in runs]
    if not systems:
        raise CheckpointError(f"{folders[0]} is a LoRA alone; give --checkpoint, what it is put on")
    networks, params, tokenizers, constants = {}, {}, {}, {}
    for system in systems:
        networks |= system.networks
        params |= system.params
        tokenizers = {**system.tokenizers, **tokenizers}
    for run in runs:
        networks |= {name: run.system.networks[name] for name in run.params}
        params |= run.params
        constants |= run.constants
    for folder, saved in loras.items():
        params |= _with_lora(saved, networks, params, folder)
    around = next((system for system in systems if system.source), systems[0])
    presets = [run.system.preset for run in reversed(runs) if "unet" in run.system.networks]
    # How a UNet is sampled is known to the run that trained it.
    sampled = next((run.system for run in reversed(runs) if "unet" in run.params), around)
    if alone:
        trained = {
            *(name for run in runs for name in run.params),
            *(name for saved in loras.values() for name in saved.bases),
        }
        params = {name: tree for name, tree in params.items() if name in trained}
    whole = dataclasses.replace(
        plain(around),
        networks={name: module for name, module in networks.items() if name in params},
        params=params,
        tokenizers=tokenizers,
        preset=presets[0] if presets else around.preset,
        rest="",
        scheduler=sampled.scheduler,
        loa_tokens=sampled.loa_tokens,
        seconds=sampled.seconds,
        distilled=sampled.distilled,
    )
    return with_latent_scale(whole, constants)


def plain(system: Checkpoint) -> Checkpoint:
    """A checkpoint's own fields, without those of a subclass."""
    fields = dataclasses.fields(Checkpoint)
    return Checkpoint(**{field.name: getattr(system, field.name) for field in fields})


def missing(system: Checkpoint) -> list[str]:
    """What a system lacks to make sound from text, in words."""
    there = set(system.networks)
    needed = {"unet", "vae", "vocoder"}
    unet = system.networks.get("unet")
    if isinstance(unet, UNet):
        contexts = {dim for dim in unet.cross_attention_dims if dim is not None}
        speaks = "phoneme_encoder" in there
        if unet.film_dim:
            needed |= {"clap"}
        if len(contexts) > 1 or speaks:  # one of them is the language of audio
            needed |= {"gpt2", "translator", "clap"}
        if contexts and not speaks:
            needed |= {"t5"}
    encoders = {"clap", "t5", "phoneme_encoder"} & (there | needed)
    return [
        *sorted(needed - there),
        *(f"tokenizer files of {name}" for name in sorted(encoders - set(system.tokenizers))),
    ]


def main() -> int:
    """0 when the folder is written, 2 with one message where it cannot be."""
    parser = argparse.ArgumentParser(
        prog="python -m ldm_jax.train.export",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", nargs="+", type=pathlib.Path, metavar="RUN")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder to write")
    parser.add_argument("--checkpoint", default="", help="folder, file or Hub id for the rest")
    parser.add_argument("--step", type=int, help="of the runs' checkpoints; else the last")
    parser.add_argument("--raw", action="store_true", help="not the moving averages")
    parser.add_argument(
        "--lora", action="store_true", help="the factors of one RUN alone, not merged"
    )
    parser.add_argument("--half", action="store_true", help="weights in float16")
    parser.add_argument(
        "--int8",
        nargs="+",
        default=(),
        metavar="NETWORK",
        help="networks whose kernels and tables are written in 8 bits",
    )
    parser.add_argument(
        "--beside",
        type=pathlib.Path,
        metavar="FOLDER",
        help="of a checkpoint of ours that the rest is read from: only what RUNs have trained is written",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace FOLDER if it is there")
    arguments = parser.parse_args()
    warnings.formatwarning = lambda message, *_, **__: f"ldm_jax.train.export: {message}\n"
    try:
        if arguments.beside and arguments.checkpoint:
            raise ValueError("--beside names the folder of the rest; leave --checkpoint out")
        if arguments.lora:
            return _write_lora(arguments)
        system = assemble(
            arguments.runs,
            base=arguments.checkpoint or str(arguments.beside or ""),
            step=arguments.step,
            raw=arguments.raw,
            alone=arguments.beside is not None,
        )
        native.save(
            system,
            arguments.out,
            half=arguments.half,
            int8=arguments.int8,
            rest=arguments.beside,
            overwrite=arguments.overwrite,
        )
    except (ValueError, OSError) as error:
        print(f"ldm_jax.train.export: {error}", file=sys.stderr)
        return 2
    for name, params in system.params.items():
        print(f"{name:16} {count_params(params):>13,} parameters")
    print(f"written to {arguments.out}")
    if not arguments.beside and (lacking := missing(system)):
        print(f"to sample from it, still missing: {', '.join(lacking)}; give --checkpoint")
    return 0


def _write_lora(arguments: argparse.Namespace) -> int:
    if len(arguments.runs) != 1 or arguments.checkpoint:
        raise ValueError("--lora takes one RUN and no --checkpoint")
    run = read_run(arguments.runs[0], step=arguments.step, raw=arguments.raw)
    bases = {
        name: lora.base_of(run.system.networks[name], run.system.params[name])
        for name in run.factors
        if name in run.system.params
    }
    lora.save(run.factors, run.settings, arguments.out, bases=bases, overwrite=arguments.overwrite)
    print(
        f"{count_params(run.factors):,} numbers of rank {run.settings.rank}, written to {arguments.out}"
    )
    return 0


def _trained(folder: pathlib.Path, step: int | None, raw: bool) -> Trained:
    if (folder / "model.json").is_file():
        system = native.load(folder)
        return Trained(system=system, params=system.params)
    return read_run(folder, step=step, raw=raw)


def _with_lora(
    saved: lora.Saved,
    networks: Mapping[str, nn.Module],
    params: Mapping[str, Params],
    folder: pathlib.Path,
) -> dict[str, Params]:
    """The networks that saved factors belong to, with the factors merged."""
    for name, base in saved.bases.items():
        if name not in networks:
            raise CheckpointError(f"{folder} is a LoRA of a {name}; give --checkpoint that has one")
        differing = first_difference(base["network"], native.describe(networks[name]))
        if differing:
            field, theirs, ours = differing
            raise CheckpointError(
                f"{folder} is a LoRA of another {name}: its {field} is {theirs}, here it is {ours}"
            )
        if base["fingerprint"] != native.fingerprint(
            native.build(base["network"]), flat(params[name])
        ):
            warnings.warn(
                f"{folder} was trained on other weights of the {name} than it is now put on",
                stacklevel=2,
            )
    own = {name: params[name] for name in saved.bases}
    merged = lora.merge(own, saved.factors, scale=saved.settings.scale())
    return jax.tree.map(np.asarray, merged)


if __name__ == "__main__":
    sys.exit(main())
