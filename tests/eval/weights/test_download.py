import hashlib
import random
import socket
import sys

import pytest

from ldm_jax.eval import weights
from ldm_jax.eval.weights import Published
from ldm_jax.eval.weights import __main__ as command
from ldm_jax.eval.weights.download import download
from tests.eval.weights.server import Site, serving

CONTENT = random.Random(0).randbytes(3_000_000)
SIZE = len(CONTENT)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PATH = "/files/a%3D1.pth"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr("ldm_jax.eval.weights.download.time.sleep", lambda seconds: None)


def get(site, folder, *, path=PATH, size=SIZE, sha256=SHA256):
    published = Published(file="a=1.pth", url=site.url + path, size=size, sha256=sha256)
    return download(published, folder, progress=False)


def left(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_comes_whole(tmp_path):
    with serving(Site({PATH: CONTENT})) as site:
        path = get(site, tmp_path / "new" / "folder", path=f"/moved{PATH}")
        assert path == tmp_path / "new" / "folder" / "a=1.pth"
        assert path.read_bytes() == CONTENT
        assert left(path.parent) == ["a=1.pth"]
        before = len(site.asked)
        assert get(site, path.parent) == path  # it is there: nobody is asked
        assert len(site.asked) == before


def test_it_goes_on_after_connections_that_end(tmp_path):
    with serving(Site({PATH: CONTENT}, cut=[1_000_000, 0, 0, 500_000], failures=2)) as site:
        assert get(site, tmp_path).read_bytes() == CONTENT
        assert [wanted for _, wanted in site.asked] == [
            None,
            None,
            None,
            "bytes=1000000-",
            "bytes=1000000-",
            "bytes=1000000-",
            "bytes=1500000-",
        ]


def test_it_goes_on_in_the_next_call(tmp_path):
    (tmp_path / "a=1.pth.part").write_bytes(CONTENT[:700_000])
    with serving(Site({PATH: CONTENT})) as site:
        assert get(site, tmp_path).read_bytes() == CONTENT
        assert site.asked == [(PATH, "bytes=700000-")]
    (tmp_path / "a=1.pth").rename(tmp_path / "a=1.pth.part")  # complete but for its name
    with serving(Site({PATH: CONTENT})) as site:
        assert get(site, tmp_path).read_bytes() == CONTENT
    assert left(tmp_path) == ["a=1.pth"]


@pytest.mark.parametrize("had", [700_000, SIZE + 5])
def test_a_server_without_ranges_begins_again(tmp_path, had):
    (tmp_path / "a=1.pth.part").write_bytes(b"x" * had)
    with serving(Site({PATH: CONTENT}, ranges=False)) as site:
        assert get(site, tmp_path).read_bytes() == CONTENT


def test_a_part_that_is_too_long_begins_again(tmp_path):
    (tmp_path / "a=1.pth.part").write_bytes(CONTENT + b"more")
    with serving(Site({PATH: CONTENT})) as site:
        assert get(site, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"<html>a page</html>", r"it has 19 bytes where 3,000,000 are published"),
        (CONTENT[:-1] + b"x", r"its SHA-256 begins with \w{12} and should with " + SHA256[:12]),
    ],
)
def test_something_else_is_refused(tmp_path, content, why):
    with (
        serving(Site({PATH: content})) as site,
        pytest.raises(ValueError, match=rf"what came from .* is not a=1\.pth: {why}"),
    ):
        get(site, tmp_path)
    assert left(tmp_path) == []
    (tmp_path / "a=1.pth").write_bytes(content)
    with (
        serving(Site({})) as site,
        pytest.raises(ValueError, match=rf"is there, but {why}: remove it"),
    ):
        get(site, tmp_path)


def test_what_is_not_known_is_not_checked_but_never_half(tmp_path):
    with serving(Site({PATH: CONTENT}, cut=[10])) as site:
        assert get(site, tmp_path, size=None, sha256="").read_bytes() == CONTENT
    with (
        serving(Site({PATH: b""})) as site,
        pytest.raises(ValueError, match="it is empty"),
    ):
        get(site, tmp_path / "other", size=None, sha256="")
    assert left(tmp_path / "other") == []


def test_no_such_file_and_nobody_there(tmp_path):
    with serving(Site({})) as site, pytest.raises(ValueError, match=r"pth answers 404 Not Found"):
        get(site, tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        gone = Site({})
        gone.url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ValueError, match=r"cannot be read: .*refused"):
            get(gone, tmp_path)
    assert left(tmp_path) == []


def test_it_gives_up_and_keeps_what_came(tmp_path):
    with (
        serving(Site({PATH: CONTENT}, cut=[1_000_000, *[0] * 20])) as site,
        pytest.raises(ValueError, match="ended early; 1,000,000 bytes are kept for the next time"),
    ):
        get(site, tmp_path)
    assert left(tmp_path) == ["a=1.pth.part"]
    with serving(Site({PATH: CONTENT})) as site:
        assert get(site, tmp_path).read_bytes() == CONTENT


def test_two_at_once(tmp_path):
    import fcntl

    with (tmp_path / "a=1.pth.part").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with (
            serving(Site({PATH: CONTENT})) as site,
            pytest.raises(ValueError, match="another process"),
        ):
            get(site, tmp_path)


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["weights", *map(str, arguments)])
    return command.main()


def test_the_command(tmp_path, monkeypatch, capsys):
    """From a mirror of the Hub, as HF_ENDPOINT names one."""
    roberta, clap = "/roberta-base/resolve/main/tokenizer.json", b"0" * 100
    files = {roberta: b"{}", "/lukewys/laion_clap/resolve/main/630k-best.pt": clap}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with serving(Site(files)) as site:
        monkeypatch.setenv("HF_ENDPOINT", f"{site.url}/")
        assert run(monkeypatch, "clap:630k-best", "roberta", "--to", tmp_path) == 0
        said = capsys.readouterr().out.splitlines()
        assert said == [
            str(tmp_path / "630k-best.pt"),
            str(tmp_path / "roberta-base/tokenizer.json"),
        ]
        assert weights.find("clap:630k-best", folder=tmp_path).read_bytes() == clap
        assert weights.find_tokenizer(folder=tmp_path) == tmp_path / "roberta-base"
        assert run(monkeypatch, "clap:630k-fusion-best", "--to", tmp_path) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert "answers 404" in error
    assert run(monkeypatch, "clap:unknown") == 2
    assert "'clap:unknown' is not among vggish" in capsys.readouterr().err
    assert run(monkeypatch, "--to", tmp_path) == 0
    rows = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert rows.keys() == weights.PUBLISHED.keys()
    assert rows["clap:630k-best"] == str(tmp_path / "630k-best.pt")
    assert rows["cnn14_16k"].endswith("Cnn14_16k_mAP%3D0.438.pth (0.36 GB)")
