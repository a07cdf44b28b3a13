"""Small charts as SVG: a histogram, and clips by kind."""

import math
from collections.abc import Mapping

from ldm_jax.data.prepare.statistics import Histogram
from ldm_jax.data.show.escaping import text

WIDTH, HEIGHT, FOOT, MARGIN = 300, 110, 18, 36
SHADE = 'class="bar"'


def histogram_chart(shape: Histogram) -> str:
    """Bars of equal width with the edges of their bins below and the median marked."""
    bars = len(shape.counts)
    top = max(shape.counts, default=0) or 1
    step = WIDTH / max(bars, 1)
    drawn = []
    for i, count in enumerate(shape.counts):
        low, high = shape.edges[i], shape.edges[i + 1]
        tall = HEIGHT * count / top
        told = f"{number(low)} to {number(high)} {shape.unit}: {count:,}"
        drawn.append(
            f'<g><title>{told}</title><rect class="hit" x="{i * step:.2f}" y="0" width="{step:.2f}" '
            f'height="{HEIGHT}"/><rect {SHADE} x="{i * step + 0.5:.2f}" y="{HEIGHT - tall:.2f}" '
            f'width="{max(step - 1, 0.5):.2f}" height="{tall:.2f}"/></g>'
        )
    labels = [
        f'<text x="{i * step:.2f}" y="{HEIGHT + FOOT - 4}" text-anchor="{_anchor(i, bars)}">'
        f"{number(shape.edges[i])}</text>"
        for i in _labelled(shape)
    ]
    labels.append(
        f'<text x="{WIDTH + 4}" y="9">{top:,}</text><text x="{WIDTH + 4}" y="{HEIGHT}">0</text>'
    )
    title = f"{shape.title}, {shape.unit}"
    summary = (
        f"Histogram of {shape.title}: {number(shape.edges[0])} to {number(shape.edges[-1])} {shape.unit}, "
        f"median {number(shape.median)} {shape.unit}"
    )
    return _figure(
        f"{title} · median {number(shape.median)}", summary, "".join(drawn + labels), HEIGHT + FOOT
    )


def kinds_chart(kinds: Mapping[str, int]) -> str:
    """A bar a kind, with its number of clips."""
    top = max(kinds.values(), default=0) or 1
    line = 26
    parts = []
    for i, (kind, count) in enumerate(sorted(kinds.items(), key=lambda pair: -pair[1])):
        y = i * line
        parts.append(
            f'<text x="0" y="{y + 16}">{text(kind)}</text>'
            f'<rect {SHADE} x="70" y="{y + 4}" width="{max(150 * count / top, 1):.1f}" height="16"/>'
            f'<text x="{76 + 150 * count / top:.1f}" y="{y + 16}">{count:,}</text>'
        )
    told = ", ".join(f"{kind} {count:,}" for kind, count in kinds.items())
    return _figure("kind, clips", f"Clips by kind: {told}", "".join(parts), len(kinds) * line)


def number(x: float) -> str:
    """Three digits, no exponent."""
    if x != x:
        return "none"
    rounded = float(f"{x:.3g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 100 or rounded == int(rounded) else f"{rounded:g}"


def _labelled(shape: Histogram) -> list[int]:
    """Edges to label: at most six, of a logarithmic axis powers of two."""
    places = list(range(len(shape.edges)))
    if shape.logarithmic:
        whole = [i for i in places if abs(math.log2(shape.edges[i]) % 1) < 1e-6]
        places = whole if len(whole) > 1 else places
    return places[:: -(-len(places) // 6)]


def _anchor(i: int, bars: int) -> str:
    return "start" if i == 0 else "end" if i == bars else "middle"


def _figure(title: str, summary: str, content: str, height: int) -> str:
    return (
        f'<figure class="chart"><figcaption>{text(title)}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH + MARGIN} {height}" role="img" aria-label="{text(summary)}">'
        f"{content}</svg></figure>"
    )
