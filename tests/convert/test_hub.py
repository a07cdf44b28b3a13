import http.server
import json
import os
import pathlib
import subprocess
import sys
import threading

import huggingface_hub
import pytest
from huggingface_hub import constants

from ldm_jax.convert.hub import resolve, unneeded
from ldm_jax.convert.lazy import CheckpointError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "model_index.json": b"{}",
    "unet/config.json": b'{"channels": 2}',
    "unet/diffusion_pytorch_model.safetensors": b"safe weights",
    "unet/diffusion_pytorch_model.bin": b"pickled weights",
    "vocoder/pytorch_model.bin": b"only pickled",
    "vocoder/flax_model.msgpack": b"flax",
}


def cached(cache, name, files, *, revision="main", commit=COMMIT):
    """Lays a repository out as huggingface_hub's cache does."""
    repository = cache / f"models--{name.replace('/', '--')}"
    for number, (file, content) in enumerate(files.items()):
        blob = repository / "blobs" / f"{number:040x}"
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        link = repository / "snapshots" / commit / file
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / revision).write_text(commit)
    return repository / "snapshots" / commit


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def test_a_local_path_wins(tmp_path, cache, monkeypatch):
    cached(cache, "cvssp/audioldm2", FILES)
    monkeypatch.chdir(tmp_path)
    local = pathlib.Path("cvssp/audioldm2")
    local.mkdir(parents=True)
    assert resolve("cvssp/audioldm2") == local
    (tmp_path / "x.pth").touch()
    assert resolve(tmp_path / "x.pth") == tmp_path / "x.pth"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve("~/x.pth") == tmp_path / "x.pth"


def test_the_cache_serves_offline(cache):
    main = cached(cache, "cvssp/audioldm2", FILES)
    old = cached(cache, "cvssp/audioldm2", FILES, revision="v1", commit="f" * 40)
    plain = cached(cache, "roberta-base", {"vocab.json": b"{}"})
    assert resolve("cvssp/audioldm2") == main
    assert resolve(pathlib.Path("cvssp/audioldm2")) == main
    assert resolve("cvssp/audioldm2", revision="v1") == old
    assert resolve("cvssp/audioldm2", revision="f" * 40) == old
    assert resolve("roberta-base", allow_patterns=["*.json"]) == plain
    assert (main / "unet/config.json").read_bytes() == FILES["unet/config.json"]


def test_a_cache_with_holes_is_used_as_it_is(cache):
    """Newer clients know which files a snapshot should have, and refuse it without a README."""
    snapshot = cached(cache, "cvssp/audioldm2", FILES)
    listing = snapshot.parents[1] / "trees" / f"{COMMIT}.json"
    listing.parent.mkdir()
    entry = {"size": 1, "blob_id": "0" * 40}
    listing.write_text(json.dumps({"README.md": entry, **{name: entry for name in FILES}}))
    assert resolve("cvssp/audioldm2") == snapshot


def test_neither_here_nor_in_the_cache(cache):
    cached(cache, "cvssp/audioldm2", FILES)
    with pytest.raises(CheckpointError) as caught:
        resolve("cvssp/audioldm2-large")
    message = str(caught.value)
    assert message.startswith("cvssp/audioldm2-large is not a file or folder here")
    assert str(cache) in message
    assert "HF_HUB_OFFLINE is set" in message
    assert "`hf download cvssp/audioldm2-large`" in message
    assert "\n" not in message
    with pytest.raises(CheckpointError, match="audioldm2 at revision v9 is not"):
        resolve("cvssp/audioldm2", revision="v9")


@pytest.mark.parametrize(
    "name", ["./missing", "/missing/folder", "a/b/c", "model.pth", "out/x.safetensors", "a b", "-"]
)
def test_what_cannot_be_an_id_is_not_looked_up(cache, monkeypatch, name):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", None)
    with pytest.raises(CheckpointError, match=f"^{name} does not exist, nor is it an id"):
        resolve(name)


def test_files_that_are_not_downloaded():
    files = {
        "README.md": True,
        "model_index.json": True,
        "audioldm2-full.pth": True,
        "special_tokens_map.json": True,
        "both/model.safetensors": True,
        "both/pytorch_model.bin": False,
        "both/model.fp16.safetensors": False,
        "both/flax_model.msgpack": False,
        "both/tf_model.h5": False,
        "pickled/pytorch_model.bin": True,
        "pickled/pytorch_model.fp16.bin": False,
        "sharded/model-00001-of-00002.safetensors": True,
        "sharded/model.safetensors.index.json": True,
        "sharded/pytorch_model-00001-of-00002.bin": False,
        "sharded/pytorch_model.bin.index.json": False,
        "sharded/model.safetensors.index.fp16.json": False,
        "sharded/model.fp16-00001-of-00002.safetensors": False,
        "half/model.fp16.safetensors": True,
        "half/model.fp16-00001-of-00002.safetensors": True,
    }
    assert unneeded(files) == [name for name, needed in files.items() if not needed]


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the Hub as downloading needs; repositories called `gated/...` refuse files."""

    requested: list[str]

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self.path.split("?")[0]
        type(self).requested.append(path)
        siblings = [{"rfilename": name} for name in FILES]
        tree = [
            {"type": "file", "path": name, "size": len(content), "oid": f"{n:040x}"}
            for n, (name, content) in enumerate(FILES.items())
        ]
        _, *parts = path.split("/")
        if parts[:2] == ["api", "models"]:
            name, call = "/".join(parts[2:4]), parts[4:]
            if name == "no/such":
                return self.answer(401, {}, {"X-Error-Code": "RepoNotFound"})
            if call == ["revision", "v9"]:
                return self.answer(404, {}, {"X-Error-Code": "RevisionNotFound"})
            if call[:1] == ["tree"]:
                return self.answer(200, tree)
            return self.answer(200, {"id": name, "sha": COMMIT, "siblings": siblings})
        if parts[0] == "gated":
            return self.answer(403, {}, {"X-Error-Code": "GatedRepo"})
        name = "/".join(parts[4:])
        head = {"ETag": f'"{list(FILES).index(name):040x}"', "X-Repo-Commit": COMMIT}
        return self.answer(200, FILES[name], head)

    def answer(self, code, content, headers=None):
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def hub():
    Hub.requested = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


PROGRAM = """
import sys
from ldm_jax.convert.hub import resolve
from ldm_jax.convert.lazy import CheckpointError
name, revision = sys.argv[1:]
try:
    print(resolve(name, revision=revision or None))
except CheckpointError as error:
    print("CheckpointError:", error)
"""


def ask(tmp_path, endpoint, name, revision="", **more):
    """What a fresh process answers; the client reads its environment once, on import."""
    environment = {
        **{key: value for key, value in os.environ.items() if "proxy" not in key.lower()},
        **{"HF_HOME": str(tmp_path), "HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0"},
        **{"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_XET": "1", **more},
    }
    environment.pop("HF_HUB_CACHE", None)
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, name, revision],
        **{"env": environment, "capture_output": True, "text": True, "check": True},
        timeout=120,
    ).stdout.strip()


def test_from_a_hub_and_then_without_it(tmp_path, hub):
    snapshot = tmp_path / "hub" / "models--cvssp--audioldm2" / "snapshots" / COMMIT
    assert ask(tmp_path, hub, "cvssp/audioldm2") == str(snapshot)
    there = {p.relative_to(snapshot).as_posix() for p in snapshot.rglob("*") if p.is_file()}
    assert there == set(FILES) - {"unet/diffusion_pytorch_model.bin", "vocoder/flax_model.msgpack"}
    assert (snapshot / "vocoder/pytorch_model.bin").read_bytes() == b"only pickled"
    fetched = [path for path in Hub.requested if "/resolve/" in path]
    assert fetched
    assert not [p for p in fetched if p.endswith(("unet/diffusion_pytorch_model.bin", "msgpack"))]

    closed = "http://127.0.0.1:9"  # the discard port: nobody answers
    assert ask(tmp_path, closed, "cvssp/audioldm2") == str(snapshot)
    assert ask(tmp_path, hub, "cvssp/audioldm2", HF_HUB_OFFLINE="1") == str(snapshot)
    assert ask(tmp_path, closed, "other/model").startswith(
        "CheckpointError: other/model is not a file or folder here"
    )


@pytest.mark.parametrize(
    ("name", "revision", "sentence"),
    [
        ("no/such", "", "no/such is neither a file or folder here nor a repository on the Hub"),
        ("cvssp/audioldm2", "v9", "cvssp/audioldm2 on the Hub has no revision v9"),
        (
            "gated/model",
            "",
            "gated/model is gated: accept its terms at https://huggingface.co/gated",
        ),
    ],
)
def test_what_the_hub_refuses(tmp_path, hub, name, revision, sentence):
    assert ask(tmp_path, hub, name, revision).startswith(f"CheckpointError: {sentence}")
