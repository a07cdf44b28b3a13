import numpy as np
import pytest

from tests import golden
from tests.cases_pipeline import CASES
from tests.golden import FLOAT32_BOUND, relative_error


@pytest.mark.parametrize("name", CASES)
def test_clip_is_diffusers(model_of, name):
    case = CASES[name]
    _, theirs = golden.load(f"pipeline_{name}")
    assert theirs["audio"].std() > 0.01  # a signal came through
    clips = model_of(case.size, loa_tokens=case.loa_tokens).generate(
        case.prompt,
        negative_prompt=case.negative,
        transcript=case.transcript,
        seconds=case.seconds,
        steps=case.steps,
        guidance_scale=case.guidance,
        sampler=case.sampler,
        eta=case.eta,
        candidates=case.candidates,
        latents=case.latents(),
    )
    assert clips.sample_rate == 16_000
    assert clips.audio.shape == (1, round(case.seconds * 16_000))
    length = min(clips.audio.shape[1], theirs["audio"].shape[1])
    assert relative_error(clips.audio[:, :length], theirs["audio"][:, :length]) < FLOAT32_BOUND
    if case.candidates == 1:
        assert relative_error(clips.latents, theirs["latents"]) < FLOAT32_BOUND
    else:
        rows = np.split(theirs["latents"], case.candidates)  # of all candidates, in their order
        errors = [relative_error(clips.latents, row) for row in rows]
        assert min(errors) < FLOAT32_BOUND
        assert np.argmin(errors) > 0  # ranking, and not the order, chose it
        assert np.isfinite(clips.scores).all()


@pytest.mark.parametrize("name", ["sound", "speech"])
def test_other_rows_change_nothing(model_of, name):
    case = CASES[name]
    _, theirs = golden.load(f"pipeline_{name}")
    latents = np.concatenate([np.flip(case.latents(1)), case.latents(1)])
    transcripts = (
        None
        if case.transcript is None
        else ["A much longer sentence than the other one.", case.transcript]
    )
    clips = model_of(case.size, loa_tokens=case.loa_tokens).generate(
        ["techno music with a strong beat, and a woman who speaks softly in the rain", case.prompt],
        negative_prompt=["", case.negative],
        transcript=transcripts,
        seconds=case.seconds,
        steps=case.steps,
        latents=latents,
    )
    assert relative_error(clips.audio[1:], theirs["audio"]) < FLOAT32_BOUND
