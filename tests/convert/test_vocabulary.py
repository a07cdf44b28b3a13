"""Vocabularies with fewer pieces: the same states for what is kept, and something for all that is not."""

import dataclasses
import json
import pathlib
import sys

import jax
import numpy as np
import pytest

from ldm_jax.convert import bert as convert_bert
from ldm_jax.convert import diffusers_folder, native, single, vocabulary
from ldm_jax.convert.files import save_tensors
from ldm_jax.convert.random_checkpoint import random_params
from ldm_jax.convert.rules import ConversionError, export
from ldm_jax.text.tokenizers import load_tokenizer
from tests.cases_bert import TINY

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
UNUSED = ("[unused0]", "[unused1]")
CHARACTERS = [*"abdgikorsn.", *(f"##{c}" for c in "abdgikorsn")]
WORDS = ["dog", "rain", "##ing", "bark", "barks", "barking", "dogs"]
# As in BERT's own: special tokens and places without a use, characters, then pieces by how often they occur.
PIECES = ["[PAD]", *UNUSED, *SPECIAL[1:], *CHARACTERS, *WORDS]


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> pathlib.Path:
    """A published folder: config, weights, tokeniser."""
    folder = tmp_path_factory.mktemp("bert")
    ids = {piece: i for i, piece in enumerate(PIECES)}
    config = TINY | {"vocab_size": len(PIECES)}
    module = convert_bert.from_config(config)
    tensors = export(
        random_params(module, name="t5", seed=0), convert_bert.TRANSFORMERS, network="t5"
    )
    save_tensors(folder / "model.safetensors", tensors)
    ends = {x: {"id": x, "ids": [ids[x]], "tokens": [x]} for x in ("[CLS]", "[SEP]")}
    around = [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}]
    around += [{"Sequence": {"id": "A", "type_id": 0}}]
    around += [{"SpecialToken": {"id": "[SEP]", "type_id": 0}}]
    files = {
        "config.json": config,
        "tokenizer.json": {
            "version": "1.0",
            "truncation": {
                "max_length": 5,
                "strategy": "LongestFirst",
                "stride": 0,
                "direction": "Right",
            },
            "padding": None,
            "added_tokens": [
                {
                    "id": ids[x],
                    "content": x,
                    "special": True,
                    "single_word": False,
                    "lstrip": False,
                    "rstrip": False,
                    "normalized": False,
                }
                for x in SPECIAL
            ],
            "normalizer": {
                "type": "BertNormalizer",
                "clean_text": True,
                "handle_chinese_chars": True,
                "strip_accents": None,
                "lowercase": True,
            },
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": {
                "type": "TemplateProcessing",
                "single": around,
                "pair": around,
                "special_tokens": ends,
            },
            "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
            "model": {
                "type": "WordPiece",
                "unk_token": "[UNK]",
                "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100,
                "vocab": ids,
            },
        },
        "tokenizer_config.json": {"pad_token": "[PAD]", "model_max_length": 512},
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    return folder


def states(checkpoint, folder: pathlib.Path, text: str) -> tuple[list[str], np.ndarray]:
    """(pieces, their states)."""
    tokens = load_tokenizer(folder)([text])
    apply = jax.jit(checkpoint.networks["t5"].apply)
    out = apply({"params": checkpoint.params["t5"]}, tokens.ids, tokens.mask)
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    names = {i: piece for piece, i in vocabulary.items()}
    return [names[int(i)] for i in tokens.ids[0]], np.asarray(out[0])


def test_kept_texts_have_the_states_that_they_had(source, tmp_path):
    words = len(CHARACTERS) + WORDS.index("bark")
    checkpoint = vocabulary.reduce(source, tmp_path / "out", words=words, texts=["dogs"])
    assert checkpoint.networks["t5"].vocab_size == len(SPECIAL) + words + 1
    before = single.load(source, "t5")
    folder = checkpoint.tokenizers["t5"]
    for text in ("a dog.", "rain", "Dogs"):
        pieces, ours = states(checkpoint, folder, text)
        theirs_pieces, theirs = states(before, source, text)
        assert pieces == theirs_pieces
        np.testing.assert_array_equal(ours, theirs)
    assert states(before, source, "barking")[0] == ["[CLS]", "barking", "[SEP]"]
    expected = ["[CLS]", "b", "##a", "##r", "##k", "##ing", "[SEP]"]
    assert states(checkpoint, folder, "barking")[0] == expected


def test_the_most_frequent_stay():
    ids = {piece: i for i, piece in enumerate(PIECES)}

    def kept(**settings) -> list[str]:
        return [PIECES[i] for i in vocabulary.kept_pieces(ids, special=SPECIAL, **settings)]

    assert kept(words=0) == [*SPECIAL, *CHARACTERS]
    assert kept(words=len(CHARACTERS) + 2) == [*SPECIAL, *CHARACTERS, *WORDS[:2]]
    assert kept(words=0, used=[ids["barks"]]) == [*SPECIAL, *CHARACTERS, "barks"]
    assert kept(words=10**6) == [*SPECIAL, *CHARACTERS, *WORDS]


def test_the_command(source, tmp_path, monkeypatch, capsys):
    (tmp_path / "texts.txt").write_text("dogs\nbarking\n")
    (tmp_path / "clips.jsonl").write_text('{"caption": "rain"}\n{"caption": null}\n')
    out = tmp_path / "out"
    command = ["vocabulary", str(source), str(out), "--words", "0", "--tokenizers", "t5", "clap"]
    command += ["--texts", str(tmp_path / "texts.txt"), str(tmp_path / "clips.jsonl")]
    monkeypatch.setattr(sys, "argv", command)
    assert vocabulary.main() == 0
    checkpoint = native.load(out)
    assert f"{checkpoint.networks['t5'].vocab_size:,} pieces" in capsys.readouterr().out
    assert set(checkpoint.tokenizers) == {"t5", "clap"}
    pieces = load_tokenizer(checkpoint.tokenizers["clap"])(["dogs barking rain dog"])
    assert pieces.mask.sum() == 2 + 3 + len("dog")
    assert vocabulary.main() == 2
    assert "is there already" in capsys.readouterr().err


def test_what_cannot_be_reduced_is_said(source, tmp_path):
    content = json.loads((source / "tokenizer.json").read_text())
    content["model"]["type"] = "Unigram"
    with pytest.raises(ValueError, match="a Unigram; only a WordPiece"):
        vocabulary.reduced_tokenizer(content, [0])
    content["model"]["type"] = "WordPiece"
    content["post_processor"] = {"type": "BertProcessing", "sep": ["[SEP]", 1], "cls": ["[CLS]", 0]}
    with pytest.raises(ValueError, match="ends with BertProcessing; supported is Template"):
        vocabulary.reduced_tokenizer(content, [0])
    with pytest.raises(ValueError, match="words is -1; it must be at least 0"):
        vocabulary.kept_pieces({}, words=-1, special=())
    with pytest.raises(ValueError, match=r"tokenizer\.json cannot be read"):
        vocabulary._read(tmp_path / "tokenizer.json")


def test_diffusers_layout_has_no_place_for_it(source, tmp_path):
    checkpoint = single.load(source, "t5")
    networks = dict.fromkeys(("clap", "gpt2", "translator", "t5"), checkpoint.networks["t5"])
    with pytest.raises(ConversionError, match="takes a T5 as its second text encoder"):
        diffusers_folder.save(dataclasses.replace(checkpoint, networks=networks), tmp_path / "out")
