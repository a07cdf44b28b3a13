"""Reports as files: JSON to keep and read again, CSV for spreadsheets, Markdown to paste."""

import csv
import dataclasses
import io
import json
import math
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ldm_jax.audio.files import whole_file
from ldm_jax.eval.metrics.estimate import Estimate
from ldm_jax.eval.report.numbers import interval_text, value_text
from ldm_jax.eval.report.record import Figure, Problem, Report, Side
from ldm_jax.eval.report.table import ARROWS, generation_text, settings_text, side_text

FORMAT = 1
_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def json_text(report: Report) -> str:
    """Everything about a report, so that `report_from_json` gives it back; numbers that are not finite are texts.

    Raises:
        ValueError: a setting that JSON cannot hold.
    """
    content = {"format": FORMAT, **_plain(report)}
    for figure in content["figures"]:
        estimate = figure["estimate"]
        for name in ("value", "low", "high"):
            estimate[name] = _finite(estimate[name])
        estimate["details"] = {key: _finite(x) for key, x in estimate["details"].items()}
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def report_from_json(text: str) -> Report:
    """The report; sequences in settings come back as tuples.

    Raises:
        ValueError: it is no report of this library, in one sentence.
    """
    content = json.loads(text)
    if not isinstance(content, dict) or "figures" not in content:
        raise ValueError("it has no figures")
    if content.get("format") != FORMAT:
        raise ValueError(f"its format is {content.get('format')!r}, and {FORMAT} is known")
    try:
        known = {field.name: content[field.name] for field in dataclasses.fields(Report)}
        reference = known["reference"]
        return Report(
            **{
                **known,
                "figures": tuple(map(_figure, known["figures"])),
                "generated": Side(**known["generated"]),
                "reference": None if reference is None else Side(**reference),
                "problems": tuple(Problem(**problem) for problem in known["problems"]),
                "generation": _tupled(known["generation"]),
            }
        )
    except KeyError as error:
        raise ValueError(f"it has no {error.args[0]}") from None
    except (TypeError, AttributeError) as error:
        raise ValueError(f"a part of it is something else: {error}") from None


def read_report(path: str | os.PathLike[str]) -> Report:
    """The report in a JSON file.

    Raises:
        ValueError: it is no report, in one sentence.
        OSError: it cannot be read.
    """
    path = pathlib.Path(path)
    try:
        return report_from_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not a report: {error}") from None


def csv_text(reports: Sequence[Report]) -> str:
    """A row for each figure of each report, with all digits."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(
        ("system", "preset", "figure", "label", "value", "low", "high", "better", "clips",
         "details", "settings", "generation")
    )  # fmt: skip
    for report in reports:
        for figure in report.figures:
            estimate = figure.estimate
            numbers = (
                "" if x is None else repr(float(x))
                for x in (estimate.value, estimate.low, estimate.high)
            )
            objects = (estimate.details, figure.settings, report.generation)
            writer.writerow(
                (
                    report.system, report.preset, figure.name, figure.label, *numbers, figure.better,
                    estimate.clips, *(json.dumps(_plain(one), ensure_ascii=False) for one in objects),
                )
            )  # fmt: skip
    return file.getvalue()


def markdown(report: Report) -> str:
    """A table of the figures, to paste, with the facts that belong to them below."""
    lines = [
        "| figure | value | 95 % interval | clips | settings |",
        "|---|---:|---:|---:|---|",
    ]
    for one in report.figures:
        cells = (
            f"{one.label} {ARROWS[one.better]}",
            value_text(one.estimate),
            interval_text(one.estimate),
            f"{one.estimate.clips:,}",
            settings_text({key: x for key, x in one.settings.items() if key != "steps"}),
        )
        lines.append("| " + " | ".join(map(escaped, cells)) + " |")
    return "\n".join([*lines, "", facts(report), ""])


def facts(report: Report, *, brief: bool = False) -> str:
    """A paragraph of what a reader has to know of the figures: preset, clips, networks, what was left out.

    Args:
        report: whose figures.
        brief: leaves out what systems of one comparison differ in: name, folder and settings of the clips.
    """
    side = report.generated
    parts = [f"preset {report.preset}", f"{side.clips:,} clips, {side.seconds:,.1f} s"]
    if not brief:
        parts = [f"{report.system}, preset {report.preset}: {side_text(side, 'clips')}"]
    if report.reference is not None:
        parts[-1] += ", against " + side_text(report.reference, "references")
    if report.generation and not brief:
        parts.append("drawn with " + generation_text(report.generation))
    if report.backbones:
        known = (f"{name} {one.get('sha256', '')[:12]}" for name, one in report.backbones.items())
        parts.append("networks by SHA-256: " + ", ".join(known))
    if dropped := [problem for problem in report.problems if problem.dropped]:
        parts.append(f"{len(dropped):,} left out, the first {dropped[0].file}: {dropped[0].why}")
    if report.skipped:
        why = ", ".join(f"{name} ({reason})" for name, reason in report.skipped.items())
        parts.append(f"not computed: {why}")
    if ours := report.versions.get("ldm_jax"):
        parts.append(f"ldm_jax {ours}")
    return escaped("; ".join(parts) + ".")


def escaped(text: str) -> str:
    """As the text of a cell of Markdown."""
    text = re.sub(r"([\\|*`<$])", r"\\\1", " ".join(text.split()))
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\_", text)  # within words it means nothing


def write(path: pathlib.Path, text: str) -> None:
    """A text file, whole or not at all.

    Raises:
        OSError: the place cannot be written.
    """
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _figure(content: Mapping[str, Any]) -> Figure:
    estimate = dict(content["estimate"])
    for name in ("value", "low", "high"):
        estimate[name] = _number(estimate[name])
    estimate["details"] = {key: _number(x) for key, x in estimate["details"].items()}
    made = Estimate(**estimate)
    return Figure(**{**content, "estimate": made, "settings": _tupled(content["settings"])})


def _finite(value: float | None) -> float | str | None:
    return value if value is None or math.isfinite(value) else str(float(value))


def _number(value: Any) -> Any:
    return _NOT_FINITE[value] if isinstance(value, str) else value


def _plain(value: Any) -> Any:
    """What JSON knows: dataclasses as objects, numbers of NumPy as Python's, paths as texts, sequences as lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {field.name: _plain(getattr(value, field.name)) for field in fields}
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, os.PathLike):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"a report cannot hold {type(value).__name__}: {str(value)[:60]}")


def _tupled(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tupled(one) for key, one in value.items()}
    return tuple(map(_tupled, value)) if isinstance(value, list) else value
