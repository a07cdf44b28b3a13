"""Text to token ids: RoBERTa's for CLAP and T5's, from the tokeniser files of a checkpoint.

The `tokenizers` library does the work, from `tokenizer.json` or the files that came before it.
Phonemes are in `ldm_jax.text.phonemes`.
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tokenizers
from jaxtyping import Bool, Int
from tokenizers import models, pre_tokenizers, processors

from ldm_jax.text.spiece import read_spiece

_NO_LIMIT = 10**9  # transformers writes 10^30 where it knows of none


class TokenizerError(ValueError):
    """Tokeniser files that are missing or that ask for what is not supported."""


class Encoded(NamedTuple):
    """Rows of token ids.

    Attributes:
        ids: int32, padded at the end with the padding token.
        mask: False where padded.
        cut: of each row, the end of its text that found no room; "" where all of it did.
    """

    ids: Int[np.ndarray, "rows length"]
    mask: Bool[np.ndarray, "rows length"]
    cut: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class TextTokenizer:
    """What a folder of tokeniser files describes.

    Attributes:
        backend: text to tokens, without truncation or padding.
        pad_id: of the padding token.
        max_length: most tokens a row, special ones included, by default; None is no limit.
    """

    backend: tokenizers.Tokenizer
    pad_id: int
    max_length: int | None

    def __call__(
        self, texts: Sequence[str], max_length: int | None = None, *, pad_to: int = 0
    ) -> Encoded:
        """A row a text, as long as the longest.

        Args:
            texts: any strings, "" too.
            max_length: most tokens a row, special ones included; None is the tokeniser's own. Of a
                longer text the first tokens are taken, with the special tokens around them.
            pad_to: rows are at least this long.

        Raises:
            ValueError: `max_length` has no room for the special tokens.
        """
        max_length = self.max_length if max_length is None else max_length
        rows, cut = [], []
        for text in texts:
            tokens, rest = self._encode(text, max_length)
            rows.append(tokens)
            cut.append(rest)
        return pad_rows(rows, self.pad_id, length=max([pad_to, *map(len, rows)]), cut=cut)

    def _encode(self, text: str, max_length: int | None) -> tuple[list[int], str]:
        special = self.backend.num_special_tokens_to_add(is_pair=False)
        content = self.backend.encode(text, add_special_tokens=False)
        rest = ""
        if max_length is not None and len(content) + special > max_length:
            room = max_length - special
            if room < 0:
                raise ValueError(f"max_length is {max_length}, but {special} tokens are special")
            rest = text[content.offsets[room][0] :]
            content.truncate(room)
        return self.backend.post_process(content).ids, rest


def pad_rows(
    rows: Sequence[Sequence[int]], pad_id: int, *, length: int, cut: Sequence[str]
) -> Encoded:
    """Rows of ids filled up with `pad_id` to `length`."""
    ids = np.full((len(rows), length), pad_id, np.int32)
    mask = np.zeros(ids.shape, bool)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
        mask[i, : len(row)] = True
    return Encoded(ids, mask, tuple(cut))


def load_tokenizer(folder: pathlib.Path) -> TextTokenizer:
    """The tokeniser of RoBERTa or T5 in `folder`.

    Read are `tokenizer.json`, or else `spiece.model` (T5), or `merges.txt` and `vocab.json`
    (RoBERTa); and `model_max_length` and `pad_token` from `tokenizer_config.json`.

    Raises:
        TokenizerError: none of these files, a file that is no such file, or an unsupported setting.
    """
    config = read_settings(
        folder, {"padding_side": "right", "truncation_side": "right", "add_prefix_space": False}
    )
    backend = _read_backend(folder)
    backend.no_truncation()  # a saved tokenizer.json keeps what it was last called with
    backend.no_padding()
    pad_token = token_text(config.get("pad_token", "<pad>"))
    pad_id = backend.token_to_id(pad_token)
    if pad_id is None:
        raise TokenizerError(f"{folder}: the padding token {pad_token!r} is not in the vocabulary")
    return TextTokenizer(backend, pad_id, max_length_of(config))


def read_settings(folder: pathlib.Path, supported: Mapping[str, Any]) -> dict[str, Any]:
    """`tokenizer_config.json`, and what only `special_tokens_map.json` says; {} without files.

    Raises:
        TokenizerError: not JSON, or a key of `supported` with another value.
    """
    path, special = folder / "tokenizer_config.json", folder / "special_tokens_map.json"
    config = read_json(special) if special.exists() else {}
    config |= read_json(path) if path.exists() else {}
    for key, value in supported.items():
        if config.get(key) not in (None, value):
            raise TokenizerError(f"{path}: {key} is {config[key]!r}; supported is {value!r}")
    return config


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        TokenizerError: there is none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TokenizerError(f"{path} is missing") from None
    except ValueError as error:
        raise TokenizerError(f"{path} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise TokenizerError(f"{path} should hold a JSON object")
    return content


def max_length_of(config: Mapping[str, Any]) -> int | None:
    """`model_max_length` of a tokenizer_config.json; None where it sets no limit."""
    limit = config.get("model_max_length")
    return None if limit is None or limit > _NO_LIMIT else int(limit)


def token_text(token: str | Mapping[str, Any]) -> str:
    """A special token, which files hold as a string or as an object around it."""
    return token if isinstance(token, str) else token["content"]


def _read_backend(folder: pathlib.Path) -> tokenizers.Tokenizer:
    by_file = {
        "tokenizer.json": lambda path: tokenizers.Tokenizer.from_file(str(path)),
        "spiece.model": read_spiece,
        "merges.txt": _read_merges,
    }
    for name, read in by_file.items():
        path = folder / name
        if path.exists():
            try:
                return read(path)
            except Exception as error:  # `tokenizers` raises no narrower type
                raise TokenizerError(f"{path} is no tokeniser: {error!r}") from None
    raise TokenizerError(f"{folder} has no tokeniser: one of {', '.join(by_file)} is needed")


def _read_merges(path: pathlib.Path) -> tokenizers.Tokenizer:
    """RoBERTa's byte-level BPE in merges.txt and the vocab.json beside it."""
    model = models.BPE.from_file(str(path.with_name("vocab.json")), str(path))
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer.add_special_tokens([*special, tokenizers.AddedToken("<mask>", lstrip=True)])
    ids = tokenizer.get_vocab()
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", ids["</s>"]), ("<s>", ids["<s>"]), add_prefix_space=False
    )
    return tokenizer
