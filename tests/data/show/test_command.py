import sys

import pytest

from ldm_jax.data.show.__main__ import main
from tests.data.show.material import Page, clip, tone


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["show", *map(str, arguments)])
    return main()


def test_a_page_is_written(tmp_path, monkeypatch, capsys):
    for i in range(5):
        clip(tmp_path / "set", f"{i}.wav", tone(300, 0.2))
    out = tmp_path / "pages" / "set.html"
    assert run(monkeypatch, tmp_path / "set", "--count", 3, "--out", out) == 0
    assert "set.html: 3 of 5 clips" in capsys.readouterr().out
    assert len(Page(out.read_text("utf-8")).all("audio")) == 3
    assert [path.name for path in out.parent.iterdir()] == ["set.html"]


def test_bad_input_is_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "nowhere", tmp_path / "empty"):
        assert run(monkeypatch, place, "--out", tmp_path / "page.html") == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "page.html").exists()
    with pytest.raises(SystemExit):
        run(monkeypatch, tmp_path, "--count", 0)
    assert "--count must be 1 or more" in capsys.readouterr().err
