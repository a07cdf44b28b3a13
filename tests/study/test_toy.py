"""The toy study itself, very small: the same again, and the same when it was interrupted."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from ldm_jax.study import driver
from ldm_jax.study.cells import Cell, Results
from ldm_jax.study.settings import ToyStudy
from ldm_jax.study.toy import Toy

pytestmark = pytest.mark.slow
ROOT = pathlib.Path(__file__).parents[2]
FLAGS = {
    "weightings": ("uniform", "sigmoid", "p2", "bsa"),
    "seeds": 2,
    "teacher_steps": 8,
    "students": (4, 2),
    "points": 4,
    "few_steps": (1, 2),
    "width": 8,
    "layers": 1,
    "pretraining_steps": 30,
    "round_steps": 20,
    "consistency_steps": 20,
    "batch": 32,
    "noises": 64,
    "per_level": 8,
}
STUDY = ToyStudy(**FLAGS)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A study that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    assert driver.run(STUDY, folder)
    return folder


def test_its_folder(whole):
    names = {path.name for path in whole.iterdir()}
    assert names == {
        *("study.json", "results.jsonl", "table.md", "table.json"),
        *("quality.png", "errors.png", "weightings.png"),
    }
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in whole.glob("*.png"))
    read = json.loads((whole / "table.json").read_text())
    assert read["study"]["batch"] == 32
    assert [(one["method"], one["steps"]) for one in read["settings"]] == [
        *(("progressive", 4), ("progressive", 2), ("consistency", 1), ("consistency", 2)),
    ]


def test_weightings_that_are_one_make_one_student(whole):
    """`sigmoid` and `p2` are the same function: data, noise, start and budget are too."""
    results = Results(whole)
    for method in STUDY.methods:
        one, other = (results[Cell(method, name, 1)] for name in ("sigmoid", "p2"))
        for x, y in zip(one, other, strict=True):
            for name, value in x.figures.items():
                np.testing.assert_allclose(value, y.figures[name], rtol=1e-3)
        different = results[Cell(method, "uniform", 1)]
        assert abs(different[0].figures["sliced_w2"] / one[0].figures["sliced_w2"] - 1) > 1e-3


def test_it_goes_on_where_it_was_interrupted(whole, tmp_path, monkeypatch):
    """Bit for bit, in another process, and without doing anything twice."""

    class Killed(Exception):
        pass

    done, measure = [], Toy.measure

    def until_killed(self, cell):
        if len(done) == 7:
            raise Killed
        done.append(cell)
        return measure(self, cell)

    monkeypatch.setattr(Toy, "measure", until_killed)
    with pytest.raises(Killed):
        driver.run(STUDY, tmp_path)
    monkeypatch.undo()
    assert not (tmp_path / "table.md").exists()
    before = (tmp_path / "results.jsonl").read_text()
    settings = [f"--config.{name}={value}" for name, value in FLAGS.items()]
    command = [sys.executable, "-m", "ldm_jax.study", f"--workdir={tmp_path}"]
    again = subprocess.run(
        [*command, "--config=configs/study_weighting.py:toy", *settings],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert again.returncode == 0, again.stderr
    assert "progressive, 2 steps: the lowest map error is that of" in again.stdout
    assert "consistency, 1 step: the lowest map error is that of" in again.stdout
    text = (tmp_path / "results.jsonl").read_text()
    assert text.startswith(before)
    one, other = Results(whole), Results(tmp_path)
    for seed in (0, 1):
        for cell in (Cell("teacher", "", seed), Cell("consistency", "bsa", seed)):
            assert one[cell] == other[cell]
    assert sorted(text.splitlines()) == sorted((whole / "results.jsonl").read_text().splitlines())
    assert (tmp_path / "table.md").read_text() == (whole / "table.md").read_text()


def test_more_of_it_keeps_what_is_there(whole):
    """Another weighting is measured alone."""
    before = len((whole / "results.jsonl").read_text().splitlines())
    more = ToyStudy(**(FLAGS | {"weightings": (*STUDY.weightings, "snr")}))
    assert driver.run(more, whole)
    lines = (whole / "results.jsonl").read_text().splitlines()[before:]
    assert {json.loads(line)["cell"]["weighting"] for line in lines} == {"snr"}
    assert "| snr |" in (whole / "table.md").read_text()


def test_another_study_is_refused(whole):
    with pytest.raises(ValueError, match="holds a study whose batch is 32, and this one's is 64"):
        driver.run(ToyStudy(**(FLAGS | {"batch": 64})), whole)
