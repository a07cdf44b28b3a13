"""T5's `spiece.model`, a SentencePiece unigram model (Kudo, arXiv 1804.10959), for `tokenizers`.

The file is a protocol buffer of the message ModelProto in sentencepiece_model.proto; the few fields
that say how T5 cuts text are read here, which spares two libraries.
"""

import pathlib
import struct
from collections.abc import Iterator
from typing import Any

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

_PIECE, _TRAINER, _NORMALIZER = 1, 2, 3  # fields of ModelProto
_MODEL_TYPE, _UNIGRAM = 3, 1  # of TrainerSpec
_CHARSMAP = 2  # of NormalizerSpec
_TEXT, _SCORE, _TYPE = 1, 2, 3  # of SentencePiece
_NORMAL, _UNKNOWN, _CONTROL = 1, 2, 3  # its types


def read_spiece(path: pathlib.Path) -> Tokenizer:
    """The tokeniser in `path`, with "</s>" behind every text.

    Raises:
        Exception: of any type, where the file is no unigram model with a "</s>".
    """
    pieces, special, unknown, charsmap = [], [], None, b""
    for field, value in _fields(path.read_bytes()):
        if field == _PIECE:
            piece = dict(_fields(value))
            text = piece[_TEXT].decode()
            kind = piece.get(_TYPE, _NORMAL)
            if kind == _UNKNOWN:
                unknown = len(pieces)
            if kind in (_UNKNOWN, _CONTROL):
                special.append(text)
            pieces.append((text, struct.unpack("<f", piece.get(_SCORE, bytes(4)))[0]))
        elif field == _TRAINER and dict(_fields(value)).get(_MODEL_TYPE, _UNIGRAM) != _UNIGRAM:
            raise ValueError("not a unigram model")
        elif field == _NORMALIZER:
            charsmap = dict(_fields(value)).get(_CHARSMAP, b"")
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=unknown))
    if charsmap:
        tokenizer.normalizer = normalizers.Precompiled(charsmap)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    tokenizer.add_special_tokens(special)
    end = tokenizer.get_vocab()["</s>"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", end)]
    )
    return tokenizer


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """(number, value) of each field: whole numbers as such, all else as its bytes."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        if key % 8 == 0:
            value, at = _varint(message, at)
            yield key // 8, value
            continue
        size, at = _varint(message, at) if key % 8 == 2 else ({1: 8, 5: 4}[key % 8], at)
        yield key // 8, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """A whole number of seven bits a byte, lowest first, and where it ends."""
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
