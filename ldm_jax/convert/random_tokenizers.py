"""Small tokenisers in the published files, the same on any machine: they know few words."""

import json
import pathlib
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

from ldm_jax.text.phonemes import SYMBOL_IDS

TEXT = """a the and in on of with is dog dogs bark barking heavy rain falling tin roof woman speaks
softly while music plays techno strong beat hammer hitting wooden birds chirping train passing"""
WORDS = TEXT.split()
ENDINGS = ("ing", "ed", "er")
PUNCTUATION = ".,!?'-:;\"()"


def write_roberta(folder: pathlib.Path) -> int:
    """Byte-level BPE as CLAP's `tokenizer`; returns the size of the vocabulary."""
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    merges: dict[tuple[str, str], None] = {}
    for word in WORDS:
        for spelling in (f"Ġ{word}", word):  # Ġ is the byte of a space
            for end in range(1, len(spelling)):
                merges[spelling[:end], spelling[end]] = None
    tokens += [left + right for left, right in merges]
    tokens.append("<mask>")
    ids = {token: i for i, token in enumerate(tokens)}
    backend = Tokenizer(models.BPE(vocab=ids, merges=list(merges), unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.RobertaProcessing(
        ("</s>", ids["</s>"]), ("<s>", ids["<s>"]), add_prefix_space=False
    )
    names = {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "sep_token": "</s>",
        "cls_token": "<s>",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "mask_token": "<mask>",
    }
    settings = {"tokenizer_class": "RobertaTokenizer", "model_max_length": 512}
    settings |= {"add_prefix_space": False, "trim_offsets": True}
    _write(folder, backend, names, settings)
    backend.model.save(str(folder))  # vocab.json and merges.txt
    return len(ids)


def write_t5(folder: pathlib.Path) -> int:
    """Unigram as T5's `tokenizer_2`, without its normaliser; returns the size of the vocabulary."""
    letters = [*"▁abcdefghijklmnopqrstuvwxyz", *PUNCTUATION, *"0123456789"]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces += [(f"▁{word}", -3 - i / 10) for i, word in enumerate(WORDS)]
    pieces += [(ending, -6 - i / 10) for i, ending in enumerate(ENDINGS)]
    pieces += [(letter, -9 - i / 10) for i, letter in enumerate(letters)]
    backend = Tokenizer(models.Unigram(pieces, unk_id=2))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    backend.decoder = decoders.Metaspace()
    backend.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    names = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    settings = {"tokenizer_class": "T5Tokenizer", "model_max_length": 128, "extra_ids": 0}
    _write(folder, backend, names, settings)
    return len(pieces)


def write_vits(folder: pathlib.Path, **changes: Any) -> int:
    """AudioLDM 2's symbols as `tokenizer_2` of its speech models, `changes` of the settings made.

    Returns the number of rows that an embedding needs.
    """
    settings = {
        "tokenizer_class": "VitsTokenizer",
        "model_max_length": 310,
        "pad_token": "_",
        "unk_token": "<unk>",
        "language": "en_us",
        "add_blank": False,
        "normalize": True,
        "phonemize": True,
        "is_uroman": False,
    }
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / "vocab.json", SYMBOL_IDS)
    _write_json(folder / "tokenizer_config.json", settings | changes)
    return max(SYMBOL_IDS.values()) + 1


def _write(
    folder: pathlib.Path, backend: Tokenizer, names: dict[str, str], settings: dict[str, Any]
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    backend.add_special_tokens(
        [
            AddedToken(token, special=True, normalized=False, lstrip=token == "<mask>")
            for token in dict.fromkeys(names.values())
        ]
    )
    backend.save(str(folder / "tokenizer.json"))
    _write_json(folder / "tokenizer_config.json", settings | names)
    _write_json(folder / "special_tokens_map.json", names)


def _write_json(path: pathlib.Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
