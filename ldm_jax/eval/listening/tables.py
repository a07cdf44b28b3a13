"""An analysis for the screen, and as JSON, CSV, Markdown and a figure."""

import csv
import dataclasses
import io
import json
import math
import pathlib
from collections.abc import Sequence
from typing import Any

from ldm_jax.audio.files import whole_file
from ldm_jax.eval.listening.outcome import Analysis, Score

Table = tuple[Sequence[str], Sequence[Sequence[str]]]
LEVELS = (
    "95 % intervals: over raters and items by bootstrap, and (t) as if all ratings were independent"
)
HEADINGS = {
    "Means": ("question", "system", "mean", "95 %", "95 % (t)", "ratings", "raters", "items"),
    "Differences": (
        *("question", "systems", "difference", "95 %", "items"),
        *("p", "p (Holm)", "effect"),
    ),
    "Agreement": ("question", "alpha, ordinal", "alpha, interval", "clips"),
    "Raters": ("rater", "rated", "checks passed", "failed", "minutes", "device"),
}
MOST_RATERS = 20  # that are named on the screen although they count


def plain(analysis: Analysis) -> str:
    """What the command prints."""
    parts = [_head(analysis)]
    for _, table in _tables(analysis):
        parts.append(_columns(*table))
    parts.append(LEVELS + "; p by Wilcoxon's signed-rank test over items, adjusted by Holm.")
    return "\n\n".join(part for part in parts if part)


def markdown(analysis: Analysis) -> str:
    """The same, to be kept."""
    parts = [f"# {analysis.title}", _head(analysis).replace("\n", "\n\n")]
    for title, (names, rows) in _tables(analysis):
        lines = [names, ["---"] * len(names), *rows]
        table = "\n".join(
            "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
        )
        parts += [f"## {title}", table]
    parts.append(LEVELS + "; p by Wilcoxon's signed-rank test over items, adjusted by Holm.")
    return "\n\n".join(parts) + "\n"


def write_all(analysis: Analysis, folder: pathlib.Path) -> tuple[pathlib.Path, ...]:
    """Writes analysis.json, .csv (a row a score), .md and .png; their paths."""
    texts = {
        "analysis.json": json.dumps(_finite(dataclasses.asdict(analysis)), indent=1) + "\n",
        "analysis.csv": _csv(analysis.scores),
        "analysis.md": markdown(analysis),
    }
    for name, written in texts.items():
        with whole_file(folder / name) as temporary:
            temporary.write_text(written, encoding="utf-8")
    with whole_file(folder / "analysis.png") as temporary:
        _draw(analysis, temporary)
    return tuple(folder / name for name in (*texts, "analysis.png"))


def _head(analysis: Analysis) -> str:
    used = [rater for rater in analysis.raters if not rater.why_not]
    lines = [
        f"{analysis.title} (test {analysis.test}): {len(used)} of {len(analysis.raters)} raters count"
    ]
    lines += [f"left out: {r.name} {r.why_not}" for r in analysis.raters if r.why_not]
    lines += analysis.problems
    if analysis.rules.normalise:
        lines.append("Ratings are z-scores of each rater.")
    return "\n".join(lines)


def _tables(analysis: Analysis) -> list[tuple[str, Table]]:
    scores = [
        (
            s.question,
            s.system,
            f"{s.mean:.2f}",
            _interval(s.low, s.high),
            _interval(s.t_low, s.t_high),
            f"{s.ratings}",
            f"{s.raters}",
            f"{s.items}",
        )
        for s in analysis.scores
    ]
    comparisons = [
        (
            c.question,
            f"{c.first} - {c.second}",
            f"{c.difference:+.2f}",
            _interval(c.low, c.high),
            f"{c.items}",
            _p(c.p),
            _p(c.p_holm),
            f"{c.effect:+.2f}",
        )
        for c in analysis.comparisons
    ]
    agreement = [
        (a.question, _number(a.ordinal), _number(a.interval), f"{a.clips}")
        for a in analysis.agreement
    ]
    checked = [
        (
            r.name,
            f"{r.rated} of {r.trials}",
            f"{r.checks - len(r.failed)} of {r.checks}" if r.checks else "none",
            ", ".join(r.failed),
            "" if r.minutes is None else f"{r.minutes:.1f}",
            r.device,
        )
        for r in analysis.raters[:MOST_RATERS]
    ]
    tables = {
        "Means": scores,
        "Differences": comparisons,
        "Agreement": agreement,
        "Raters": checked,
    }
    return [(title, (HEADINGS[title], rows)) for title, rows in tables.items() if rows]


def _columns(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in (names, *rows)
    )


def _interval(low: float, high: float) -> str:
    return "-" if math.isnan(low) else f"{low:.2f} to {high:.2f}"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _csv(scores: Sequence[Score]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(
        out, [field.name for field in dataclasses.fields(Score)], lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(_finite(dataclasses.asdict(score)) for score in scores)
    return out.getvalue()


def _finite(value: Any) -> Any:
    """JSON and CSV have no nan: None."""
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _draw(analysis: Analysis, path: pathlib.Path) -> None:
    from matplotlib.figure import Figure  # slow to import

    questions = list(dict.fromkeys(score.question for score in analysis.scores))
    systems = list(dict.fromkeys(score.system for score in analysis.scores))
    figure = Figure(
        figsize=(1.2 + 3.4 * len(questions), 1.3 + 0.45 * len(systems)), layout="constrained"
    )
    panels = figure.subplots(1, len(questions), squeeze=False, sharey=True)[0]
    for axes, question in zip(panels, questions, strict=True):
        for score in (each for each in analysis.scores if each.question == question):
            place = systems.index(score.system)
            if not math.isnan(score.low):
                axes.plot([score.low, score.high], [place, place], color="#8a3a7c", linewidth=2)
            axes.plot(score.mean, place, "o", color="#8a3a7c", markersize=7)
            axes.annotate(
                f"{score.mean:.2f}",
                (score.mean, place),
                (0, 7),
                textcoords="offset points",
                ha="center",
                fontsize=8,
            )
        axes.set(title=question.upper(), yticks=range(len(systems)), yticklabels=systems)
        axes.set_ylim(len(systems) - 0.5, -0.6)
        if not analysis.rules.normalise:
            axes.set_xlim((0.9, 5.1) if analysis.scale == 5 else (-2, 102))
        axes.grid(axis="x", alpha=0.3)
        axes.set_xlabel(
            "mean of z-scores" if analysis.rules.normalise else "mean and 95 % interval"
        )
    figure.savefig(path, dpi=150, format="png")
