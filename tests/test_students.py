"""What a checkpoint is asked for."""

import dataclasses
import re

import pytest

from ldm_jax import students
from ldm_jax.config import Generation
from ldm_jax.diffusion.samplers import SAMPLERS
from tests.tiny_students import CONSISTENCY, GUIDED, PROGRESSIVE

BAKED = dataclasses.replace(PROGRESSIVE, guidance=(), guidance_scale=3.0)
CONDITIONAL = dataclasses.replace(CONSISTENCY, guidance=(), guidance_scale=1.0)
KINDS = {
    "ordinary": None,
    "guided": GUIDED,
    "progressive": PROGRESSIVE,
    "consistency": CONSISTENCY,
    "baked": BAKED,
    "conditional": CONDITIONAL,
}


@pytest.mark.parametrize(
    ("kind", "sampler", "steps", "scale", "branches"),
    [
        ("ordinary", "ddim", 200, 3.5, True),
        ("guided", "ddim", 200, 3.0, False),
        ("progressive", "progressive", 3, 2.5, False),
        ("consistency", "consistency", 1, 4.0, False),
        ("baked", "progressive", 3, 3.0, False),
        ("conditional", "consistency", 1, 1.0, False),
    ],
)
def test_where_nothing_is_asked_a_checkpoint_has_its_own(kind, sampler, steps, scale, branches):
    distilled = KINDS[kind]
    asked = students.settings(distilled, steps=None, sampler=None, guidance_scale=None, eta=None)
    assert asked == Generation(sampler=sampler, steps=steps, guidance_scale=scale)
    assert students.has_two_branches(distilled, asked) == branches
    assert students.remarks(distilled, asked) == ()
    assert students.settings(distilled, **dataclasses.asdict(asked)) == asked


def test_what_is_given_is_kept():
    given = {"steps": 7, "sampler": "heun", "guidance_scale": 5.0, "karras": True, "seed": 3}
    for distilled in (None, GUIDED):
        assert students.settings(distilled, **given) == Generation(**given)
    stochastic = students.settings(PROGRESSIVE, sampler="progressive-stochastic")
    assert stochastic.steps == 6
    for distilled, scale in ((CONDITIONAL, 4.0), (CONDITIONAL, 0.5), (CONSISTENCY, 0.0)):
        assert students.settings(distilled, guidance_scale=scale).guidance_scale == scale
    for steps in (1, 17):
        assert students.settings(CONSISTENCY, steps=steps).steps == steps


REFUSED = [
    ("ordinary", {"steps": 0}, "steps must be from 1 to 1000, not 0"),
    ("ordinary", {"sampler": "progressive"}, "'progressive', and this one is not distilled"),
    ("ordinary", {"sampler": "consistency"}, "'consistency', and this one is not distilled"),
    (
        "guided",
        {"sampler": "consistency"},
        "this one is distilled by method 'guided'; leave it out",
    ),
    ("guided", {"guidance_scale": 6.5}, "distilled for a guidance_scale from 1 to 6, not 6.5"),
    ("guided", {"guidance_scale": 0.5}, "distilled for a guidance_scale from 1 to 6, not 0.5"),
    (
        "progressive",
        {"steps": 4},
        "distilled to 3 steps, so sampler 'progressive' takes 3 steps, not 4",
    ),
    ("progressive", {"steps": 2000}, "steps must be from 1 to 1000, not 2000"),
    (
        "progressive",
        {"steps": 3, "sampler": "progressive-stochastic"},
        "distilled to 3 steps, so sampler 'progressive-stochastic' takes 6 steps, not 3",
    ),
    (
        "progressive",
        {"sampler": "ddim"},
        "takes sampler 'progressive' or 'progressive-stochastic', not 'ddim'; leave it out",
    ),
    ("progressive", {"sampler": "magic"}, "not 'magic'"),
    ("progressive", {"eta": 0.0}, "sampler 'progressive' has no eta"),
    ("progressive", {"spacing": "trailing"}, "sampler 'progressive' has no spacing"),
    ("consistency", {"karras": True}, "sampler 'consistency' has no karras"),
    ("consistency", {"sampler": "progressive"}, "takes sampler 'consistency', not 'progressive'"),
    (
        "consistency",
        {"steps": 18},
        "trained at 18 noise levels, which allow 1 to 17 steps, not 18; leave them out for the 1",
    ),
    ("consistency", {"guidance_scale": 7.0}, "distilled for a guidance_scale from 0 to 6, not 7"),
    (
        "baked",
        {"guidance_scale": 1.0},
        "imitates guidance_scale 3 and takes no other, so not 1; leave",
    ),
    ("conditional", {"guidance_scale": 101.0}, "guidance_scale must be from 0 to 100, not 101"),
]


@pytest.mark.parametrize(("kind", "given", "sentence"), REFUSED)
def test_what_a_checkpoint_was_not_made_for_is_refused(kind, given, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)) as caught:
        students.settings(KINDS[kind], **given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_no_negative_prompt_is_ignored_by_a_student(kind):
    distilled = KINDS[kind]
    own = students.settings(distilled)
    students.check_negatives(distilled, own, ["", ""])
    if kind == "ordinary":
        students.check_negatives(distilled, own, ["", "music"])
        return
    with pytest.raises(ValueError, match="negative prompt is read by the unconditional branch"):
        students.check_negatives(distilled, own, ["", "music"])
    if kind == "conditional":
        guided = students.settings(distilled, guidance_scale=3.0)
        assert students.has_two_branches(distilled, guided)
        students.check_negatives(distilled, guided, ["music"])


def test_what_is_possible_but_was_not_trained_is_remarked_on():
    four = students.settings(CONSISTENCY, steps=4)
    (sentence,) = students.remarks(CONSISTENCY, four)
    assert "was distilled to 1 step; it is sampled in 4" in sentence
    stochastic = students.settings(PROGRESSIVE, sampler="progressive-stochastic")
    (sentence,) = students.remarks(PROGRESSIVE, stochastic)
    assert "not trained halfway between its 3 levels" in sentence
    assert students.remarks(dataclasses.replace(PROGRESSIVE, halfway=True), stochastic) == ()


def test_samplers_of_students_have_names_of_their_own():
    names = [name for own in students.SAMPLERS.values() for name in own]
    assert len({*names, *SAMPLERS}) == len(names) + len(SAMPLERS)
