"""Clotho, WavCaps and the layout of AudioLDM's training code."""

import json

import pytest

from ldm_jax.data.sources import open_source
from tests.data.sources.making import clip, parted, put, reasons, sound

HEADER = "file_name,caption_1,caption_2,caption_3,caption_4,caption_5\n"


def test_clotho(tmp_path):
    put(tmp_path, "clotho_captions_development.csv", HEADER + 'Distorted AM.wav,"A, b",C,D,E,F\n')
    put(tmp_path, "clotho_captions_validation.csv", HEADER + "gone.wav,A,B,C,D,E\n")
    put(tmp_path, "clotho_captions_evaluation.csv", HEADER + "Distorted AM.wav,G,H,I,J,\n")
    put(
        tmp_path,
        "clotho_metadata_development.csv",
        b"file_name,keywords,sound_id,sound_link,start_end_samples,manufacturer,license\n"
        b'Distorted AM.wav,am;distorted radio,1,https://x,"[0, 5]",somebody,'
        b"http://creativecommons.org/licenses/by/3.0/\nx.wav,k,2,l,s,Caf\xe9,m\n",
    )
    put(tmp_path, "development/Distorted AM.wav", sound())
    put(tmp_path, "evaluation/Distorted AM.wav", sound(hz=220))
    source = open_source(tmp_path)
    assert source.layout == "clotho"
    clips, omissions = parted(source)
    common = {"kind": "sound", "quality": 3, "origin": "Clotho"}
    assert sorted(clips, key=lambda c: c.name) == [
        clip(
            tmp_path, "development/Distorted AM.wav", captions=("A, b", "C", "D", "E", "F"),
            labels=("am", "distorted radio"), split="train",
            licence="http://creativecommons.org/licenses/by/3.0/", **common,
        ),
        clip(
            tmp_path, "evaluation/Distorted AM.wav", captions=("G", "H", "I", "J"),
            split="test", **common,
        ),
    ]  # fmt: skip
    assert reasons(omissions) == {
        "gone.wav": "clotho_captions_validation.csv, line 2: is not there"
    }


def wavcaps(root):
    items = {
        "SoundBible/sb_final": [{"id": "22", "title": "t", "caption": "Rain.", "duration": 3.5}],
        "FreeSound/fsd_final": [
            {"id": 22, "caption": "A dog.", "tags": ["dog", "bark"], "duration": 900},
            {"id": "23", "caption": "On the list.", "tags": []},
        ],
        "BBC_Sound_Effects/bbc_final": [
            {"id": "NHU05093027", "caption": "Birds."},
            {"caption": "?"},
        ],
        "AudioSet_SL/as_final": [{"id": "Yb0RFKhbpFJA.wav", "caption": "Speech."}],
    }
    for name, data in items.items():
        put(
            root,
            f"json_files/{name}.json",
            json.dumps({"num_captions_per_audio": 1, "data": data}, indent=4),
        )
    put(
        root,
        "json_files/blacklist/blacklist_exclude_all_ac.json",
        '{"FreeSound": ["23"], "AudioSet": []}',
    )
    for name in (
        "SoundBible/22", "FreeSound/22", "FreeSound/23", "BBC_Sound_Effects_flac/NHU05093027",
        "AudioSet_SL/mnt/AudioSet_SL_flac/Yb0RFKhbpFJA",
    ):  # fmt: skip
        put(root, f"audio/{name}.flac", sound("flac"))
    return root


def test_wavcaps(tmp_path):
    root = wavcaps(tmp_path)
    source = open_source(root)
    assert source.layout == "wavcaps"
    clips, omissions = parted(source)
    common = {"kind": "sound", "quality": 2}
    assert {c.name: c for c in clips} == {
        c.name: c
        for c in (
            clip(
                root, "audio/SoundBible/22.flac", captions=("Rain.",),
                origin="WavCaps SoundBible", **common,
            ),
            clip(
                root, "audio/FreeSound/22.flac", captions=("A dog.",), labels=("dog", "bark"),
                origin="WavCaps FreeSound", **common,
            ),
            clip(
                root, "audio/FreeSound/23.flac", captions=("On the list.",),
                origin="WavCaps FreeSound", **common,
            ),
            clip(
                root, "audio/BBC_Sound_Effects_flac/NHU05093027.flac", captions=("Birds.",),
                origin="WavCaps BBC Sound Effects", **common,
            ),
            clip(
                root, "audio/AudioSet_SL/mnt/AudioSet_SL_flac/Yb0RFKhbpFJA.flac",
                captions=("Speech.",), origin="WavCaps AudioSet SL", **common,
            ),
        )
    }  # fmt: skip
    assert reasons(omissions) == {"bbc_final.json, item 1": "has no id"}


def test_wavcaps_without_what_is_in_other_sets(tmp_path):
    root = wavcaps(tmp_path)
    listed = root / "json_files/blacklist/blacklist_exclude_all_ac.json"
    clips, omissions = parted(open_source(root, exclude=listed))
    assert len(clips) == 4
    assert reasons(omissions)["23"] == "fsd_final.json, item 1: on blacklist_exclude_all_ac.json"


def audioldm(root, **tables):
    folder = "data/dataset/metadata"
    put(
        root,
        f"{folder}/dataset_root.json",
        json.dumps(
            {
                "audiocaps": "data/dataset/audioset",
                "mine": "data/dataset/mine",
                "metadata": {
                    "path": {
                        "audiocaps": {
                            "train": f"{folder}/audiocaps/train.json",
                            "test": f"{folder}/audiocaps/test.json",
                            "val": f"{folder}/audiocaps/test.json",
                            "class_label_indices": f"{folder}/audiocaps/class_labels_indices.csv",
                        },
                        "mine": {"train": "nowhere.json"},
                    }
                },
            }
        ),
    )
    put(
        root,
        f"{folder}/audiocaps/train.json",
        json.dumps(
            {
                "data": [
                    {
                        "wav": "zip_audios/unbalanced/Yabc.wav",
                        "caption": "A dog",
                        "gpt_caption": "A dog barks",
                        "labels": "/m/0bt9lr,/m/05tny_",
                    },
                    {"wav": "zip_audios/eval/Yxyz.wav", "caption": "Rain again", "labels": ""},
                    {"wav": "zip_audios/gone.wav", "caption": "x"},
                ]
            }
        ),
    )
    put(
        root,
        f"{folder}/audiocaps/test.json",
        json.dumps({"data": [{"wav": "zip_audios/eval/Yxyz.wav", "caption": "Rain"}]}),
    )
    put(
        root,
        f"{folder}/audiocaps/class_labels_indices.csv",
        "index,mid,display_name\n1,/m/0bt9lr,Dog\n",
    )
    put(root, "data/dataset/audioset/zip_audios/unbalanced/Yabc.wav", sound())
    put(root, "data/dataset/audioset/zip_audios/eval/Yxyz.wav", sound(hz=220))
    put(root, "data/dataset/mine/a.wav", sound())
    return root / folder / "dataset_root.json"


def test_audioldm(tmp_path):
    table = audioldm(tmp_path)
    where = tmp_path / "data/dataset/audioset"
    clips, omissions = parted(open_source(table))
    assert clips == [
        clip(
            where, "zip_audios/eval/Yxyz.wav", name="audiocaps/zip_audios/eval/Yxyz.wav",
            captions=("Rain", "Rain again"), split="test", origin="audiocaps",
        ),
        clip(
            where, "zip_audios/unbalanced/Yabc.wav", name="audiocaps/zip_audios/unbalanced/Yabc.wav",
            captions=("A dog", "A dog barks"), labels=("Dog", "/m/05tny_"), split="train",
            origin="audiocaps",
        ),
    ]  # fmt: skip
    assert reasons(omissions) == {
        "zip_audios/gone.wav": "train.json, item 2: is not there",
        "mine, train": "its table nowhere.json is not there",
    }
    assert open_source(tmp_path).layout == "audioldm"
    assert list(open_source(table, subset="audiocaps"))[: len(clips)] != []
    with pytest.raises(ValueError, match="names audiocaps, mine, but not 'other'"):
        list(open_source(table, subset="other"))
    put(table.parent, "dataset_root.json", '{"metadata": 3}')
    with pytest.raises(ValueError, match=r"dataset_root.json is not"):
        list(open_source(table))
