"""Phonemes against recorded ones of the official code, and against transformers' VitsTokenizer."""

import concurrent.futures
import dataclasses
import json
import zlib

import numpy as np
import pytest
import transformers

from ldm_jax.convert import random_tokenizers
from ldm_jax.text import phonemes
from ldm_jax.text.phonemes import (
    PAD,
    STOP,
    SYMBOL_IDS,
    PhonemeTokenizer,
    load_phoneme_tokenizer,
    normalize_text,
    phoneme_ids,
)
from ldm_jax.text.tokenizers import TokenizerError

# What the official `text2phoneme` says, with phonemizer 3.2.1 (2022) on espeak-ng 1.52.
OFFICIAL = {
    "hello world": "həlˈoʊ wˈɜːld",
    "Dr. Smith met Mrs. O'Neil in 42 St. James St.": "dˈɑːktɚ smˈɪθ mˈɛt mɪsˈɛs oʊnˈiːl ɪn "
    "fˈɔːɹɾi tˈuː sˈeɪnt dʒˈeɪmz sˈeɪnt",
    "“Wish you have a good day” — naïve café…": '"wˈɪʃ juː hæv ɐ ɡˈʊd dˈeɪ" naɪˈiːv kˈæfeɪ...',
    "It's (not) [that] a/b: 5%!": "ɪts nˌɑːt ðæt ɐ slˈæʃ bˈiː: fˈaɪv pɚsˈɛnt!",
    "A\nline\tbreak  and   spaces ": "ˈeɪ lˈaɪn bɹˈeɪk ænd spˈeɪsᵻz",
    "mr.dr. DR. Lt. Col.": "mɪstˈɜːdɚ. dˈɑːktɚ luːtˈɛnənt kˈɜːnəl",
    "日本 Ünïcödé": "ɹˈaɪ bˈɛn jˈuːnɪkˌoʊd",
    "...": "...",
    "<laugh>": "",
    "": "",
}
# The same sentences as VitsTokenizer hands them on: accents and quotes reach espeak-ng.
DIFFUSERS = {
    "hello world": "həlˈoʊ wˈɜːld",
    "“Wish you have a good day” — naïve café…": "“wˈɪʃ juː hæv ɐ ɡˈʊd dˈeɪ” — naɪˈiːv kæfˈeɪ…",
    "<laugh>": "lˈæf",
    "": "",
}
SENTENCES = (*OFFICIAL, "Zürich, the 3rd of MAY: $3.50 & co.", "e.g. 1,000,000 or 3.14")


def spelt(row: np.ndarray) -> str:
    names = {i: symbol for symbol, i in SYMBOL_IDS.items()}
    return "".join(names[i] for i in row.tolist())


def test_symbols():
    """183 rows, of which two were for "'": the later counts."""
    assert sorted(SYMBOL_IDS.values()) == [i for i in range(183) if i != 174]
    ids = {
        "_": 0,
        ";": 1,
        " ": 16,
        "A": 17,
        "z": 68,
        "ɑ": 69,
        "ˈ": 156,
        "'": 176,
        "ᵻ": 177,
        "⚠": 182,
    }
    assert {symbol: SYMBOL_IDS[symbol] for symbol in ids} == ids
    assert (PAD, STOP) == (0, 182)
    # of all symbols in order, from the official table
    assert zlib.crc32("".join(SYMBOL_IDS).encode()) == 0x97530260


@pytest.mark.parametrize(("text", "expected"), OFFICIAL.items())
def test_official(text, expected):
    ids, mask, cut = phoneme_ids([text], PhonemeTokenizer())
    assert ids.shape == mask.shape == (1, 310)
    assert ids.dtype == np.int32
    row = [SYMBOL_IDS[symbol] for symbol in expected] + [182]
    np.testing.assert_array_equal(ids[0], row + [0] * (310 - len(row)))
    np.testing.assert_array_equal(mask[0], np.arange(310) < len(row))
    assert cut == ("",)


@pytest.mark.parametrize(("text", "expected"), DIFFUSERS.items())
def test_diffusers(text, expected):
    ids, mask, _ = phoneme_ids([text], PhonemeTokenizer(preset="diffusers"))
    assert spelt(ids[0]).rstrip("_") == expected + "⚠"
    assert mask.sum() == len(expected) + 1


def test_numbers():
    """The ids of "hello world" in full."""
    ids, _, _ = phoneme_ids(["hello world"], PhonemeTokenizer(), 16)
    row = [50, 83, 54, 156, 57, 135, 16, 65, 156, 87, 158, 54, 46, 182, 0, 0]
    np.testing.assert_array_equal(ids, [row])


def vits_ids(tokenizer, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """What AudioLDM2Pipeline makes of transformers' tokeniser: a stop symbol for the first 0."""
    encoded = tokenizer(
        texts, padding="max_length", max_length=tokenizer.model_max_length, truncation=True
    )
    ids, mask = np.array(encoded["input_ids"]), np.array(encoded["attention_mask"])
    for row, present in zip(ids, mask, strict=True):
        if (row == 0).any():
            first = int((row == 0).argmax())
            row[first], present[first] = 182, 1
    return ids, mask == 1


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"normalize": False},
        {"add_blank": True},
        {"phonemize": False},
        {"phonemize": False, "normalize": False, "unk_token": "♪"},
        {"model_max_length": 30},
        {"unk_token": "♪", "language": "deu"},
    ],
)
def test_equal_to_transformers(tmp_path, changes):
    """Brackets aside, which transformers has today's phonemizer keep."""
    phonemes.to_phonemes("so that phonemizer finds espeak-ng")
    random_tokenizers.write_vits(tmp_path, **changes)
    texts = [text for text in SENTENCES if "(" not in text]
    theirs, mask = vits_ids(transformers.VitsTokenizer.from_pretrained(tmp_path), texts)
    ours = phoneme_ids(texts, load_phoneme_tokenizer(tmp_path))
    np.testing.assert_array_equal(ours.ids, theirs)
    np.testing.assert_array_equal(ours.mask, mask)


def test_normalize_text(tmp_path):
    """Entries of several characters win over their beginnings if they come first."""
    vocabulary = {"_": 0, "Ab": 1, "A": 2, "BB": 3, "B": 4, "c": 5, "|": 6, ".": 7, "\n": 8}
    random_tokenizers.write_vits(tmp_path)
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    peer = transformers.VitsTokenizer.from_pretrained(tmp_path)
    text = "ABAb aBBB.\nC|D É İ A|B* bBb ABC"
    assert normalize_text(text, vocabulary) == peer.normalize_text(text)
    assert normalize_text(text, vocabulary) == "ABAb aBBB.\nc|d é i̇ A|B* bBb ABc"


@pytest.mark.parametrize("preset", ["official", "diffusers"])
def test_cut(preset):
    """A transcript that is too long ends without a stop symbol; what is missing is told."""
    tokenizer = PhonemeTokenizer(preset=preset)
    text = "a female reporter is speaking full of emotion. " * 12
    ids, mask, cut = phoneme_ids([text, "hello world"], tokenizer)
    whole, _, nothing = phoneme_ids([text], tokenizer, 1000)
    assert nothing == ("",)
    np.testing.assert_array_equal(ids[0], whole[0, :310])
    assert mask[0].all()
    assert STOP not in ids[0]
    assert spelt(ids[0]) + cut[0] == spelt(whole[0]).rstrip("_").removesuffix("⚠")
    assert cut[1] == ""
    exact = phoneme_ids(["hello world"], tokenizer, 13)  # all phonemes, but no stop symbol
    assert spelt(exact.ids[0]) == "həlˈoʊ wˈɜːld"
    assert exact.cut == ("",)


def test_rows_do_not_depend_on_their_batch():
    for preset in ("official", "diffusers"):
        tokenizer = PhonemeTokenizer(preset=preset)
        batch = phoneme_ids(SENTENCES, tokenizer)
        for i in reversed(range(len(SENTENCES))):
            alone = phoneme_ids([SENTENCES[i]], tokenizer)
            np.testing.assert_array_equal(batch.ids[i], alone.ids[0])
            np.testing.assert_array_equal(batch.mask[i], alone.mask[0])


def test_unknown_symbols():
    """Padding within the official row and a shorter mask; left out or replaced by diffusers."""
    symbols = {symbol: i for symbol, i in SYMBOL_IDS.items() if symbol != "ˈ"}
    official = PhonemeTokenizer(symbols=symbols)
    ids, mask, _ = phoneme_ids(["hello world"], official, 16)
    assert spelt(ids[0]) == "həl_oʊ w_ɜːld⚠__"
    assert mask[0].tolist() == [True] * 12 + [False] * 4
    left_out = dataclasses.replace(official, preset="diffusers")
    ids, mask, _ = phoneme_ids(["hello world"], left_out, 16)
    assert spelt(ids[0]) == "həloʊ wɜːld⚠____"
    assert mask[0].tolist() == [True] * 12 + [False] * 4
    ids, mask, _ = phoneme_ids(["hello world"], dataclasses.replace(left_out, unknown=178), 16)
    assert spelt(ids[0]) == "həl♪oʊ w♪ɜːld⚠__"
    assert mask[0].tolist() == [True] * 14 + [False] * 2


def test_the_folder_needs_no_more_than_the_defaults(tmp_path):
    assert random_tokenizers.write_vits(tmp_path) == 183
    tokenizer = load_phoneme_tokenizer(tmp_path)
    assert tokenizer == PhonemeTokenizer(preset="diffusers")
    assert dataclasses.replace(tokenizer, preset="official") == PhonemeTokenizer()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"is_uroman": True}, "is_uroman is True; supported is False"),
        ({"language": "ron"}, "the language 'ron' is not supported"),
        ({"pad_token": "<pad>"}, "pad_token is '<pad>' with id None; it has to be the symbol of"),
        ({"pad_token": {"content": "k"}}, "pad_token is 'k' with id 53"),
        ({"padding_side": "left"}, "padding_side is 'left'; supported is 'right'"),
    ],
)
def test_unsupported(tmp_path, changes, message):
    random_tokenizers.write_vits(tmp_path, **changes)
    with pytest.raises(TokenizerError, match=message):
        load_phoneme_tokenizer(tmp_path)


def test_missing_vocabulary(tmp_path):
    with pytest.raises(TokenizerError, match=r"vocab\.json is missing"):
        load_phoneme_tokenizer(tmp_path)


def test_no_espeak(monkeypatch):
    from phonemizer.backend.espeak.wrapper import EspeakWrapper

    monkeypatch.setattr(EspeakWrapper, "_ESPEAK_LIBRARY", None)
    monkeypatch.setenv("PHONEMIZER_ESPEAK_LIBRARY", "/nowhere/libespeak-ng.so")
    phonemes._espeak.cache_clear()
    phonemes.to_phonemes.cache_clear()
    with pytest.raises(TokenizerError, match=r"speech needs espeak-ng \(.*pip install phonemizer"):
        phonemes.to_phonemes("hello")


def test_threads_do_not_disturb_each_other():
    """phonemizer's backend keeps what it is working on in itself."""
    texts = [f"number {n}, good morning" for n in range(60)]
    one_by_one = [phonemes.to_phonemes(text) for text in texts]
    phonemes.to_phonemes.cache_clear()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(phonemes.to_phonemes, texts)) == one_by_one
