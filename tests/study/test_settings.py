"""What cannot be studied is refused in one sentence; the shipped studies can."""

import numpy as np
import pytest

from configs import study_weighting
from ldm_jax.diffusion import weightings
from ldm_jax.study.settings import ALL, RunStudy, ToyStudy, by_name, called, check


def half(log_snr):
    return 0.5 * weightings.snr(log_snr)


def nowhere(log_snr):
    return np.full_like(log_snr, np.nan)


def test_all_weightings_of_the_library_take_part():
    names = {name.partition(":")[0] for name in ALL}
    assert names == set(weightings.WEIGHTINGS)
    readings = {name for name in ALL if name.startswith("bsa")}
    assert len(readings) == len(weightings.BSA_READINGS)


def test_functions_are_called_by_their_names():
    study = ToyStudy(weightings=("bsa", half))
    check(study)
    assert by_name(study) == {"bsa": "bsa", "half": half}
    assert called(weightings.weighting("min_snr:gamma=3")) == "min_snr"


@pytest.mark.parametrize(
    ("name", "students"), [("toy", ()), ("small", (5, 1)), ("", (100, 50, 25, 5, 1))]
)
def test_the_shipped_studies(name, students):
    study = study_weighting.get_config(name)
    check(study)
    if isinstance(study, RunStudy):
        for run in study.runs().values():
            assert run.steps % run.stage.rounds() == 0
        assert study.runs()["progressive"].stage.students == students


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weightings": ("bsa", "bsa")}, "two weightings have one name: bsa, bsa"),
        ({"weightings": ("bsa",)}, "weightings are bsa: a comparison takes at least 2"),
        ({"reference": "snr:x=1"}, "reference is 'snr:x=1', which is none of the weightings"),
        ({"seeds": 1}, "seeds is 1: an interval takes at least 2"),
        ({"methods": ("guided",)}, "no method 'guided'; there are progressive, consistency"),
        ({"methods": ()}, "methods is empty"),
        ({"weightings": ("bsa", "bad")}, "The weighting must be one of uniform, snr"),
        ({"weightings": ("bsa", nowhere)}, "weighs the error of v with nan at level 200 of 200"),
        ({"students": (100, 30)}, "must divide its teacher's 100"),
        ({"few_steps": (18,)}, "a grid of 18 points allows 1 to 17"),
        ({"noises": 1000}, "noises is 1000; it must be a power of 2"),
        ({"round_steps": 0}, "round_steps must be at least 1, not 0"),
    ],
)
def test_what_cannot_be_studied(changes, message):
    with pytest.raises(ValueError, match=message):
        check(ToyStudy(**changes))


def test_runs_that_are_not_there():
    with pytest.raises(ValueError, match="progressive is one of the methods, but there is no run"):
        check(RunStudy())
