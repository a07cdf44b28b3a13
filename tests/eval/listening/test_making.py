import base64
import collections
import io
import itertools
import json
import re

import numpy as np
import pytest
import soundfile

from ldm_jax.eval.listening.checks import ANSWERS
from ldm_jax.eval.listening.loudness import integrated_loudness
from ldm_jax.eval.listening.making import Settings, make
from ldm_jax.eval.listening.material import drawn, gather
from ldm_jax.eval.listening.page import write_folder, write_page
from ldm_jax.eval.listening.questions import questions_named
from tests.eval.listening.material import CAPTIONS, RATE, SYSTEMS, tone, write_systems

OVL_REL = questions_named("ovl,rel")


@pytest.fixture(scope="module")
def items(tmp_path_factory):
    folders, table = write_systems(tmp_path_factory.mktemp("clips"))
    found, problems = gather(folders, captions=table)
    assert problems == ()
    return found


@pytest.fixture(scope="module")
def test(items):
    return make(items, Settings(questions=OVL_REL, length=5, title="Tones & <more>"))


def wave_of(file):
    return soundfile.read(io.BytesIO(file), always_2d=True)


def test_every_clip_has_the_same_loudness_and_no_peak_passes(test):
    for number, clip in enumerate(test.key["clips"]):
        wave, rate = wave_of(test.sounds[number])
        assert integrated_loudness(wave, rate) == pytest.approx(-23, abs=0.05), clip
        assert np.abs(wave).max() <= 10 ** (-1 / 20)
    wave, rate = wave_of(test.volume)
    assert integrated_loudness(wave, rate) == pytest.approx(-23, abs=0.05)


def test_key_says_what_each_number_is(test, items):
    told = {
        (clip["system"], clip["item"]): number
        for number, clip in enumerate(test.key["clips"])
        if "system" in clip
    }
    assert set(told) == {(system, item.name) for system in SYSTEMS for item in items}
    for item in items:
        for system, clip in item.clips.items():
            original, rate = soundfile.read(clip.path)
            number = told[system, item.name]
            wave, same = wave_of(test.sounds[number])
            assert same == rate == RATE
            gain = 10 ** (test.key["clips"][number]["gain"] / 20)
            np.testing.assert_allclose(wave[:, 0], original * gain, atol=2e-4)
            assert test.key["clips"][number]["file"] == str(clip.path)


def test_rows_have_each_caption_once_and_one_check_of_a_kind(test):
    numbers = collections.Counter()
    assert len(test.key["rows"]) == len(test.page["rows"]) == 3
    for row, seen in zip(test.key["rows"], test.page["rows"], strict=True):
        assert seen == [[trial["clip"], trial["text"]] for trial in row]
        rated = [trial for trial in row if "check" not in trial]
        assert sorted(trial["text"] for trial in rated) == [0, 1, 2, 3, 4]
        numbers.update(trial["clip"] for trial in rated)
        for trial in rated:
            assert test.key["clips"][trial["clip"]]["item"] == f"clip{trial['text']}"
        checks = {
            trial["check"]["kind"]: (place, trial)
            for place, trial in enumerate(row)
            if "check" in trial
        }
        assert set(checks) == {"instruction", "noise", "mismatch", "repeat"}
        assert all(place > 0 for place, _ in checks.values())
        place, repeat = checks["repeat"]
        first = repeat["check"]["of"]
        assert first < place - 1
        assert (row[first]["clip"], row[first]["text"]) == (repeat["clip"], repeat["text"])
        _, mismatch = checks["mismatch"]
        assert test.key["clips"][mismatch["clip"]]["item"] != f"clip{mismatch['text']}"
        _, spoken = checks["instruction"]
        said = test.key["clips"][spoken["clip"]]["check"]
        assert said == f"instruction {spoken['check']['answer']}"
        assert spoken["check"]["answer"] in ANSWERS[5]
    assert set(numbers.values()) == {1}
    assert len(numbers) == 15


def test_nothing_in_the_page_tells_a_system(test, items, tmp_path):
    write_page(test, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    coded = re.findall(r'id="sound-[^>]*>([^<]*)<', page)
    assert len(coded) == len(test.sounds) + 1
    told = "".join((page, *(base64.b64decode(each).decode("latin-1") for each in coded))).lower()
    for word in (
        *SYSTEMS,
        "mismatch",
        "instruction",
        "loudness",
        "clip0",
        str(items[0].clips[SYSTEMS[0]].path.parent),
    ):
        assert word not in told, word
    assert "http" not in re.sub(r'<script type="text/plain".*?</script>', "", page, flags=re.S)


def test_clips_of_a_caption_differ_neither_in_size_nor_in_metadata(test):
    of_item = collections.defaultdict(list)
    for number, clip in enumerate(test.key["clips"]):
        if "item" in clip:
            of_item[clip["item"]].append(test.sounds[number])
    for files in of_item.values():
        assert len({len(file) for file in files}) == 1
        with_tags = []
        for file in files:
            with soundfile.SoundFile(io.BytesIO(file)) as opened:
                with_tags.append(
                    {key: value.strip() for key, value in opened.copy_metadata().items()}
                )
        assert all(tags == with_tags[0] for tags in with_tags)


def test_numbers_do_not_follow_systems(items):
    """Over many seeds, a system's clips lie anywhere among the numbers."""
    places = collections.defaultdict(list)
    for seed in range(8):
        made = make(items, Settings(questions=OVL_REL, checks=(), seed=seed, length=5))
        for number, clip in enumerate(made.key["clips"]):
            places[clip["system"]].append(number)
    for numbers in places.values():  # 40 numbers of 0 .. 14: 7 +- 0.68
        assert abs(np.mean(numbers) - 7) < 3


def test_the_same_seed_makes_the_same_page_and_another_does_not(items, test, tmp_path):
    again = make(items, Settings(questions=OVL_REL, length=5, title="Tones & <more>"))
    assert again == test
    other = make(items, Settings(questions=OVL_REL, length=5, title="Tones & <more>", seed=1))
    assert other.page["test"] != test.page["test"]
    assert other.key["rows"] != test.key["rows"]


def test_folder_holds_the_same_sounds(test, tmp_path):
    write_folder(test, tmp_path / "out")
    files = sorted((tmp_path / "out" / "sounds").iterdir())
    assert {file.name for file in files} == {f"{n}.flac" for n in range(len(test.sounds))} | {
        "volume.flac"
    }
    for number, sound in enumerate(test.sounds):
        assert (tmp_path / "out" / "sounds" / f"{number}.flac").read_bytes() == sound
    page = (tmp_path / "out" / "index.html").read_text()
    assert (
        json.loads(re.search(r'id="test">(.*?)</script>', page)[1])["folder"] == "sounds/NAME.flac"
    )
    with pytest.raises(ValueError, match="is there already"):
        write_folder(test, tmp_path / "out")


def test_captions_cannot_end_the_script(test, tmp_path):
    write_page(test, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    data = json.loads(re.search(r'id="test">(.*?)</script>', page, re.S)[1])
    assert tuple(data["texts"]) == CAPTIONS
    assert "<title>Tones &amp; &lt;more&gt;</title>" in page


def one_item(tmp_path, **waves):
    for name, (wave, rate) in waves.items():
        (tmp_path / name).mkdir(parents=True)
        soundfile.write(tmp_path / name / "x.wav", wave, rate, subtype="FLOAT")
        (tmp_path / name / "x.txt").write_text("a tone")
    return gather({name: tmp_path / name for name in waves})[0]


def test_a_peaky_clip_lowers_its_whole_item_and_silence_stays(tmp_path):
    peaky = tone(300, 2, level=0.01)
    peaky[100] = 0.5
    found = one_item(
        tmp_path, a=(peaky, RATE), b=(tone(400, 2), RATE), silent=(np.zeros((RATE, 1)), RATE)
    )
    made = make(found, Settings(questions=OVL_REL, checks=()))
    levels = {}
    for number, clip in enumerate(made.key["clips"]):
        wave, rate = wave_of(made.sounds[number])
        levels[clip["system"]] = integrated_loudness(wave, rate), np.abs(wave).max()
    assert levels["a"][0] == pytest.approx(levels["b"][0], abs=0.05)
    assert levels["a"][1] == pytest.approx(10 ** (-1 / 20), abs=1e-3)
    assert levels["silent"] == (-np.inf, 0)
    assert len(made.remarks) == 2
    assert any("silent" in remark for remark in made.remarks)
    assert any("because a peak would pass -1 dBFS" in remark for remark in made.remarks)
    json.dumps(made.key, allow_nan=False)


def test_rates_are_kept_channels_are_made_alike_and_cuts_fade(tmp_path):
    found = one_item(
        tmp_path, a=(tone(300, 2, rate=44_100, channels=2), 44_100), b=(tone(300, 3), RATE)
    )
    made = make(found, Settings(questions=OVL_REL, checks=(), seconds=1.5))
    shapes = {}
    for number, clip in enumerate(made.key["clips"]):
        wave, rate = wave_of(made.sounds[number])
        shapes[clip["system"]] = wave.shape, rate
        assert np.abs(wave[-3:]).max() < 0.01
        np.testing.assert_array_equal(wave[:, 0], wave[:, 1])
    assert shapes == {"a": ((66_150, 2), 44_100), "b": ((24_000, 2), RATE)}
    assert "a 44,100 Hz, b 16,000 Hz" in made.remarks[-1]


def test_opus_is_smaller_and_as_loud(items):
    settings = Settings(questions=OVL_REL, codec="opus", length=5, checks=("noise",))
    made = make(items, settings)
    noise = next(number for number, clip in enumerate(made.key["clips"]) if "check" in clip)
    plain = make(items, Settings(questions=OVL_REL, length=5, checks=("noise",)))
    assert len(made.sounds[noise]) < 0.6 * len(plain.sounds[noise])
    for number in range(len(made.sounds)):
        wave, rate = wave_of(made.sounds[number])
        assert rate == RATE
        assert integrated_loudness(wave, rate) == pytest.approx(-23, abs=0.5)


def test_opus_clips_of_a_caption_take_the_same_space_in_the_page(items, tmp_path):
    made = make(items, Settings(questions=OVL_REL, codec="opus", length=5, checks=()))
    write_page(made, tmp_path / "page.html")
    coded = dict(re.findall(r'id="sound-(\d+)">([^<]*)<', (tmp_path / "page.html").read_text()))
    sizes = collections.defaultdict(set)
    for number, clip in enumerate(made.key["clips"]):
        assert base64.b64decode(coded[str(number)].strip()) == made.sounds[number]
        sizes[clip["item"]].add(len(coded[str(number)]))
    assert [len(each) for each in sizes.values()] == [1] * 5


def test_checks_that_cannot_be_failed_are_left_out(items):
    for questions, kinds in (
        ("ovl", {"instruction", "noise", "repeat"}),
        ("rel", {"instruction", "mismatch", "repeat"}),
    ):
        made = make(items, Settings(questions=questions_named(questions)))
        row = made.key["rows"][0]
        assert {trial["check"]["kind"] for trial in row if "check" in trial} == kinds


def test_ovl_alone_shows_no_text_and_mos_shows_the_transcript(tmp_path, items):
    assert set(make(items, Settings(questions=questions_named("ovl"))).page["texts"]) == {""}
    (tmp_path / "s").mkdir()
    soundfile.write(tmp_path / "s" / "x.wav", tone(200, 1), RATE)
    record = {"settings": {"prompt": "a calm voice", "transcript": "Hello there."}}
    (tmp_path / "s" / "x.json").write_text(json.dumps(record))
    found, _ = gather({"s": tmp_path / "s"})
    assert (found[0].caption, found[0].transcript) == ("a calm voice", "Hello there.")
    assert make(found, Settings(questions=questions_named("mos"), checks=())).page["texts"] == [
        "Hello there."
    ]
    with pytest.raises(ValueError, match="make two tests"):
        make(found, Settings(questions=questions_named("mos,rel")))


def test_systems_are_paired_by_caption_where_names_differ(tmp_path):
    for system, names in (("a", ("0-dog-1", "1-cat-1")), ("b", ("cat", "dog"))):
        (tmp_path / system).mkdir()
        for name in names:
            soundfile.write(tmp_path / system / f"{name}.wav", tone(200, 0.5), RATE)
            (tmp_path / system / f"{name}.txt").write_text("a dog" if "dog" in name else "a cat")
    found, problems = gather({"a": tmp_path / "a", "b": tmp_path / "b"})
    assert problems == ()
    assert [(item.name, item.clips["a"].name, item.clips["b"].name) for item in found] == [
        ("a cat", "1-cat-1", "cat"),
        ("a dog", "0-dog-1", "dog"),
    ]


def test_what_not_all_systems_have_is_left_out_and_said(tmp_path):
    folders, table = write_systems(tmp_path)
    (folders["okapi"] / "clip3.wav").rename(folders["okapi"] / "clip3.m4a")
    found, problems = gather(folders, captions=table)
    assert [item.name for item in found] == ["clip0", "clip1", "clip2", "clip4"]
    assert [problem.split(":")[0] for problem in problems] == ["okapi", "zebra", "lemur"]
    assert "clip3.m4a" in problems[0]
    assert all(
        "1 of its clips, not in all systems, left out, such as 'clip3'" in each
        for each in problems[1:]
    )
    chosen = [tuple(item.name for item in drawn(found, 2, seed=seed)) for seed in range(20)]
    assert len(set(chosen)) > 3
    assert all(list(names) == sorted(names) for names in chosen)
    assert set(itertools.chain(*chosen)) == {"clip0", "clip1", "clip2", "clip4"}
