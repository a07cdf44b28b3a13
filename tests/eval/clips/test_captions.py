import pytest

from ldm_jax.eval.clips import pair, read_side
from tests.eval.clips.sounds import lines, names, sound, told

AUDIOCAPS = """audiocap_id,youtube_id,start_time,caption
101,rqfQRErjfk8,170,A large crowd cheers
102,rqfQRErjfk8,170,"A crowd cheers, and claps"
103,-Kx_Bv,30,A dog barks
104,missing0000,10,Rain
105,,10,Rain
"""


def audiocaps(folder):
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / "test.csv"
    table.write_text(AUDIOCAPS)
    return table


def test_by_path_name_and_stem(tmp_path):
    for path in ("x/a.wav", "x/b.wav", "c.wav", "d.wav", "e.wav"):
        sound(tmp_path / "set" / path)
    (tmp_path / "set/e.txt").write_text("what lies beside")
    table = lines(
        tmp_path / "captions.jsonl",
        {"name": "x/a", "caption": "one"},
        {"file": "b.mp3", "caption": "two"},
        {"file": "/elsewhere/set/c.wav", "caption": "three"},
        {"file": "c.wav", "caption": "four"},
        {"file": "gone.wav", "caption": "five"},
        {"caption": "six"},
    )
    side = read_side(tmp_path / "set", captions=table)
    assert {clip.name: clip.captions for clip in side.clips} == {
        "c": ("three", "four"),
        "d": (),
        "e": ("what lies beside",),
        "x/a": ("one",),
        "x/b": ("two",),
    }
    assert told(side.problems) == [
        (str(table), True),
        ("captions.jsonl, line 6", True),
        ("d", False),
    ]
    assert "1 of 5 rows name no clip" in side.problems[0].why
    assert "captions.jsonl, line 5, gone.wav" in side.problems[0].why


@pytest.mark.parametrize("naming", ["Y{}", "{}", "{}_{start}", "{}_{milli}_{end}"])
def test_audiocaps_by_video(tmp_path, naming):
    table = audiocaps(tmp_path / "lists")
    for video, start in (("rqfQRErjfk8", 170), ("-Kx_Bv", 30)):
        times = {"start": start, "milli": start * 1000, "end": (start + 10) * 1000}
        sound(tmp_path / "real" / f"{naming.format(video, **times)}.wav", seed=start)
    side = read_side(tmp_path / "real", captions=table)
    assert sorted(clip.captions for clip in side.clips) == [
        ("A dog barks",),
        ("A large crowd cheers", "A crowd cheers, and claps"),
    ]
    assert told(side.problems) == [(str(table), True), ("test.csv, line 6", True)]
    assert "1 of 4 rows name no clip" in side.problems[0].why

    # The generated clips may be called by the row, or by the video in any other way.
    sound(tmp_path / "rows/101.wav")
    sound(tmp_path / "rows/102.wav")
    sound(tmp_path / "rows/103.wav")
    pairing = pair(read_side(tmp_path / "rows"), side)
    assert pairing.share == 1.0
    assert {clip.name: clip.captions for clip in pairing.generated} == {
        "101": ("A large crowd cheers",),
        "102": ("A crowd cheers, and claps",),
        "103": ("A dog barks",),
    }
    assert [(clip.name, clip.captions[0]) for clip in pairing.reference] == [
        ("101", "A large crowd cheers"),
        ("102", "A crowd cheers, and claps"),
        ("103", "A dog barks"),
    ]
    sound(tmp_path / "videos/YrqfQRErjfk8.wav")
    sound(tmp_path / "videos/-Kx_Bv.flac")
    pairing = pair(read_side(tmp_path / "videos"), side)
    assert pairing.names == ("-Kx_Bv", "YrqfQRErjfk8")
    assert pairing.share == 1.0
    assert pairing.generated[1].captions == ("A large crowd cheers", "A crowd cheers, and claps")


def test_audiocaps_table_beside_its_clips(tmp_path):
    table = audiocaps(tmp_path / "set")
    sound(tmp_path / "set/wavs/rqfQRErjfk8.wav")
    side = read_side(table)
    assert names(side.clips) == ["wavs/rqfQRErjfk8"]
    assert side.clips[0].captions == ("A large crowd cheers", "A crowd cheers, and claps")


def test_audiocaps_with_a_file_a_row(tmp_path):
    table = audiocaps(tmp_path / "lists")
    for row in (101, 102, 103):
        sound(tmp_path / f"gen/{row}.wav")
    side = read_side(tmp_path / "gen", captions=table)
    assert [clip.captions for clip in side.clips] == [
        ("A large crowd cheers",),
        ("A crowd cheers, and claps",),
        ("A dog barks",),
    ]
    assert "101" not in side.aliases


def test_a_table_about_something_else(tmp_path):
    sound(tmp_path / "set/a.wav")
    table = lines(tmp_path / "captions.jsonl", {"file": "b.wav", "caption": "one"})
    with pytest.raises(
        ValueError, match=r"names no clip of .*set: it begins with captions.jsonl, line 1"
    ):
        read_side(tmp_path / "set", captions=table)


def test_musiccaps_by_video_and_time(tmp_path):
    (tmp_path / "musiccaps.csv").write_text(
        "ytid,start_s,end_s,audioset_positive_labels,aspect_list,caption,author_id\n"
        "-0Gj8-vB1q4,30,40,/m/02w4v,pop,A sad song,4\n"
        "-0SdAVK79lg,60,70,/m/02w4v,pop,A guitar,4\n"
    )
    sound(tmp_path / "real/[-0Gj8-vB1q4]-[30-40].wav")
    sound(tmp_path / "real/-0SdAVK79lg.wav")
    side = read_side(tmp_path / "real", captions=tmp_path / "musiccaps.csv")
    assert [clip.captions for clip in side.clips] == [("A guitar",), ("A sad song",)]
    sound(tmp_path / "gen/-0Gj8-vB1q4.wav")
    sound(tmp_path / "gen/-0SdAVK79lg_60.wav")
    pairing = pair(read_side(tmp_path / "gen"), side)
    assert [clip.captions for clip in pairing.generated] == [("A sad song",), ("A guitar",)]


def test_aliases_of_the_generated_side(tmp_path):
    """Clips called by number, and a table that tells which references they stand for."""
    for i, video in enumerate(("Yabc", "Ydef")):
        sound(tmp_path / f"gen/output_{i}.wav", seed=i)
        sound(tmp_path / f"real/{video}.wav", seed=i + 10)
    table = lines(
        tmp_path / "list.jsonl",
        {"file": "output_0.wav", "name": "Ydef", "caption": "one"},
        {"file": "output_1.wav", "name": "Yabc", "caption": "two"},
    )
    pairing = pair(read_side(tmp_path / "gen", captions=table), read_side(tmp_path / "real"))
    assert [(clip.name, clip.path.name) for clip in pairing.reference] == [
        ("output_0", "Ydef.wav"),
        ("output_1", "Yabc.wav"),
    ]
    assert pairing.problems == ()


def test_what_means_two_references_pairs_with_neither(tmp_path):
    for i in range(2):
        sound(tmp_path / f"set/{i}.wav", seed=i)
    rows = [{"file": f"{i}.wav", "name": "dog", "caption": f"dog {i}"} for i in range(2)]
    side = read_side(tmp_path / "set", captions=lines(tmp_path / "list.jsonl", *rows))
    assert [clip.captions for clip in side.clips] == [("dog 0",), ("dog 1",)]
    assert [clip.path.name for clip in side.aliases["dog"]] == ["0.wav", "1.wav"]
    sound(tmp_path / "gen/dog.wav")
    assert pair(read_side(tmp_path / "gen"), side).names == ()


def test_audiocaps_on_the_side_of_the_generated_clips(tmp_path):
    """Five clips of a video, one for each of its captions, are held against the same reference."""
    table = audiocaps(tmp_path / "lists")
    for i, row in enumerate((101, 102, 103)):
        sound(tmp_path / f"gen/{row}.wav", seed=i)
    sound(tmp_path / "real/YrqfQRErjfk8.wav", seed=10)
    sound(tmp_path / "real/Y-Kx_Bv.wav", seed=11)
    pairing = pair(read_side(tmp_path / "gen", captions=table), read_side(tmp_path / "real"))
    assert [(clip.name, clip.path.name) for clip in pairing.reference] == [
        ("101", "YrqfQRErjfk8.wav"),
        ("102", "YrqfQRErjfk8.wav"),
        ("103", "Y-Kx_Bv.wav"),
    ]
    assert [clip.captions for clip in pairing.generated] == [
        ("A large crowd cheers",),
        ("A crowd cheers, and claps",),
        ("A dog barks",),
    ]


def test_a_table_like_audiocaps_that_names_files(tmp_path):
    sound(tmp_path / "a.wav")
    table = tmp_path / "m.csv"
    table.write_text("youtube_id,start_time,caption,path\nabc,30,rain,a.wav\n")
    (clip,) = read_side(table).clips
    assert (clip.path.name, clip.captions, clip.start) == ("a.wav", ("rain",), 0.0)


def test_captions_that_are_no_table(tmp_path):
    sound(tmp_path / "set/a.wav")
    (tmp_path / "captions.txt").write_text("rain")
    for bad in (tmp_path, tmp_path / "captions.txt"):
        with pytest.raises(
            ValueError, match=r"is no table of captions, which would be one of \.csv"
        ):
            read_side(tmp_path / "set", captions=bad)
