import dataclasses
import io

import numpy as np
import pytest
import soundfile

from ldm_jax.data.prepare import Settings, prepare
from ldm_jax.data.prepare.statistics import Histogram
from ldm_jax.data.prepared import open_prepared
from ldm_jax.data.show.cards import clip_card, duration, row_card
from ldm_jax.data.show.charts import histogram_chart
from ldm_jax.data.show.page import page
from ldm_jax.data.show.sampling import drawn, hours, look
from tests.data.show.material import RATE, Page, clip, of_uri, picture_of, samples_of, tone

HOSTILE = """</p><script>alert(1)</script>"'><img src=x onerror=alert(2)>&lt;b&gt; </style> \x00\ud800 é 雨"""
KINDS = ("sound", "music", "speech", "")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    return [
        clip(
            folder,
            f"{kind or 'none'}/{i}.wav",
            tone(200 + 100 * i, 0.4 + 0.1 * i),
            captions=(f"tone {i}", f"the tone number {i}")[: i % 3],
            transcript="¿Qué?" if kind == "speech" else "",
            kind=kind,
            licence="CC0-1.0",
            origin="a studio",
            labels=("/m/01",),
            quality=3,
            split=("train", "test")[i % 2],
        )
        for i, kind in enumerate(KINDS * 3)
    ]


@pytest.fixture(scope="module")
def prepared(clips, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    made = prepare(clips, out, name="tones", settings=Settings(min_seconds=0.45))
    return open_prepared(made.folder)


@pytest.fixture(scope="module")
def whole(prepared):
    summary, cards = look(prepared.folder, count=100)
    return Page(page(summary, cards)), cards


def test_players_hold_the_rows_samples(whole, prepared):
    seen, _ = whole
    rows = [row for split in prepared.splits for row in prepared.rows(split)]
    players = seen.all("audio")
    assert len(players) == len(rows) == 11  # the shortest clip was left out
    for player, row in zip(players, rows, strict=True):
        kind, samples, rate = samples_of(player)
        assert kind == "audio/flac"
        assert rate == row.sample_rate
        expected, _ = soundfile.read(io.BytesIO(row.audio), dtype="int16")
        np.testing.assert_array_equal(samples, expected)
        assert of_uri(player["src"])[1] == row.audio


def test_every_card_says_what_is_known(whole, prepared):
    seen, _ = whole
    cards = seen.all("article")
    rows = [(row, split) for split in prepared.splits for row in prepared.rows(split)]
    for card, (row, split) in zip(cards, rows, strict=True):
        assert card["data-kind"] == (row.kind or "unknown")
        for said in (row.name, *row.captions, row.transcript, row.kind, split, row.licence, row.origin,
                     row.hash, f"{row.loudness:.1f} dBFS", duration(row.seconds), "/m/01", "exact"):  # fmt: skip
            assert said in card["text"]
        assert row.captions or "no caption" in card["text"]


def test_pictures_show_the_tone(whole):
    seen, cards = whole
    pictures = seen.all("img", "mel")
    assert len(pictures) == len(cards)
    for image, card in zip(pictures, cards, strict=True):
        assert f"{duration(card.seconds)} from left to right, 0 to 8 kHz upwards" in image["alt"]
        shades = picture_of(image).sum(axis=2)
        brightest = shades[:, shades.shape[1] // 2].argmax()
        spectrum = np.abs(np.fft.rfft(card.wave))
        hertz = spectrum.argmax() / card.seconds
        mel = 3 * hertz / 200 if hertz < 1000 else 15 + 27 * np.log(hertz / 1000) / np.log(6.4)
        assert abs((80 - brightest) / 81 - mel / 45.245) < 1.5 / 80


def test_head_counts_the_dataset(whole, prepared):
    seen, _ = whole
    (header,) = seen.all("header")
    report = prepared.report
    for split, amount in report["splits"].items():
        assert f"{split}{amount['rows']} clips, {60 * amount['hours']:.1f} min" in header["text"]
    assert "left out1 clips" in header["text"]
    for kind in ("sound", "music", "speech", "unknown"):
        bars = [chart["aria-label"] for chart in seen.all("svg") if "aria-label" in chart]
        assert any(f"{kind} {2 if kind == 'sound' else 3}" in label for label in bars)
    charts = [x for x in seen.all("title") if "g" in x["inside"]]
    lengths = [x["text"] for x in charts if " s: " in x["text"]]
    assert sum(int(told.rpartition(" ")[2]) for told in lengths) == 11


def test_everything_is_in_the_page(whole):
    seen, _ = whole
    for element in seen.elements:
        for name in ("src", "href"):
            assert element.get(name, "data:").startswith("data:")
        assert not any(name.startswith("on") for name in element)
    assert "http" not in seen.all("style")[0]["text"] + seen.all("script")[0]["text"]
    assert "@import" not in seen.all("style")[0]["text"]
    for image in seen.all("img"):
        assert image["alt"]
    for chart in seen.all("svg"):
        assert chart["role"] == "img"
        assert chart["aria-label"]
    assert seen.all("html")[0]["lang"] == "en"
    assert "viewport" in [x.get("name") for x in seen.all("meta")]


def test_hostile_texts_stay_texts(prepared):
    row = dataclasses.replace(
        prepared.rows("train")[0], name=HOSTILE, captions=(HOSTILE, "x" * 10_000), transcript=HOSTILE,
        labels=(HOSTILE,), origin=HOSTILE, licence=HOSTILE, kind=HOSTILE, group=HOSTILE,
    )  # fmt: skip
    summary, _ = look(prepared.folder, count=1)
    summary = dataclasses.replace(summary, title=HOSTILE, kinds={HOSTILE: 1})
    content = page(summary, [row_card(row, HOSTILE)]).encode("utf-8").decode()
    seen = Page(content)
    assert len(seen.all("script")) == 1
    assert len(seen.all("style")) == 1
    assert [x for x in seen.all("img") if "mel" not in x["class"]] == []
    shown = HOSTILE.replace("\x00", "\ufffd").replace("\ud800", "\ufffd")
    assert seen.all("h1")[0]["text"] == shown
    assert seen.all("p", "caption")[0]["text"] == shown
    assert len(seen.all("p", "caption")[1]["text"]) == 10_000
    assert seen.all("p", "transcript")[0]["text"] == shown
    assert seen.all("article")[0]["data-kind"] == seen.all("button")[0]["data-kind"] == shown
    for name in ("h1", "h2"):
        assert seen.all(name)[0]["dir"] == "auto"


def test_long_clips_are_played_from_their_beginning(tmp_path, prepared):
    wave = np.random.default_rng(0).standard_normal(40 * RATE) * 0.1
    long = clip_card(clip(tmp_path, "long.wav", wave))
    assert long.note == "the first 30 s"
    assert dict(long.facts)["length"] == "at least 30.0 s"
    assert len(long.wave) == 30 * RATE
    whole = io.BytesIO()
    soundfile.write(whole, wave, RATE, format="FLAC", subtype="PCM_16")
    row = dataclasses.replace(prepared.rows("train")[0], audio=whole.getvalue(), samples=len(wave))
    card = row_card(row, "train")
    assert card.note == "the first 30 s of 40.0 s"
    played, _ = soundfile.read(io.BytesIO(card.sound), dtype="int16")
    expected, _ = soundfile.read(io.BytesIO(row.audio), dtype="int16")
    np.testing.assert_array_equal(played, expected[: 30 * RATE])


def test_high_rates_are_played_at_48_khz(tmp_path):
    card = clip_card(clip(tmp_path, "high.wav", tone(1000, 0.5, 192_000), 192_000))
    played, rate = soundfile.read(io.BytesIO(card.sound))
    assert rate == 48_000
    middle = slice(2_000, -2_000)
    np.testing.assert_allclose(played[middle], tone(1000, 0.5, 48_000)[middle], atol=1e-4)
    assert ("rate", "192,000 Hz") in card.facts


def test_a_source_is_shown_as_it_lies(tmp_path):
    stereo = np.stack([tone(300, 1.0, 44_100), tone(300, 1.0, 44_100) / 2], axis=1)
    clip(tmp_path, "a/both.wav", stereo, 44_100)
    clip(tmp_path, "b.wav", tone(300, 0.5))
    (tmp_path / "c.wav").write_bytes(b"RIFF no sound")
    (tmp_path / "captions.csv").write_text(
        "file,caption\na/both.wav,two channels\nb.wav,one <b>\nc.wav,broken\nz.wav,lost\n"
    )
    summary, cards = look(tmp_path)
    seen = Page(page(summary, cards))
    by_name = dict(zip([x["text"] for x in seen.all("h2")], seen.all("article"), strict=True))
    assert "one <b>" in by_name["b.wav"]["text"]
    assert "Cannot be read" in by_name["c.wav"]["text"]
    assert "channels2" in by_name["a/both.wav"]["text"].replace(" ", "")
    kind, samples, rate = samples_of(seen.all("audio")[0])
    assert (kind, rate) == ("audio/flac", 44_100)
    expected, _ = soundfile.read(tmp_path / "a/both.wav", dtype="float64")
    np.testing.assert_allclose(samples / 32767, expected.mean(axis=1), atol=2e-5)
    assert "z.wav" in seen.all("details")[0]["text"]
    level = 20 * np.log10(0.25 * 0.75 / np.sqrt(2))
    assert f"{level:.1f} dBFS" in by_name["a/both.wav"]["text"]


def test_draws_are_the_seeds(prepared, clips):
    names = [card.name for card in look(prepared.folder, count=5, seed=1)[1]]
    assert names == [card.name for card in look(prepared.folder, count=5, seed=1)[1]]
    assert names != [card.name for card in look(prepared.folder, count=5, seed=2)[1]]
    only = look(prepared.folder, split="test", count=50)[1]
    assert {card.split for card in only} == {"test"}
    with pytest.raises(ValueError, match="no split 'dev'"):
        look(prepared.folder, split="dev")
    assert drawn(10, 20, 0) == list(range(10))
    often = np.bincount(np.concatenate([drawn(20, 5, seed) for seed in range(2000)]), minlength=20)
    assert abs(often - 500).max() < 110  # five standard deviations


def test_a_source_is_drawn_from_evenly(tmp_path):
    for i in range(6):
        clip(tmp_path, f"{i}.wav", tone(300, 0.01))
    often = np.zeros(6)
    for seed in range(100):
        for card in look(tmp_path, count=2, seed=seed, layout="folder")[1]:
            often[int(card.name[0])] += 1
    assert abs(often - 100 / 3).max() < 24  # five standard deviations


def test_axes_are_labelled_with_round_numbers():
    edges = tuple((2.0 ** np.arange(-3, 5.25, 0.25)).tolist())
    shape = Histogram(title="length", unit="s", edges=edges, counts=(1,) * (len(edges) - 1),
                      median=2.0, logarithmic=True)  # fmt: skip
    labels = [x["text"] for x in Page(histogram_chart(shape)).all("text")]
    assert labels == ["0.125", "0.5", "2", "8", "32", "1", "0"]
    straight = dataclasses.replace(
        shape, edges=(-30.0, -28.0, -26.0), counts=(4, 9), logarithmic=False
    )
    labels = [x["text"] for x in Page(histogram_chart(straight)).all("text")]
    assert labels == ["-30", "-28", "-26", "9", "0"]


@pytest.mark.parametrize(("count", "said"), [(1234.56, "1,234.6 h"), (0.5, "30.0 min")])
def test_hours(count, said):
    assert hours(count) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.5, "0.50 s"), (9.996, "10.00 s"), (12.34, "12.3 s"), (125, "2:05"), (3725, "1:02:05")],
)
def test_durations(seconds, said):
    assert duration(seconds) == said
