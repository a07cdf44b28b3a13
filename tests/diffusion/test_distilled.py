import dataclasses
import json

import pytest

from ldm_jax.diffusion.distilled import Distilled
from tests.tiny_students import CONSISTENCY, GUIDED, PROGRESSIVE


@pytest.mark.parametrize("distilled", [GUIDED, PROGRESSIVE, CONSISTENCY], ids=lambda d: d.method)
def test_as_json_and_back(distilled):
    assert Distilled.from_json(json.loads(json.dumps(distilled.to_json()))) == distilled


def test_json_of_an_older_library_has_fewer_fields_and_of_a_newer_one_more():
    told = PROGRESSIVE.to_json()
    older = {name: told[name] for name in told if name not in ("halfway", "edm_sigmas")}
    assert Distilled.from_json(older) == PROGRESSIVE
    with pytest.raises(ValueError, match="has no colour; was this saved by a newer ldm_jax"):
        Distilled.from_json(told | {"colour": 1})


@pytest.mark.parametrize(
    ("distilled", "change", "message"),
    [
        (GUIDED, {"method": "magic"}, "distilled by 'magic'; known are guided, progressive"),
        (GUIDED, {"steps": 4}, "a guided student has neither a grid nor steps"),
        (GUIDED, {"guidance_scale": 7.0}, "with 7 between them"),
        (GUIDED, {"guidance": (4.0, 1.0)}, r"guidance is \(least, most\)"),
        (GUIDED, {"guidance": (4.0,)}, r"guidance is \(least, most\)"),
        (PROGRESSIVE, {"timesteps": ()}, "a progressive student has a grid and steps"),
        (PROGRESSIVE, {"steps": 4}, "4 steps on a grid of 3"),
        (PROGRESSIVE, {"timesteps": (1.0, 2.0, 3.0)}, "fall from the noisiest on"),
        (PROGRESSIVE, {"timesteps": (3.0, 2.0, float("nan"))}, "fall from the noisiest on"),
        (CONSISTENCY, {"steps": 18}, "18 levels do not make 18 steps"),
        (CONSISTENCY, {"edm_sigmas": (3.0, 2.0)}, "2 edm_sigmas at 18 timesteps"),
        (CONSISTENCY, {"edm_sigmas": tuple(range(18))}, "fall from the noisiest on"),
    ],
)
def test_what_contradicts_itself_is_refused(distilled, change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(distilled, **change)
