"""What a recogniser hears in clips, against what they were to say."""

from collections.abc import Sequence

from ldm_jax.audio.reading import AudioError
from ldm_jax.eval.clips import Clip
from ldm_jax.eval.processes import gathered, share
from ldm_jax.eval.recognisers import Recogniser
from ldm_jax.eval.report.record import Problem
from ldm_jax.eval.waves import Loading, load


def heard(
    clips: Sequence[Clip], recogniser: Recogniser, *, loading: Loading
) -> tuple[dict[str, str], dict[str, float], tuple[Problem, ...]]:
    """(what is heard in each clip that has a transcript, their seconds, files left out); every process gets all.

    Args:
        clips: with names that differ.
        recogniser: from a wave to text.
        loading: how a file becomes a wave at the recogniser's rate.
    """
    texts: dict[str, str] = {}
    seconds: dict[str, float] = {}
    problems: list[Problem] = []
    for clip in share([clip for clip in clips if clip.transcript]):
        try:
            loaded = load(clip, loading)
        except AudioError as error:
            problems.append(Problem(file=str(clip.path), why=str(error), dropped=True))
            continue
        texts[clip.name] = recogniser(loaded.wave, loaded.rate)
        seconds[clip.name] = loaded.seconds
    everyone = gathered((texts, seconds, problems))
    return (
        {name: text for one, _, _ in everyone for name, text in one.items()},
        {name: length for _, one, _ in everyone for name, length in one.items()},
        tuple(problem for _, _, some in everyone for problem in some),
    )
