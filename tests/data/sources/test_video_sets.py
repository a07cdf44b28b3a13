"""AudioCaps, AudioSet, MusicCaps and VGGSound: stretches of videos."""

import pytest

from ldm_jax.data.sources import open_source
from ldm_jax.data.sources.youtube import stems
from tests.data.sources.making import clip, parted, put, reasons, sound

DOG, CAT, CAR = "-0Dog_barks", "abcdefghijk", "ABCDEFGHIJ-"


def audiocaps(root):
    put(
        root,
        "train.csv",
        f"audiocap_id,youtube_id,start_time,caption\n91139,{DOG},30,A dog barks\n",
    )
    put(
        root,
        "dataset/val.csv",
        "audiocap_id,youtube_id,start_time,caption\n"
        f'97151,{CAT},130,"A cat, purring"\n97152,{CAR},0,A car\n'
        f"97153,{CAT},130,Purring\n97154,{CAT},130,\n",
    )
    return root


@pytest.mark.parametrize(
    "names",
    [
        (f"{DOG}.wav", f"{CAT}.flac", f"{CAR}.mp3"),
        (f"wavs/Y{DOG}.wav", f"wavs/Y{CAT}.wav", f"wavs/Y{CAR}.wav"),
        ("train/91139.wav", "val/97151.wav", "val/97152.wav"),
        (f"{DOG}_30.wav", f"{CAT}_130.wav", f"{CAR}_0.wav"),
        (f"{DOG}_30000_40000.ogg", f"{CAT}_130000_140000.ogg", f"{CAR}_0_10000.ogg"),
        (f"Y{DOG}_30.000_40.000.wav", f"Y{CAT}_130.000_140.000.wav", f"Y{CAR}_0.000_10.000.wav"),
    ],
)
def test_audiocaps(tmp_path, names):
    root = audiocaps(tmp_path)
    for name in names:
        put(root, name, sound(name.rpartition(".")[2]))
    source = open_source(root)
    assert source.layout == "audiocaps"
    clips, omissions = parted(source)
    common = {"kind": "sound", "quality": 3, "origin": "AudioCaps"}
    expected = [
        clip(root, names[1], captions=("A cat, purring", "Purring"), split="validation", group=CAT, **common),
        clip(root, names[2], captions=("A car",), split="validation", group=CAR, **common),
        clip(root, names[0], captions=("A dog barks",), split="train", group=DOG, **common),
    ]  # fmt: skip
    assert sorted(clips, key=lambda c: c.group) == sorted(expected, key=lambda c: c.group)
    assert omissions == []


def test_audiocaps_with_faults(tmp_path):
    root = audiocaps(tmp_path)
    put(root, f"{DOG}.wav", sound())
    put(root, "stranger.wav", sound())
    put(root, "test.csv", f"audiocap_id,youtube_id,start_time,caption\n1,{CAR},late,x\n2,,3,x\n")
    clips, omissions = parted(open_source(root))
    assert [c.name for c in clips] == [f"{DOG}.wav"]
    assert [(o.name, o.reason) for o in omissions] == [
        ("test.csv, line 2", f"youtube_id '{CAR}' at 'late' s"),
        ("test.csv, line 3", "youtube_id '' at '3' s"),
        (CAT, "val.csv, line 2: is not there"),
        (CAR, "val.csv, line 3: is not there"),
        ("stranger.wav", "no row of AudioCaps names it, or another file holds the same clip"),
    ]


@pytest.mark.parametrize("named", [True, False])
def test_audioset(tmp_path, named):
    put(
        tmp_path,
        "balanced_train_segments.csv",
        "# Segments csv created Sun Mar  5 10:54:31 2017\n# num_ytids=2\n"
        "# YTID, start_seconds, end_seconds, positive_labels\n"
        f'{DOG}, 30.000, 40.000, "/m/09x0r,/t/dd00088"\n{CAR}, 0.000, 10.000, "/m/0x"\n',
    )
    put(
        tmp_path,
        "eval_segments.csv",
        f'# YTID, start_seconds, end_seconds, positive_labels\n{CAT}, 9.500, 19.500, "/m/09x0r"\n'
        f"{CAT}, soon\n",
    )
    if named:
        put(
            tmp_path,
            "class_labels_indices.csv",
            'index,mid,display_name\n0,/m/09x0r,"Speech"\n1,/t/dd00088,"Gush, spurt"\n',
        )
    put(tmp_path, f"balanced_train/{DOG}.wav", sound())
    put(tmp_path, f"eval/Y{CAT}_9500_19500.flac", sound("flac"))
    source = open_source(tmp_path)
    assert source.layout == "audioset"
    clips, omissions = parted(source)
    speech, gush = ("Speech", "Gush, spurt") if named else ("/m/09x0r", "/t/dd00088")
    assert clips == [
        clip(
            tmp_path, f"balanced_train/{DOG}.wav", labels=(speech, gush),
            split="train", group=DOG, origin="AudioSet",
        ),
        clip(
            tmp_path, f"eval/Y{CAT}_9500_19500.flac", labels=(speech,),
            split="test", group=CAT, origin="AudioSet",
        ),
    ]  # fmt: skip
    assert reasons(omissions) == {
        CAR: "balanced_train_segments.csv, line 5: is not there",
        "eval_segments.csv, line 3": "not a video, its start, its end and its classes",
    }


MUSICCAPS = (
    "ytid,start_s,end_s,audioset_positive_labels,aspect_list,caption,author_id,"
    "is_balanced_subset,is_audioset_eval\n"
)


@pytest.mark.parametrize("stem", [DOG, f"{DOG}_30_40", f"[{DOG}]-[30-40]", f"Y{DOG}_30"])
def test_musiccaps(tmp_path, stem):
    put(
        tmp_path,
        "musiccaps-public.csv",
        MUSICCAPS
        + f'{DOG},30,40,"/m/0140xf,/m/02cjck","[\'low quality\', ""it\'s slow""]",'
        + '"A ""live"" take.\nIt is slow.",4,False,True\n'
        + f"{CAT},0,10,/m/04rlf,\"['piano']\",Piano.,0,False,False\n{CAR},x,10,,[],C,0,,\n",
    )
    put(tmp_path, f"audio/{stem}.wav", sound())
    put(tmp_path, f"audio/{CAT}.mp3", sound("mp3"))
    source = open_source(tmp_path)
    assert source.layout == "musiccaps"
    clips, omissions = parted(source)
    common = {"kind": "music", "quality": 3, "origin": "MusicCaps"}
    assert clips == [
        clip(
            tmp_path, f"audio/{stem}.wav", captions=('A "live" take.\nIt is slow.',),
            labels=("low quality", "it's slow"), split="test", group=DOG, **common,
        ),
        clip(
            tmp_path, f"audio/{CAT}.mp3", captions=("Piano.",), labels=("piano",),
            split="train", group=CAT, **common,
        ),
    ]  # fmt: skip
    assert reasons(omissions) == {"musiccaps-public.csv, line 5": "its start or end is no number"}
    assert {c.split for c in open_source(tmp_path, split="test") if hasattr(c, "split")} == {"test"}


def test_vggsound(tmp_path):
    put(
        tmp_path,
        "vggsound.csv",
        f'{DOG},30,"dog barking, howling",train\n{CAT},1,cat purring,test\n{CAR},0,car,test\nx,y\n',
    )
    put(tmp_path, f"audio/{DOG}_000030.wav", sound())
    put(tmp_path, f"audio/{CAT}_000001.flac", sound("flac"))
    put(tmp_path, f"video/{CAR}_000000.mp4", b"")
    source = open_source(tmp_path)
    assert source.layout == "vggsound"
    clips, omissions = parted(source)
    common = {"kind": "sound", "origin": "VGGSound"}
    assert clips == [
        clip(
            tmp_path, f"audio/{DOG}_000030.wav", labels=("dog barking, howling",),
            split="train", group=DOG, **common,
        ),
        clip(
            tmp_path, f"audio/{CAT}_000001.flac", labels=("cat purring",),
            split="test", group=CAT, **common,
        ),
    ]  # fmt: skip
    assert reasons(omissions) == {
        f"video/{CAR}_000000.mp4": "libsndfile does not read .mp4: convert it, as to .flac or .wav",
        "vggsound.csv, line 4": "not a video, its start, its class and its split",
    }


def test_stems_of_a_stretch():
    assert stems("v") == ("v", "Yv")
    assert {"v_9", "Yv_000009", "v_9500", "v_9.500_19.500", "[v]-[9-19]"} <= set(
        stems("v", 9.5, 19.5)
    )
