"""An evaluation as the command does it: clips in, reports out."""

import argparse
import dataclasses
import pathlib
import sys
from collections.abc import Sequence

import jax

from ldm_jax.config import Generation
from ldm_jax.convert.load import read_own
from ldm_jax.eval.backbones.backbone import Backbone
from ldm_jax.eval.backbones.opening import OWN, open_backbone
from ldm_jax.eval.cache import FeatureCache
from ldm_jax.eval.clips import Clip, ClipSet, read_side
from ldm_jax.eval.command import bootstrap, named_paths, process, systems
from ldm_jax.eval.drawing import Sweep, draw, title
from ldm_jax.eval.evaluation import Options, evaluate
from ldm_jax.eval.measurement import Preset
from ldm_jax.eval.presets import PRESETS, chosen, listing
from ldm_jax.eval.processes import first
from ldm_jax.eval.recognisers import Whisper
from ldm_jax.eval.report.compare import compare_markdown, compare_table
from ldm_jax.eval.report.files import csv_text, json_text, markdown, read_report, write
from ldm_jax.eval.report.plot import plot
from ldm_jax.eval.report.record import Report
from ldm_jax.eval.report.table import table
from ldm_jax.parallel.mesh import enable_compilation_cache
from ldm_jax.pipeline.audioldm2 import AudioLDM2
from ldm_jax.text.prompts import read_prompts


def run(arguments: argparse.Namespace) -> None:
    """Evaluates, prints, and writes to --output.

    Raises:
        ValueError, OSError: bad input, in one sentence.
    """
    if arguments.presets:
        print(listing())
        return
    _check(arguments)
    if arguments.preset not in PRESETS:
        raise ValueError(f"unknown preset {arguments.preset!r}; there are {', '.join(PRESETS)}")
    preset = chosen(PRESETS[arguments.preset], arguments.metrics)
    if arguments.distributed is not None:
        joined = process(arguments)
        jax.distributed.initialize(
            joined.coordinator_address, joined.num_processes, joined.process_id
        )
    enable_compilation_cache()
    if arguments.checkpoint is not None:
        reports = _of_checkpoint(arguments, preset)
    elif arguments.compare:
        reports = _of_systems(arguments, preset)
    else:
        reports = _of_clips(arguments, preset)
    if first():
        _show(reports, arguments.output)


def _check(arguments: argparse.Namespace) -> None:
    """What does not go together, or is out of range."""
    given = len(arguments.inputs)
    if arguments.checkpoint is not None and arguments.compare:
        raise ValueError("give either --checkpoint or --compare")
    if arguments.compare and given:
        raise ValueError(
            "--compare takes all systems behind it, and their references by --reference"
        )
    if arguments.checkpoint is not None:
        if given > 1:
            raise ValueError("with --checkpoint give at most one folder, the references")
        if arguments.output is None:
            raise ValueError("--checkpoint needs --output FOLDER, where its clips go")
        if not given and arguments.captions is None:
            raise ValueError(
                "--checkpoint needs captions: a folder of references with captions, or --captions TABLE"
            )
    elif not arguments.compare and given not in (1, 2):
        raise ValueError("give a folder of generated clips, and one of references; see --help")
    if not 1 <= arguments.batch_size <= 1024:
        raise ValueError(f"--batch-size must be from 1 to 1024, not {arguments.batch_size}")
    bootstrap(arguments)
    named_paths(arguments.backbone)
    systems(arguments.compare or ())


def _of_clips(arguments: argparse.Namespace, preset: Preset) -> list[Report]:
    generated = read_side(arguments.inputs[0], captions=arguments.captions)
    reference = read_side(arguments.inputs[1]) if len(arguments.inputs) > 1 else None
    return [_evaluated(generated, reference, arguments, preset, name=arguments.name or "")]


def _of_systems(arguments: argparse.Namespace, preset: Preset) -> list[Report]:
    """Of reports those that are there, of clips new ones."""
    reference = None if arguments.reference is None else read_side(arguments.reference)
    reports = []
    backbones: dict[str, Backbone] = {}
    for system in systems(arguments.compare):
        if system.is_report:
            reports.append(dataclasses.replace(read_report(system.path), system=system.name))
            continue
        generated = read_side(system.path, captions=arguments.captions)
        reports.append(_evaluated(generated, reference, arguments, preset, system.name, backbones))
    return reports


def _of_checkpoint(arguments: argparse.Namespace, preset: Preset) -> list[Report]:
    """Draws clips for the captions, setting by setting, and evaluates each."""
    side = _captioned(arguments)
    own = read_own(arguments.checkpoint)
    sweep = Sweep(
        steps=tuple(arguments.steps),
        samplers=tuple(arguments.sampler),
        guidance_scales=tuple(arguments.guidance_scale),
        generation=Generation(
            seconds=own.seconds if arguments.seconds is None else arguments.seconds,
            eta=arguments.eta,
            candidates=arguments.candidates,
            seed=arguments.seed,
        ),
    )
    # Refused before the weights are read, or at the latest before the first clip.
    settings = sweep.settings(own.distilled)
    reference = side if arguments.inputs else None
    clips = [clip for clip in side.clips if clip.captions][: arguments.clips]
    if not clips:
        raise ValueError(f"no clip of {side.source} has a caption")
    backbones = _backbones(arguments, preset)
    model = AudioLDM2.from_pretrained(
        arguments.checkpoint,
        preset=arguments.generation_preset,
        dtype=arguments.dtype,
        devices=jax.local_devices(),
    )
    for one in settings:
        model.plan(one)
    source = {"checkpoint": arguments.checkpoint, "preset": arguments.generation_preset}
    reports = []
    for one in settings:
        folder = arguments.output / "clips" / title(one)
        draw(
            model,
            clips,
            folder,
            one,
            source={**source, "dtype": arguments.dtype},
            batch=arguments.batch_size,
            progress=sys.stderr.isatty(),
        )
        reports.append(
            _evaluated(read_side(folder), reference, arguments, preset, title(one), backbones)
        )
    return reports


def _captioned(arguments: argparse.Namespace) -> ClipSet:
    """The references with their captions; without references, the captions of a prompt file as clips to be made."""
    if arguments.inputs:
        return read_side(arguments.inputs[0], captions=arguments.captions)
    requests = read_prompts(arguments.captions)
    digits = len(str(len(requests) - 1))
    clips = tuple(
        Clip(
            name=request.name or f"{index:0{digits}d}",
            path=arguments.captions,
            captions=(request.prompt,),
            transcript=request.transcript,
        )
        for index, request in enumerate(requests)
    )
    return ClipSet(source=str(arguments.captions), clips=clips)


def _backbones(arguments: argparse.Namespace, preset: Preset) -> dict[str, Backbone]:
    """Those that the preset needs, opened.

    Our own encoders have no published file: without one their figures are left out, and the report says so.
    """
    given = named_paths(arguments.backbone)
    needed = dict.fromkeys(name for one in preset.measurements for name in one.backbones)
    if strangers := [name for name in given if name not in needed]:
        names = ", ".join(needed)
        raise ValueError(
            f"the preset {preset.name} has no backbone {strangers[0]!r}; it has {names}"
        )
    return {
        name: open_backbone(
            name, given.get(name), folder=arguments.weights, tokenizer=arguments.tokenizer
        )
        for name in needed
        if name in given or name not in OWN
    }


def _evaluated(
    generated: ClipSet,
    reference: ClipSet | None,
    arguments: argparse.Namespace,
    preset: Preset,
    name: str,
    backbones: dict[str, Backbone] | None = None,
) -> Report:
    """A report; `backbones` are filled when they are first needed."""
    backbones = {} if backbones is None else backbones
    if not backbones:
        backbones |= _backbones(arguments, preset)
    options = Options(
        cache=_cache(arguments),
        bootstrap=bootstrap(arguments),
        progress=sys.stderr.isatty(),
        recogniser=Whisper(pathlib.Path(arguments.recogniser)) if arguments.recogniser else None,
    )
    reference = generated.reference if reference is None else reference
    report = evaluate(
        generated, reference, preset=preset, backbones=backbones, system=name, options=options
    )
    if not report.figures:
        reasons = dict.fromkeys(report.skipped.values())
        raise ValueError(f"no figure can be computed of {generated.source}: {'; '.join(reasons)}")
    return report


def _cache(arguments: argparse.Namespace) -> FeatureCache | None:
    if arguments.no_cache:
        return None
    return FeatureCache() if arguments.cache is None else FeatureCache(arguments.cache)


def _show(reports: Sequence[Report], output: pathlib.Path | None) -> None:
    """Prints one report in full, or several side by side, and writes them."""
    several = len(reports) > 1
    print(compare_table(reports) if several else table(reports[0]))
    if output is None:
        return
    output.mkdir(parents=True, exist_ok=True)
    for report in reports:
        folder = output / report.system if several else output
        write(folder / "report.json", json_text(report))
        write(folder / "report.md", markdown(report))
    write(output / "report.csv", csv_text(reports))
    if several:
        write(output / "comparison.md", compare_markdown(reports))
        plot(output / "comparison.png", reports)
    print(f"written to {output}")
