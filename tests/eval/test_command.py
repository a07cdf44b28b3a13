"""`evaluate.py` as a user runs it."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import pytest

import evaluate
from ldm_jax.convert import random_checkpoint
from ldm_jax.eval.command import Process, parser, process, systems
from ldm_jax.eval.report.files import read_report

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    folder = tmp_path_factory.mktemp("system") / "tiny"
    random_checkpoint.write("tiny", folder)
    return folder


def start(*arguments, cwd):
    cache = str(pathlib.Path(cwd) / "home")
    return subprocess.Popen(
        [sys.executable, str(ROOT / "evaluate.py"), *map(str, arguments)],
        env=os.environ
        | {"JAX_PLATFORMS": "cpu", "HOME": cache, "XDG_CACHE_HOME": cache, "COLUMNS": "120"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
    )


def run(*arguments, cwd):
    started = start(*arguments, cwd=cwd)
    out, errors = started.communicate(timeout=400)
    return started.returncode, out, errors


def test_two_processes_print_one_report_of_the_same_figures(system, pair_folders, tmp_path):
    """To the last bit, with intervals; only the first writes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    common = (
        *pair_folders,
        "--preset",
        "own_encoders",
        "--backbone",
        f"clap={system}",
        "--intervals",
        30,
    )
    common += ("--metrics", "frechet_distance.clap", "clap_audio", "kernel", "mrstft", "--no-cache")
    joined = [
        start(*common, "--distributed", address, 2, i, "-o", tmp_path / f"two{i}", cwd=tmp_path)
        for i in (0, 1)
    ]
    alone = start(*common, "-o", tmp_path / "one", cwd=tmp_path)
    printed = [one.communicate(timeout=400) for one in (*joined, alone)]
    assert [one.returncode for one in (*joined, alone)] == [0, 0, 0], printed
    assert "FD CLAP" in printed[0][0]
    assert [line for line in printed[1][0].splitlines() if not line.startswith("[Gloo]")] == []
    assert not (tmp_path / "two1").exists()
    one, two = (read_report(tmp_path / name / "report.json") for name in ("one", "two0"))
    assert one == two
    assert len(one.figures) == 4


def test_bad_input_is_one_sentence(system, pair_folders, tmp_path, capsys, monkeypatch):
    generated, reference = pair_folders
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x.wav").write_bytes((generated / "clip_00.wav").read_bytes())
    own = ("--preset", "own_encoders", "--backbone", f"clap={system}")
    cases = {
        (): "give a folder of generated clips",
        ("nowhere", reference): "nowhere is not there",
        (generated, tmp_path / "empty"): "has no clip that can be read",
        (generated, reference, "--preset", "fid"): "unknown preset 'fid'; there are ldm_jax",
        (
            generated,
            reference,
            "--preset",
            "audioldm_eval",
        ): "python -m ldm_jax.eval.weights vggish",
        (generated, reference, "--metrics", "fid"): "has no 'fid'; it measures",
        (generated, reference, "--intervals", 3): "--intervals must be 0 or from 20",
        (generated, reference, "--backbone", "clap"): "--backbone takes NAME=PATH, not 'clap'",
        (generated, reference, "--distributed", "a"): "--distributed takes nothing, or HOST:PORT",
        (
            tmp_path / "other",
            *own,
            "--metrics",
            "frechet_distance.clap",
        ): "no figure can be computed",
        (
            generated,
            tmp_path / "other",
            *own,
            "--metrics",
            "clap_audio",
        ): "no figure can be computed",
        ("--checkpoint", system): "--checkpoint needs --output FOLDER",
        ("--compare", generated, generated): "two systems are called 'generated'",
    }
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for case, sentence in cases.items():
        monkeypatch.setattr(sys, "argv", ["evaluate.py", *map(str, case)])
        assert evaluate.main() == 2, case
        out, errors = capsys.readouterr()
        assert out == ""
        assert errors.startswith("evaluate.py: "), errors
        assert sentence in errors
        assert errors.count("\n") == 1, errors
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("report")]


def test_what_is_written(system, pair_folders, tmp_path):
    code, out, errors = run(
        *pair_folders, "--preset", "own_encoders", "--backbone", f"clap={system}",
        *("--metrics", "frechet", "mrstft", "--intervals", 30, "--name", "mine", "-o", "out"),
        cwd=tmp_path,
    )  # fmt: skip
    assert code == 0, errors
    assert "mine by the rules of own_encoders" in out
    assert "frechet_distance.audiomae: no weights of audiomae were given" in out
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    assert content["system"] == "mine"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "report.json",
        "report.csv",
        "report.md",
    }


def test_names_of_systems(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "report.json").write_text('{"figures": []}')
    (tmp_path / "b.csv").write_text("path\n")
    made = systems(
        [str(tmp_path / "a" / "report.json"), f"other={tmp_path / 'b'}", str(tmp_path / "b.csv")]
    )
    assert [(one.name, one.is_report) for one in made] == [
        ("a", True),
        ("other", False),
        ("b", False),
    ]
    with pytest.raises(ValueError, match="is not there"):
        systems(["nowhere"])


def test_distributed():
    read = parser().parse_args
    assert process(read(["a", "--distributed"])) == Process()
    joined = Process(coordinator_address="h:1", num_processes=4, process_id=3)
    assert process(read(["a", "--distributed", "h:1", "4", "3"])) == joined
