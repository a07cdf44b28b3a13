"""Cells that are runs: which they are, what is read of them, and one small study from the command to the table."""

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

from ldm_jax import AudioLDM2
from ldm_jax.convert import native
from ldm_jax.data.prepared import open_prepared
from ldm_jax.eval.clips import read_side
from ldm_jax.eval.drawing import clip_seed
from ldm_jax.parallel.mesh import data_mesh
from ldm_jax.study import references, runs
from ldm_jax.study.cells import Cell, Results
from ldm_jax.study.settings import RunStudy
from ldm_jax.train.config import Training
from ldm_jax.train.export import assemble
from ldm_jax.train.log import read_log
from ldm_jax.train.stages.progressive import ProgressiveStage
from tests.train.distillation_config import write_system
from tests.train.running import ROOT, last_step, lines

NONE = None  # as the log writes what was not counted


def test_a_cell_is_the_run_with_its_weighting_and_seed():
    run = Training(name="any", stage=ProgressiveStage(students=(2, 1)), batch=3, seed=9)
    made = runs.configured(run, Cell("progressive", "bsa:gamma=3", 1), "bsa:gamma=3")
    assert made == dataclasses.replace(
        run,
        name="progressive-bsa_gamma_3-1",
        seed=1,
        stage=ProgressiveStage(students=(2, 1), weighting="bsa:gamma=3"),
    )
    assert (run.seed, run.stage.weighting) == (9, "bsa")


def test_errors_are_those_near_the_end_of_a_round():
    """Two rounds of 8 steps: of the second, steps 15 and 16 count."""
    log = [
        {"step": step, "error/log_snr": [float(step), NONE, NONE, 1.0, NONE, NONE, value]}
        for step, value in ((6, 9.0), (7, 9.0), (8, 5.0), (14, 9.0), (15, 2.0), (16, NONE))
    ]
    log.insert(2, {"step": 8, "val/error/log_snr": [7.0] * 7})
    assert runs.late_errors(log, number=0, rounds=2) == ((-7.0, -1.0, 5.0), (7.5, 1.0, 7.0))
    assert runs.late_errors(log, number=1, rounds=2) == ((-7.0, -1.0, 5.0), (15.5, 1.0, 2.0))
    assert runs.late_errors([{"step": 3, "loss": 1.0}], number=0, rounds=1) == ((), ())


@pytest.mark.slow
def test_references_are_the_splits_first_clips(prepared, tmp_path):
    study = RunStudy(prepared=(prepared,), split="train", clips=4)
    references.write_references(study, tmp_path)
    rows = [row for row in open_prepared(prepared).rows("train") if row.captions][:4]
    side = read_side(tmp_path)
    assert [clip.captions for clip in side.clips] == [row.captions[:1] for row in rows]
    for clip, row in zip(side.clips, rows, strict=True):
        wave, rate = soundfile.read(clip.path)
        assert (len(wave), rate) == (row.samples, row.sample_rate)
        np.testing.assert_allclose(np.abs(wave).max(), min(row.peak, 1), atol=1e-3)
    twice = dataclasses.replace(
        study, prepared=(prepared, prepared), clips=2, seconds=0.64, padding="repeat"
    )
    references.write_references(twice, tmp_path / "twice")
    again = read_side(tmp_path / "twice")
    captions = [row.captions[:1] for row in rows[:2]]
    assert [clip.captions for clip in again.clips] == captions * 2
    for clip in again.clips:
        wave, rate = soundfile.read(clip.path)
        assert (len(wave), rate) == (10_240, 16_000)
        assert np.abs(wave).max() > 0.1
    with pytest.raises(ValueError, match="has no split 'nowhere'"):
        references.write_references(dataclasses.replace(study, split="nowhere"), tmp_path)


def test_what_is_measured():
    found = runs.quantities(RunStudy(preset="own_encoders", primary=("clap_text",)))
    assert (found[0].name, found[0].higher, found[0].primary) == ("clap_text", True, True)
    assert [one.name for one in found if one.primary] == ["clap_text"]
    assert not next(one for one in found if one.name == "mrstft").higher
    with pytest.raises(ValueError, match="unknown preset 'mine'"):
        runs.quantities(RunStudy(preset="mine"))
    with pytest.raises(ValueError, match=r"primary names 'frechet_distance\.cnn14_16k'; what is"):
        runs.quantities(RunStudy(preset="own_encoders"))


def test_what_lacks_is_told_before_training(tmp_path):
    study = RunStudy(preset="own_encoders", metrics=("mrstft", "clap_text"), primary=("clap_text",))
    with pytest.raises(ValueError, match="primary names 'clap_text', which needs the network clap"):
        runs.Runs(study, tmp_path).measure(Cell("progressive", "bsa", 0))


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    return write_system(tmp_path_factory.mktemp("system"))


@pytest.fixture(scope="module")
def studied(system, prepared, tmp_path_factory):
    """A study that a signal ended within its first cell, and that went on."""
    folder = tmp_path_factory.mktemp("studied")
    first = folder / "cells" / "progressive-bsa-0" / "run"
    module = [sys.executable, "-m", "ldm_jax.study", f"--workdir={folder}"]
    told = {"TOY_SYSTEM": system, "TOY_DATA": prepared, "JAX_NUM_CPU_DEVICES": "1"}
    options = {"cwd": ROOT, "env": os.environ | told, "text": True, "stderr": subprocess.PIPE}
    command = [*module, "--config=tests/study/runs_config.py"]
    with subprocess.Popen(command, **options) as process:
        until = time.monotonic() + 600
        try:
            while last_step(first) < 5 or not list(first.glob("checkpoints/0*[0-9]")):
                assert process.poll() is None, process.stderr.read()
                assert time.monotonic() < until, "no progress"
                time.sleep(0.01)
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=120) == 143, process.stderr.read()
        finally:
            process.kill()
    cells = [Cell("teacher"), Cell("progressive", "bsa", 0)]
    assert list(Results(folder).of(cells)) == cells[:1]
    done = subprocess.run(command, **options)
    assert done.returncode == 0, done.stderr
    assert "goes on after step" in done.stderr
    return folder


@pytest.mark.slow
def test_weightings_see_the_same(studied):
    """Of one seed: data, noise, levels and start, so that their first errors without weights are one."""
    first = {
        (weighting, seed): lines(studied / "cells" / f"progressive-{weighting}-{seed}" / "run")[1]
        for weighting in ("bsa", "inverse")
        for seed in (0, 1)
    }
    for seed in (0, 1):
        one, other = first["bsa", seed], first["inverse", seed]
        np.testing.assert_allclose(one["loss/x0"], other["loss/x0"], rtol=1e-5)
        assert abs(one["loss"] / other["loss"] - 1) > 0.1
    assert abs(first["bsa", 0]["loss/x0"] / first["bsa", 1]["loss/x0"] - 1) > 1e-3


@pytest.mark.slow
def test_students_are_drawn_and_measured(studied, system):
    """Each of both students in its own steps, a clip being what `generate` gives."""
    cell = Cell("progressive", "inverse", 1)
    found = Results(studied)[cell]
    assert [one.steps for one in found] == [4, 2]
    folder = studied / "cells" / cell.folder
    for one in found:
        report = json.loads((folder / f"progressive-{one.steps}-1.json").read_text())
        estimates = {figure["name"]: figure["estimate"] for figure in report["figures"]}
        values = {name: estimate["value"] for name, estimate in estimates.items()}
        assert one.figures == values | {"map_error": np.mean(one.clips["map_error"])}
        assert values.keys() == {"mrstft", "mel"}
        assert one.bounds == {name: (x["low"], x["high"]) for name, x in estimates.items()}
        assert report["generated"]["clips"] == 2
    assert found[0].figures != found[1].figures
    log = read_log(folder / "run")
    assert (found[1].log_snr, found[1].errors) == runs.late_errors(log, number=1, rounds=2)
    assert found[0].errors != found[1].errors

    student = assemble([folder / "run" / "export"], base=system)
    assert student.distilled.steps == 2
    model = AudioLDM2(student, preset=None, dtype=None, mesh=data_mesh())
    (clip, *_) = read_side(studied / "references").clips
    made = model.generate(list(clip.captions), seconds=0.64, seed=clip_seed(clip.name, 0))
    drawn, _ = soundfile.read(folder / "clips" / "progressive-2-1" / f"{clip.name}.wav")
    np.testing.assert_allclose(drawn, np.clip(made.audio[0], -1, 1), atol=1e-3)

    (teacher,) = Results(studied)[Cell("teacher")]
    assert (teacher.steps, teacher.figures["map_error"]) == (8, 0.0)
    model = AudioLDM2(native.load(pathlib.Path(system)), preset=None, dtype=None, mesh=data_mesh())
    seed = clip_seed(clip.name, 0)
    asked = {"seconds": 0.64, "steps": 8, "spacing": "trailing"}
    theirs = model.generate(list(clip.captions), seed=seed, **asked)
    apart = np.mean((made.latents[0] - theirs.latents[0]) ** 2)
    np.testing.assert_allclose(found[1].clips["map_error"][0], apart, rtol=1e-4)


@pytest.mark.slow
def test_the_table_of_runs(studied):
    read = json.loads((studied / "table.json").read_text())
    assert [(one["method"], one["steps"]) for one in read["settings"]] == [
        ("progressive", 4),
        ("progressive", 2),
    ]
    seeds = read["settings"][1]["quantities"]["mrstft"]["inverse"]["seeds"]
    cells = [Results(studied)[Cell("progressive", "inverse", seed)] for seed in (0, 1)]
    assert seeds == [found[1].figures["mrstft"] for found in cells]
    assert read["others"]["teacher"][0]["steps"] == 8
    exports = studied / "cells" / "progressive-bsa-0" / "run" / "rounds"
    assert native.load(next(exports.glob("*/export"))).distilled.steps == 4
