"""microsoft/fadtk at ec74b1f: FAD and FAD-inf on VGGish, FAD on CLAP-LAION audio and music.

Patched: weights put in place of downloads, reading and writing by soundfile in place of torchcodec (it writes 16 bits
by rounding down, as fadtk's own soundfile backend does), processes and threads taken out of its maps. The tool asks
for NumPy below 2, whose `cov` of a single row is 0 here where a newer one's is NaN; `numpy.cov` is patched so.

Features are kept by the tool with 16 bits; `*_float32` are its figures with that rounding left out.
"""

import contextlib
import os
import pathlib
import sys
import tempfile
import warnings

import numpy as np
import soundfile
import torch

from tests import golden
from tests.eval.preset_clips import write_pairs
from tests.parity.presets import laion, networks


def main(clone, vggish):
    """All figures, as tests/golden/preset_fadtk.npz."""
    sys.path.insert(0, clone)
    networks.torchaudio_by_soundfile()
    networks.old_sqrtm()
    _old_cov()
    import torchaudio

    torchaudio.save = _save
    network = networks.torchvggish(vggish)
    torch.hub.load = lambda *_: networks.narrow_vggish(network(None, pretrained=False))
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        laion.prepare(pathlib.Path(folder) / "tokenizer")
        found = _measure(pathlib.Path(folder))
    golden.save("preset_fadtk", shapes={}, outputs=found)
    print({name: x for name, x in found.items() if not x.shape})


def _measure(folder):
    from fadtk import fad, model_loader, utils

    utils.pmap = fad.tmap = lambda function, items, **_: [function(item) for item in items]
    model_loader.download_file = lambda url, path: laion.write_checkpoint(
        path, "tiny" if "630k" in url else "base", fusion=False
    )
    model_loader.__file__ = str(folder / "model_loader.py")  # checkpoints lie beside it
    loaders = {
        "vggish": model_loader.VGGishModel(),
        "clap_audio": model_loader.CLAPLaionModel("audio"),
        "clap_music": model_loader.CLAPLaionModel("music"),
    }
    found = {}
    for name, loader in loaders.items():
        distance = fad.FrechetAudioDistance(loader)
        loader._get_embedding = _remembering(loader._get_embedding)
        for suffix in ("", "_float32"):
            found |= _one(distance, name, suffix, folder)
            loader.get_embedding = lambda wave, loader=loader: loader._get_embedding(wave).numpy()
    return found


def _one(distance, name, suffix, folder):
    generated, reference = write_pairs(folder / f"{name}{suffix}")
    waves, rows = [], {}
    load = distance.ml.load_wav
    distance.ml.load_wav = lambda path: waves.append(load(path)) or waves[-1]
    for side in (generated, reference):
        files = sorted(side.glob("*.wav"))
        for path in files:
            distance.cache_embedding_file(path)
        rows[side.name] = [distance.read_embedding_file(path) for path in files]
    distance.ml.load_wav = load
    found = {f"fad_{name}{suffix}": np.float64(distance.score(str(reference), str(generated)))}
    if name == "vggish":
        np.random.seed(0)
        result = distance.score_inf(str(reference), sorted(generated.glob("*.wav")))
        found |= {
            f"fad_inf_{key}{suffix}": np.float64(getattr(result, key))
            for key in ("score", "slope", "r2")
        }
        found[f"fad_inf_points{suffix}"] = np.array(result.points, np.float64)
    if not suffix:
        found[f"{name}/waves"] = networks.summary(waves)  # generated, then references
        for side, parts in rows.items():
            found[f"{name}/{side}"] = np.concatenate(parts)
            found[f"{name}/{side}_rows"] = np.array([len(part) for part in parts])
    return found


def _remembering(function):
    """`function`, which is called once for each wave."""
    known = {}

    def remembered(wave):
        key = wave.tobytes()
        if key not in known:
            known[key] = function(wave).detach()
        return known[key]

    return remembered


def _save(path, wave, rate, **_):
    soundfile.write(path, wave.numpy().T, rate, subtype="PCM_16")


def _old_cov():
    new = np.cov

    def cov(m, rowvar=True, **kwargs):
        if not rowvar and len(m) == 1:
            return np.zeros((m.shape[1], m.shape[1]))
        return new(m, rowvar=rowvar, **kwargs)

    np.cov = cov


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    assert os.path.isdir(sys.argv[1]), "the folder of a clone"
    main(*map(os.path.abspath, sys.argv[1:]))
