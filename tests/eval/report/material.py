"""Reports to show."""

import math

from ldm_jax.eval.metrics.estimate import Estimate
from ldm_jax.eval.report.record import Figure, Problem, Report, Side

SHA256 = "10086976245803799d9194e9a73d9b6c1549c71d1b80106f5cade5608a561f4b"


def figure(name, label, value, half=None, *, better="lower", clips=975, details=None, **settings):
    return Figure(
        name=name,
        label=label,
        estimate=Estimate(
            value=value,
            clips=clips,
            low=None if half is None else value - half,
            high=None if half is None else value + half,
            details=details or {},
        ),
        better=better,
        settings=settings,
    )


def report(system="teacher", *, fad=1.9083, clap=0.24681, half=0.12, clips=975, **changes):
    figures = (
        figure("fad.vggish", "FAD", fad, half, clips=clips, backbone="vggish", eps=1e-6),
        figure(
            "isc", "IS", 8.29, half, clips=clips, better="higher", details={"std": 0.31}, splits=10
        ),
        figure("clap.630k", "CLAP", clap, half and half / 30, clips=clips, better="higher"),
    )
    known = {
        "system": system,
        "preset": "audioldm_eval",
        "figures": figures,
        "generated": Side(source=f"out/{system}", clips=clips, seconds=9984.0),
        "reference": Side(source="AudioCaps/test", clips=975, seconds=9750.0),
        "backbones": {"vggish": {"source": "vggish-10086976.pth", "sha256": SHA256}},
        "problems": (Problem(file="a.wav", why="the file is empty", dropped=True),),
        "versions": {"ldm_jax": "0.1.0"},
    }
    return Report(**{**known, **changes})


def odd_report():
    """Everything that a report may hold and that files have trouble with."""
    return report(
        'é "雨" | a,b\n$x$ *y*',
        figures=(
            figure(
                "nan", "N|N", math.nan, better="higher", details={"r2": -math.inf, "slope": 0.1}
            ),
            figure("inf", "F_a_D", math.inf, None, where=("a", ("b", 1)), none=None, flag=True),
            figure("tiny", "D", 1 / 3, 1e-300, eps=1e-6, count=3),
        ),
        reference=None,
        generation={"steps": 25, "guidance_scale": 3.5, "karras": False, "eta": None},
        skipped={"wer": "no recogniser"},
        backbones={},
    )
