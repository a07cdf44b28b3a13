"""How tools read files: against golden waves made by their own code, sample by sample."""

import numpy as np
import pytest
import soundfile
import soxr

from ldm_jax.eval.clips import Clip
from ldm_jax.eval.waves import LOADINGS, load
from tests import cases_eval_waves as cases
from tests.golden import load as load_golden
from tests.golden import relative_error

STEP = 1 / 32_767  # of 16 bits


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("waves")


@pytest.mark.parametrize("file", cases.FILES)
def test_golden(file, folder):
    _, outputs = load_golden("eval_waves")
    path = cases.write(file, folder)
    tools = [name for name in LOADINGS if not name.startswith("plain")]
    assert len(tools) == 14
    for name in tools:
        loaded = load(Clip(name=file, path=path), LOADINGS[name])
        ours, theirs = loaded.wave, outputs[f"{name}/{file}"]
        assert loaded.rate == LOADINGS[name].rate
        assert len(ours) == outputs[f"{name}/{file}/length"], name
        ours = ours[cases.places(f"{name}/{file}", len(ours))]
        if name in cases.QUANTISED:  # where a sample lies at a step's edge it may go either way
            off = np.abs(ours - theirs) > 1e-6
            assert off.sum() <= 1, name
            assert np.abs(ours - theirs).max() < 1.01 * STEP, name
        else:
            assert relative_error(ours, theirs) < 1e-6, name


def test_plain_is_soxr_of_the_mean(folder):
    path = cases.write("stereo_44k", folder)
    mean = soundfile.read(path)[0].mean(axis=1)
    theirs = soxr.resample(mean, 44_100, 48_000, quality="HQ")
    ours = load(Clip(name="a", path=path), LOADINGS["plain_48k"]).wave
    assert relative_error(ours, theirs) < 1e-6


def test_texts_tell_loadings_apart():
    """They are part of the key of cached features; only loadings that do the same may share one."""
    by_text = {}
    for name, loading in LOADINGS.items():
        by_text.setdefault(repr(loading), []).append(name)
    shared = [names for names in by_text.values() if len(names) > 1]
    assert shared == [["audioldm_eval_vggish", "audioldm_eval_16k"]]
    assert not any(" at 0x" in text for text in by_text)
