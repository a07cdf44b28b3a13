"""musicnn as evaluation opens it: from an installed package, a folder or the wheel."""

import hashlib
import zipfile

import numpy as np
import pytest

from ldm_jax.convert.lazy import CheckpointError
from ldm_jax.convert.musicnn import TENSORFLOW
from ldm_jax.convert.random_checkpoint import random_params
from ldm_jax.convert.rules import export
from ldm_jax.eval.backbones.opening import open_backbone
from ldm_jax.models.musicnn import Musicnn
from tests.convert import bundle_bytes

NETWORKS = {
    "MTT_musicnn": Musicnn(timbre=6, rhythm=4, middle=6, hidden=8, num_tags=20),
    "MSD_musicnn": Musicnn(timbre=4, rhythm=2, middle=8, hidden=6, num_tags=10),
}


@pytest.fixture(scope="module")
def params():
    return {name: random_params(module, name=name, seed=0) for name, module in NETWORKS.items()}


@pytest.fixture(scope="module")
def site(tmp_path_factory, params):
    """A folder of packages, with the wheel beside it."""
    site = tmp_path_factory.mktemp("site")
    for name in NETWORKS:
        tensors = export(params[name], TENSORFLOW, network=name)
        bundle_bytes.write(site / "musicnn" / name, tensors)
    (site / "musicnn" / "__init__.py").write_text("raise RuntimeError")
    with zipfile.ZipFile(site / "musicnn-0.1.0-py3-none-any.whl", "w") as wheel:
        for file in (site / "musicnn").rglob("*"):
            wheel.write(file, file.relative_to(site))
    return site


def assert_is(backbone, name, params, site):
    assert backbone.name == f"musicnn:{name}"
    assert (backbone.kind, backbone.sample_rate) == ("musicnn", 16_000)
    assert backbone.module == NETWORKS[name]
    for layer, values in params[name].items():
        for part, x in values.items():
            np.testing.assert_array_equal(backbone.params[layer][part], x)
    data = site / "musicnn" / name / ".data-00000-of-00001"
    assert backbone.sha256 == hashlib.sha256(data.read_bytes()).hexdigest()


def test_by_path(site, params):
    wheel = site / "musicnn-0.1.0-py3-none-any.whl"
    for name in NETWORKS:
        for path in (site / "musicnn" / name, site / "musicnn", wheel):
            assert_is(open_backbone(f"musicnn:{name}", path), name, params, site)
    assert_is(open_backbone("musicnn", wheel), "MTT_musicnn", params, site)


def test_as_installed(site, params, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.syspath_prepend(site)
    assert_is(open_backbone("musicnn"), "MTT_musicnn", params, site)
    assert_is(open_backbone("musicnn:MSD_musicnn"), "MSD_musicnn", params, site)


def test_what_is_refused(site, tmp_path):
    with pytest.raises(ValueError, match=r"unknown backbone 'musicn'; there are .* musicnn,"):
        open_backbone("musicn")
    cut = tmp_path / "musicnn-0.1.0-py3-none-any.whl"
    cut.write_bytes((site / cut.name).read_bytes()[:5_000])
    with pytest.raises(CheckpointError, match="is a broken zip, cut short perhaps"):
        open_backbone("musicnn", cut)
