"""The page: one HTML file with everything in it, for the eye, the ear and the keyboard."""

import base64
from collections.abc import Sequence

from ldm_jax.data.show.assets import SCRIPT, STYLE
from ldm_jax.data.show.cards import Card, duration
from ldm_jax.data.show.charts import histogram_chart, kinds_chart
from ldm_jax.data.show.escaping import text
from ldm_jax.data.show.pictures import (
    STEPS,
    frequency_ticks,
    level_path,
    png,
    spectrogram,
    time_ticks,
)
from ldm_jax.data.show.sampling import Summary


def page(summary: Summary, cards: Sequence[Card]) -> str:
    """The whole page. Texts of the dataset are shown as they are, never read as HTML."""
    title = text(summary.title)
    kinds = sorted({card.kind or "unknown" for card in cards})
    chips = "".join(
        f'<button type="button" class="chip" data-kind="{text(kind)}" aria-pressed="false">{text(kind)}</button>'
        for kind in kinds
    )
    shown = f"{len(cards):,} of {summary.clips:,} clips"
    return "".join(
        (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{title}: {shown}</title><style>{STYLE}</style></head><body>",
            f'<header><h1 dir="auto">{title}</h1><p class="shown">{shown}</p>',
            _definitions(summary.facts),
            '<div class="charts">',
            kinds_chart(summary.kinds) if summary.kinds else "",
            *(histogram_chart(shape) for shape in summary.histograms),
            "</div>",
            f'<p class="counted">Histograms of {text(summary.counted)}.</p>'
            if summary.histograms
            else "",
            _omissions(summary),
            "</header>",
            '<div class="tools"><label class="find">Search <input id="find" type="search" '
            'placeholder="captions, transcripts, names, labels" autocomplete="off"></label>',
            f'<div class="chips" role="group" aria-label="kinds">{chips}</div>',
            f'<output id="count">{len(cards)} shown</output>',
            '<span class="keys"><kbd>←</kbd> <kbd>→</kbd> clip, <kbd>space</kbd> play, ',
            "<kbd>/</kbd> search</span></div>",
            '<main id="cards">',
            *(card_html(card, number) for number, card in enumerate(cards)),
            '</main><p id="none" hidden>No clip on this page matches.</p>',
            f"<script>{SCRIPT}</script></body></html>\n",
        )
    )


def card_html(card: Card, number: int) -> str:
    """One clip."""
    kind = text(card.kind or "unknown")
    tags = "".join(
        f'<span class="tag">{text(tag)}</span>' for tag in (card.kind, card.split) if tag
    )
    captions = "".join(f'<p class="caption" dir="auto">{text(line)}</p>' for line in card.captions)
    if not card.captions:
        captions = '<p class="caption missing">no caption</p>'
    spoken = (
        f'<p class="transcript" dir="auto">{text(card.transcript)}</p>' if card.transcript else ""
    )
    return (
        f'<article class="card" tabindex="-1" id="clip-{number}" data-kind="{kind}" '
        f'aria-label="{text(card.name)}"><h2 dir="auto">{text(card.name)}</h2>'
        f'<div class="tags">{tags}</div>{_sound(card)}<div class="texts">{captions}{spoken}</div>'
        f"{_definitions(card.facts)}</article>"
    )


def _sound(card: Card) -> str:
    if card.problem:
        return f'<p class="problem" role="alert">Cannot be read: {text(card.problem)}</p>'
    level, settings = spectrogram(card.wave, card.rate)
    picture = base64.b64encode(png(level)).decode()
    alt = (
        f"Log-mel spectrogram, {duration(card.seconds)} from left to right, "
        f"0 to {card.rate / 2000:g} kHz upwards"
    )
    heights = "".join(
        f'<span style="bottom:{100 * at:.1f}%">{label}</span>'
        for at, label in frequency_ticks(settings)
    )
    times = "".join(
        f'<span style="left:{100 * at:.2f}%">{label}</span>'
        for at, label in time_ticks(card.seconds)
    )
    note = f'<p class="note">{text(card.note)}</p>' if card.note else ""
    return (
        f'<div class="sound"><div class="hertz" aria-hidden="true">{heights}</div><div class="pictures">'
        f'<img class="mel" alt="{text(alt)}" src="data:image/png;base64,{picture}">'
        f'<svg class="level" viewBox="0 0 {STEPS} 2" preserveAspectRatio="none" role="img" '
        f'aria-label="Level, full scale at the edges"><path d="{level_path(card.wave)}"/></svg>'
        f'<div class="head" hidden></div></div><div class="times" aria-hidden="true">{times}</div></div>'
        f'<audio controls preload="none" src="{card.data_uri}"></audio>{note}'
    )


def _definitions(facts: Sequence[tuple[str, str]]) -> str:
    items = "".join(
        f'<div><dt>{text(term)}</dt><dd dir="auto">{text(value)}</dd></div>'
        for term, value in facts
    )
    return f"<dl>{items}</dl>"


def _omissions(summary: Summary) -> str:
    if not summary.omissions:
        return ""
    items = "".join(
        f"<li><code>{text(one.name)}</code>: {text(one.reason)}</li>" for one in summary.omissions
    )
    return f"<details><summary>Left out, the first {len(summary.omissions)}</summary><ul>{items}</ul></details>"
