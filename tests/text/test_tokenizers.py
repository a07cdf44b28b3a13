"""Token ids of RoBERTa and T5 against transformers, and what is read from their files."""

import io
import json
import pathlib
import shutil

import numpy as np
import pytest
import sentencepiece
import transformers
from tokenizers import Tokenizer

from ldm_jax.convert import random_tokenizers
from ldm_jax.text.tokenizers import TextTokenizer, TokenizerError, load_tokenizer

TEXTS = (
    "a dog barks in the rain",
    "",
    "  two   spaces\tand\nlines ",
    "Ünïcödé 日本 “quotes” 🐶",
    "heavy rain falling on a tin roof " * 20,
    "dogs </s> in <pad> the <unk> rain",
    "don't (stop) 42!",
)
PEERS = {
    "roberta": transformers.RobertaTokenizerFast,
    "t5": transformers.T5TokenizerFast,
}
WRITERS = {"roberta": random_tokenizers.write_roberta, "t5": random_tokenizers.write_t5}


@pytest.fixture(params=PEERS)
def kind(request):
    return request.param


@pytest.fixture
def folder(kind, tmp_path):
    WRITERS[kind](tmp_path)
    return tmp_path


def edit(path: pathlib.Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def assert_equal_to_transformers(kind: str, folder: pathlib.Path, max_length: int | None) -> None:
    peer = PEERS[kind].from_pretrained(folder)
    theirs = peer(
        list(TEXTS),
        padding=True,
        truncation=True,
        max_length=peer.model_max_length if max_length is None else max_length,
        return_tensors="np",
    )
    ours = load_tokenizer(folder)(TEXTS, max_length)
    assert ours.ids.dtype == np.int32
    np.testing.assert_array_equal(ours.ids, theirs["input_ids"])
    np.testing.assert_array_equal(ours.mask, theirs["attention_mask"] == 1)


@pytest.mark.parametrize("max_length", [None, 2, 9, 50])
def test_equal_to_transformers(kind, folder, max_length):
    assert_equal_to_transformers(kind, folder, max_length)


def test_ids(tmp_path):
    """By hand, from the vocabularies: word pieces between special tokens, padding behind."""
    random_tokenizers.write_roberta(tmp_path / "roberta")
    vocabulary = json.loads((tmp_path / "roberta/vocab.json").read_text())
    ours = load_tokenizer(tmp_path / "roberta")(["dog bark", "a"])
    row = [vocabulary[token] for token in ("<s>", "dog", "Ġbark", "</s>")]
    np.testing.assert_array_equal(ours.ids, [row, [0, vocabulary["a"], 2, 1]])
    np.testing.assert_array_equal(ours.mask, [[1, 1, 1, 1], [1, 1, 1, 0]])
    random_tokenizers.write_t5(tmp_path / "t5")
    words = random_tokenizers.WORDS
    ours = load_tokenizer(tmp_path / "t5")(["dog bark", "a"], pad_to=5)
    row = [3 + words.index("dog"), 3 + words.index("bark"), 1, 0, 0]
    np.testing.assert_array_equal(ours.ids, [row, [3, 1, 0, 0, 0]])
    np.testing.assert_array_equal(ours.mask, [[1, 1, 1, 0, 0], [1, 1, 0, 0, 0]])


def test_limits_of_the_files(kind, folder):
    tokenizer = load_tokenizer(folder)
    assert tokenizer.max_length == {"roberta": 512, "t5": 128}[kind]
    edit(folder / "tokenizer_config.json", model_max_length=7)
    assert load_tokenizer(folder)(TEXTS).ids.shape == (len(TEXTS), 7)
    edit(folder / "tokenizer_config.json", model_max_length=int(1e30))
    unlimited = load_tokenizer(folder)
    assert unlimited.max_length is None
    assert unlimited(TEXTS).ids.shape[1] > 140
    assert unlimited(TEXTS).cut == ("",) * len(TEXTS)


def test_cut(kind, folder):
    """What is missing starts with the first token that found no room; </s> stays."""
    tokenizer = load_tokenizer(folder)
    special = {"roberta": 2, "t5": 1}[kind]
    texts = ["dog bark dog bark", "dog", "dog 日本"]
    assert tokenizer(texts, 2 + special).cut[:2] == ("dog bark", "")
    assert tokenizer(texts, 1 + special).cut == ("bark dog bark", "", "日本")
    assert tokenizer(texts, special).cut == tuple(texts)
    ids, mask, cut = tokenizer(TEXTS, 12)
    full = mask.all(axis=1)
    assert full.tolist() == [False, False, True, True, True, kind == "roberta", True]
    assert full.tolist() == [bool(rest) for rest in cut]
    assert all(text.endswith(rest) for text, rest in zip(TEXTS, cut, strict=True))
    assert (ids[full, -1] == special).all()  # </s> is 2 of RoBERTa and 1 of T5


def test_no_room_for_special_tokens(tmp_path):
    random_tokenizers.write_roberta(tmp_path)
    with pytest.raises(ValueError, match="max_length is 1, but 2 tokens are special"):
        load_tokenizer(tmp_path)(["dog"], 1)


def test_a_saved_call_does_not_matter(folder):
    """tokenizer.json may hold the truncation and padding of whoever saved it last."""
    expected = load_tokenizer(folder)(TEXTS)
    backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
    backend.enable_truncation(5)
    backend.enable_padding(length=300)
    backend.save(str(folder / "tokenizer.json"))
    again = load_tokenizer(folder)(TEXTS)
    np.testing.assert_array_equal(again.ids, expected.ids)
    np.testing.assert_array_equal(again.mask, expected.mask)


def test_vocabulary_and_merges(tmp_path):
    """Without tokenizer.json, the older files give the same RoBERTa."""
    random_tokenizers.write_roberta(tmp_path)
    texts = [*TEXTS, "a <mask>dog"]
    expected = load_tokenizer(tmp_path)(texts)
    (tmp_path / "tokenizer.json").unlink()
    np.testing.assert_array_equal(load_tokenizer(tmp_path)(texts).ids, expected.ids)


def train_sentencepiece(**options) -> bytes:
    words, model = random_tokenizers.WORDS, io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(words[i:] + words[:i]) for i in range(len(words))]),
        model_writer=model,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
        **options,
    )
    return model.getvalue()


def test_sentencepiece(tmp_path):
    """A bare spiece.model, with T5's normaliser, against sentencepiece itself."""
    model = train_sentencepiece(vocab_size=55)
    (tmp_path / "spiece.model").write_bytes(model)
    peer = sentencepiece.SentencePieceProcessor(model_proto=model)
    texts = [text for text in TEXTS if "<" not in text] + ["ﬁve ①", "strong beats strongest"]
    ours = load_tokenizer(tmp_path)(texts)
    for text, ids, mask in zip(texts, ours.ids, ours.mask, strict=True):
        assert ids[mask].tolist() == [*peer.encode(text), 1]
    special = load_tokenizer(tmp_path)(["dog </s><pad>"]).ids[0]
    assert special[-3:].tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda: train_sentencepiece(vocab_size=60, model_type="bpe"), "not a unigram model"),
        (lambda: b"no protocol buffer", "is no tokeniser"),
        (lambda: b"", "is no tokeniser"),
    ],
)
def test_no_unigram_model(tmp_path, content, message):
    (tmp_path / "spiece.model").write_bytes(content())
    with pytest.raises(TokenizerError, match=message):
        load_tokenizer(tmp_path)


def test_the_special_tokens_may_have_their_own_file(tmp_path):
    random_tokenizers.write_t5(tmp_path)
    expected = load_tokenizer(tmp_path)(TEXTS)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    settings = {"model_max_length": config["model_max_length"]}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    token = {"content": "</s>", "lstrip": False}
    edit(tmp_path / "special_tokens_map.json", pad_token=token)
    padded_with_eos = load_tokenizer(tmp_path)(TEXTS)
    np.testing.assert_array_equal(padded_with_eos.mask, expected.mask)
    assert (padded_with_eos.ids[~expected.mask] == 1).all()


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("tokenizer_config.json", {"padding_side": "left"}, "padding_side is 'left'; supported is"),
        ("tokenizer_config.json", {"truncation_side": "left"}, "truncation_side is 'left'"),
        (
            "tokenizer_config.json",
            {"add_prefix_space": True},
            "add_prefix_space is True; supported",
        ),
        ("tokenizer_config.json", {"pad_token": "[PAD]"}, r"padding token '\[PAD\]' is not in the"),
        ("tokenizer.json", {"model": {}}, "tokenizer.json is no tokeniser"),
    ],
)
def test_unsupported(tmp_path, file, change, message):
    random_tokenizers.write_roberta(tmp_path)
    edit(tmp_path / file, **change)
    with pytest.raises(TokenizerError, match=message):
        load_tokenizer(tmp_path)


def test_missing_files(tmp_path):
    with pytest.raises(TokenizerError, match=r"has no tokeniser: one of tokenizer\.json, spiece"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(TokenizerError, match=r"tokenizer_config\.json is not JSON"):
        load_tokenizer(tmp_path)


def test_files_are_the_same_every_time(kind, folder, tmp_path_factory):
    again = tmp_path_factory.mktemp("again")
    assert WRITERS[kind](again) == len(PEERS[kind].from_pretrained(folder))
    for path in sorted(folder.iterdir()):
        assert path.read_bytes() == (again / path.name).read_bytes()
    shutil.rmtree(again)


def test_is_frozen(folder):
    tokenizer = load_tokenizer(folder)
    assert isinstance(tokenizer, TextTokenizer)
    with pytest.raises(AttributeError):
        tokenizer.pad_id = 3
