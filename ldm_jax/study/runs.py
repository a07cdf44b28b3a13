"""The cells of a `RunStudy`: ordinary runs of `train.py`, whose students are heard through `ldm_jax.eval`."""

import dataclasses
import functools
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from ldm_jax.config import Generation
from ldm_jax.convert.checkpoint import Checkpoint
from ldm_jax.convert.load import load
from ldm_jax.diffusion import bands
from ldm_jax.diffusion.weightings import Weighting
from ldm_jax.eval.backbones.backbone import Backbone
from ldm_jax.eval.backbones.opening import OWN, open_backbone
from ldm_jax.eval.cache import FeatureCache
from ldm_jax.eval.clips import ClipSet, read_side
from ldm_jax.eval.drawing import Sweep, draw, title
from ldm_jax.eval.evaluation import Options, evaluate
from ldm_jax.eval.measurement import Preset
from ldm_jax.eval.presets import PRESETS, chosen
from ldm_jax.eval.report.files import json_text, write
from ldm_jax.eval.report.record import Report
from ldm_jax.parallel.mesh import data_mesh
from ldm_jax.pipeline.audioldm2 import AudioLDM2
from ldm_jax.study.cells import Cell, Measured
from ldm_jax.study.references import references
from ldm_jax.study.settings import RunStudy, by_name
from ldm_jax.study.table import Quantity
from ldm_jax.train.config import Training
from ldm_jax.train.export import assemble, missing
from ldm_jax.train.log import read_log
from ldm_jax.train.loop import train

REFERENCES = "references"
LATENTS = "latents"
MAP_ERROR = "map_error"
TEACHER = Cell("teacher")
LATE = 0.25  # the last part of a round, whose logged errors count


class Runs:
    """What cells have in common: where they lie, what their students are held against, and by which networks."""

    def __init__(self, study: RunStudy, folder: pathlib.Path) -> None:
        """Opens nothing yet.

        Raises:
            ValueError: a preset or figure that there is not.
        """
        self._study, self._folder = study, folder
        self._preset = preset_of(study)

    def measure(self, cell: Cell) -> list[Measured] | None:
        """Trains the cell's run, or goes on with it, then measures each of its students; None after a signal.

        Raises:
            ValueError: whatever is wrong with the run's config, the system or the dataset, in one sentence.
        """
        _ = self._backbones, self._reference  # what lacks is told before anything is trained
        if cell.method == "teacher":
            most_first = sorted(self._study.teacher_steps, reverse=True)
            return self._heard(load(self._study.teacher), cell, most_first)
        run = self._study.runs()[cell.method]
        weighting = by_name(self._study)[cell.weighting]
        folder = self._cell_folder(cell) / "run"
        exported = folder / "export"
        if not (exported / "model.json").exists() and not train(
            configured(run, cell, weighting), folder
        ):
            return None
        steps = self._study.few_steps if cell.method == "consistency" else (None,)
        found: list[Measured] = []
        exports = [*sorted(folder.glob("rounds/*/export")), exported]
        for number, export in enumerate(exports):
            at, errors = late_errors(read_log(folder), number=number, rounds=len(exports))
            measured = self._heard(self._system(export), cell, steps)
            found += [dataclasses.replace(one, log_snr=at, errors=errors) for one in measured]
        return found

    def _heard(self, system: Checkpoint, cell: Cell, steps: Sequence[int | None]) -> list[Measured]:
        """What a system's clips are like, in each number of steps."""
        study, found = self._study, []
        model = AudioLDM2(
            system, preset=None, dtype=study.dtype or None, mesh=data_mesh(jax.local_devices())
        )
        spacing = study.teacher_spacing if cell == TEACHER else ""
        generation = Generation(seconds=study.seconds, spacing=spacing or None)
        for one in Sweep(steps=tuple(steps), generation=generation).settings(system.distilled):
            folder = self._cell_folder(cell) / "clips" / title(one)
            latents = self._cell_folder(cell) / LATENTS / title(one)
            draw(
                model,
                self._reference.clips,
                folder,
                one,
                source={"checkpoint": system.source, "preset": None, "dtype": study.dtype or None},
                batch=study.batch_size,
                latents=latents,
            )
            report = evaluate(
                read_side(folder),
                self._reference,
                preset=self._preset,
                backbones=self._backbones,
                system=cell.folder,
                options=Options(cache=FeatureCache(self._folder / "features")),
            )
            write(self._cell_folder(cell) / f"{title(one)}.json", json_text(report))
            clips = self._map_errors(latents) if self._study.teacher else ()
            found.append(measured(report, steps=one.steps, map_errors=clips))
            if not study.keep_clips:
                shutil.rmtree(folder)
                if cell != TEACHER:
                    shutil.rmtree(latents)
        return found

    def _map_errors(self, latents: pathlib.Path) -> tuple[float, ...]:
        """Of the clips by name: how far their latents are from the teacher's in the most steps, squared, a number."""
        own = self._cell_folder(TEACHER) / LATENTS
        most = max(own.iterdir(), key=lambda one: int(one.name.split("-")[-2]))
        names = sorted(path.name for path in most.glob("*.npy"))
        return tuple(
            float(np.mean((np.load(latents / name) - np.load(most / name)) ** 2)) for name in names
        )

    def _cell_folder(self, cell: Cell) -> pathlib.Path:
        return self._folder / "cells" / cell.folder

    def _system(self, export: pathlib.Path) -> Checkpoint:
        """A student with all that makes sound of what it says."""
        system = assemble([export], base=self._study.system)
        if lacking := missing(system):
            raise ValueError(
                f"no clips can be drawn of {export}: missing are {', '.join(lacking)}; set system to a checkpoint "
                "that has them"
            )
        return system

    @functools.cached_property
    def _reference(self) -> ClipSet:
        return references(self._study, self._folder / REFERENCES)

    @functools.cached_property
    def _backbones(self) -> Mapping[str, Backbone]:
        """Those that the preset needs; our own encoders only where the study names them.

        Raises:
            ValueError: a primary figure that would need one of those that it does not name.
        """
        given = self._study.backbones.to_dict()
        where = self._study.backbone_folder
        needed = dict.fromkeys(name for one in self._preset.measurements for name in one.backbones)
        found = {
            name: open_backbone(
                name, given.get(name), folder=pathlib.Path(where) if where else None
            )
            for name in needed
            if name in given or name not in OWN
        }
        for one in self._preset.measurements:
            lacking = [name for name in one.backbones if name not in found]
            if lacking and one.name in self._study.primary:
                raise ValueError(
                    f"primary names {one.name!r}, which needs the network {lacking[0]}: name a checkpoint that has "
                    f"it in backbones.{lacking[0]}"
                )
        return found


def configured(run: Training, cell: Cell, weighting: str | Weighting) -> Training:
    """The run of a cell: the method's, with the cell's weighting and seed."""
    stage = dataclasses.replace(run.stage, weighting=weighting)
    return dataclasses.replace(run, name=cell.folder, seed=cell.seed, stage=stage)


def measured(report: Report, *, steps: int, map_errors: Sequence[float]) -> Measured:
    """A report's figures with their intervals, and `map_error` where there are map errors, a number a clip."""
    estimates = {figure.name: figure.estimate for figure in report.figures}
    figures = {name: float(one.value) for name, one in estimates.items()}
    if map_errors:
        figures[MAP_ERROR] = float(np.mean(map_errors))
    return Measured(
        steps=steps,
        figures=figures,
        clips={MAP_ERROR: tuple(map_errors)} if map_errors else {},
        bounds={
            name: (one.low, one.high)
            for name, one in estimates.items()
            if one.low is not None and one.high is not None
        },
    )


def preset_of(study: RunStudy) -> Preset:
    """The preset's figures that are asked for.

    Raises:
        ValueError: no such preset, figure, or primary figure.
    """
    if study.preset not in PRESETS:
        raise ValueError(f"unknown preset {study.preset!r}; there are {', '.join(PRESETS)}")
    preset = chosen(PRESETS[study.preset], study.metrics or None)
    names = [one.name for one in preset.measurements]
    if strangers := [name for name in study.primary if name not in names]:
        raise ValueError(f"primary names {strangers[0]!r}; what is measured is {', '.join(names)}")
    return preset


def quantities(study: RunStudy) -> tuple[Quantity, ...]:
    """The preset's figures, primary ones first."""
    found = [
        Quantity(
            name=one.name,
            label=one.label,
            higher=one.better == "higher",
            primary=one.name in study.primary,
        )
        for one in preset_of(study).measurements
    ]
    if study.teacher:
        found.insert(0, Quantity(name=MAP_ERROR, label="map error", over_clips=True))
    return tuple(sorted(found, key=lambda one: not one.primary))


def late_errors(
    log: Sequence[Mapping[str, Any]], *, number: int, rounds: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(centres of log-SNR bands, mean squared errors of x0 there) near the end of a round.

    Means of what the log says, as `error/log_snr`, of the round's last quarter; bands without any are left out.

    Args:
        log: lines of `log.jsonl`.
        number: of the round, from 0.
        rounds: of as many equal ones.
    """
    lines = [line for line in log if "error/log_snr" in line]
    if not lines:
        return (), ()
    length = max(line["step"] for line in lines) / rounds
    end = (number + 1) * length
    late = [x["error/log_snr"] for x in lines if end - LATE * length < x["step"] <= end]
    found = np.array(late, np.float64).reshape(-1, len(bands.EDGES) + 1)
    there = ~np.isnan(found).all(axis=0)
    edges = np.asarray(bands.EDGES)
    centres = np.concatenate([[edges[0] - 1], (edges[1:] + edges[:-1]) / 2, [edges[-1] + 1]])
    errors = np.nanmean(found[:, there], axis=0)
    return tuple(map(float, centres[there])), tuple(map(float, errors))
