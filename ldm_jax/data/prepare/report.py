"""The report of a preparation: for programs, for the terminal, and a page to look at."""

import base64
import dataclasses
import html
import io
import json
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

from ldm_jax.data.prepare.journal import WHY, LeftOut, write_whole
from ldm_jax.data.prepare.statistics import Histogram

EXAMPLES = 20  # of each reason, on the page
_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.15rem .8rem;text-align:right;border-bottom:1px solid #ddd}
td:first-child,th:first-child{text-align:left}img{max-width:100%}li{overflow-wrap:anywhere}code{font-size:90%}"""


def write_report(
    folder: pathlib.Path,
    report: dict[str, Any],
    shapes: Sequence[Histogram],
    omissions: Sequence[LeftOut],
) -> None:
    """Writes `report.json`, and `report.html`, which holds its figures and needs no other file."""
    numbers = report | {"histograms": [dataclasses.asdict(shape) for shape in shapes]}
    text = json.dumps(numbers, indent=2, ensure_ascii=False) + "\n"
    write_whole(folder / "report.json", text)
    write_whole(folder / "report.html", _page(report, shapes, omissions))


def summary(report: dict[str, Any], omissions: Sequence[LeftOut]) -> str:
    """What a person wants to know at once, in a few lines."""
    lines = [
        f"  {split:<10} {amount['rows']:>9,} rows  {amount['hours']:>9.2f} h  {amount['bytes'] / 1e6:>9,.1f} MB"
        for split, amount in report["splits"].items()
    ]
    if report["left_out"]:
        lines.append(f"left out, of {report['clips']:,}; all are in omissions.jsonl:")
    for why, count in report["left_out"].items():
        first = next(omission for omission in omissions if omission.why == why)
        lines.append(
            f"  {count:>6,} {WHY[why]}, such as {_short(first.name)}: {_short(first.reason)}"
        )
    if groups := report["straddling_groups"]:
        lines.append(
            f"beware: the source puts {len(groups):,} groups into more than one split, such as {groups[0]!r}"
        )
    return "\n".join(lines)


def _short(text: str, length: int = 100) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."


def _page(report: dict[str, Any], shapes: Sequence[Histogram], omissions: Sequence[LeftOut]) -> str:
    title = html.escape(report["name"])
    rows = [
        [
            f"{split} {kind}".strip(),
            f"{x['rows']:,}",
            f"{x['hours']:.2f}",
            f"{x['bytes'] / 1e6:,.1f}",
        ]
        for split, amount in report["splits"].items()
        for kind, x in {"": amount, **amount["kinds"]}.items()
    ]
    facts = {
        "clips of the source": f"{report['clips']:,}",
        "rows": f"{report['rows']:,}",
        "hours": f"{report['hours']:.2f}",
        "captions a row": _listed(report["captions_a_row"]),
        "rows with a transcript": f"{report['rows_with_transcript']:,}",
        "languages": _listed(report["languages"]),
        "rates of the source, Hz": _listed(report["source_rates"]),
        "channels of the source": _listed(report["source_channels"]),
        "rows that reach full scale": f"{report['at_full_scale']:,}",
        "rows that lost a remainder": "{rows:,}, {seconds:.1f} s in all".format(
            **report["cut_off"]
        ),
        "groups that the source splits": f"{len(report['straddling_groups']):,}",
    }
    parts = [
        f"<!doctype html><meta charset='utf-8'><title>{title}</title><style>{_STYLE}</style>",
        f"<h1>{title}</h1><p>from <code>{html.escape(report['source'])}</code></p>",
        _table(["", "rows", "hours", "MB"], rows),
        _table(["", ""], [[name, value] for name, value in facts.items()]),
        f"<img alt='histograms' src='data:image/png;base64,{_picture(shapes)}'>",
        f"<h2>Left out: {len(omissions):,}</h2><p>All of them are in <code>omissions.jsonl</code>.</p>",
        *(_examples(why, omissions) for why in report["left_out"]),
        f"<h2>Settings</h2><pre>{html.escape(json.dumps(report['settings'], indent=2))}</pre>",
    ]
    return "\n".join(parts) + "\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["".join(f"<th>{html.escape(cell)}</th>" for cell in head)]
    lines += ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _listed(counts: dict[str, int], most: int = 8) -> str:
    """The largest of the counts, in their order."""
    large = sorted(counts.values(), reverse=True)[:most]
    kept = {name: count for name, count in counts.items() if count in large}
    rest = sum(counts.values()) - sum(kept.values())
    parts = [f"{name or 'unknown'}: {count:,}" for name, count in kept.items()]
    return ", ".join([*parts, f"others: {rest:,}"] if rest else parts)


def _examples(why: str, omissions: Sequence[LeftOut]) -> str:
    those = [omission for omission in omissions if omission.why == why]
    items = "".join(
        f"<li><code>{html.escape(_short(x.name))}</code>: {html.escape(_short(x.reason, 300))}</li>"
        for x in those[:EXAMPLES]
    )
    return f"<h3>{len(those):,} {WHY[why]}</h3><ul>{items}</ul>"


def _picture(shapes: Sequence[Histogram]) -> str:
    """A PNG of all histograms, in base64."""
    from matplotlib.figure import Figure  # slow to import

    drawn = [shape for shape in shapes if sum(shape.counts)]
    lines = -(-len(drawn) // 2)
    figure = Figure(figsize=(10, 2.6 * lines))
    panels = figure.subplots(lines, 2, squeeze=False).flat
    figure.subplots_adjust(0.06, 0.22 / lines, 0.98, 1 - 0.12 / lines, 0.15, 0.55)
    for shape, panel in zip(drawn, panels, strict=False):
        panel.stairs(shape.counts, shape.edges, fill=True)
        panel.axvline(shape.median, color="black", linewidth=1, linestyle="--")
        panel.set(
            xlabel=shape.unit, title=f"{shape.title} (median {shape.median:.3g} {shape.unit})"
        )
        if shape.logarithmic:
            panel.set_xscale("log", base=2)
            panel.xaxis.set_major_formatter("{x:g}")
    for panel in list(panels):
        panel.set_axis_off()
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=100, format="png")
    return base64.b64encode(buffer.getvalue()).decode()
