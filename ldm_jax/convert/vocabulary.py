"""python -m ldm_jax.convert.vocabulary SRC DST: a BERT with fewer words, as a text encoder small enough to ship.

SRC is a folder of `config.json`, `model.safetensors` and `tokenizer.json` as sentence transformers are published. DST
becomes a folder of ours with that encoder as `t5`. Kept are the most frequent pieces of words, every piece that the
--texts need, and single characters, of which whatever else is written is put together. Texts of kept pieces alone get
the very states that they had.
"""

import argparse
import dataclasses
import json
import pathlib
import string
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from ldm_jax.convert import native, single
from ldm_jax.convert.checkpoint import Checkpoint, count_params
from ldm_jax.convert.lazy import CheckpointError
from ldm_jax.models.bert import BERT

_CONTINUED = "##"  # before a piece that is not the beginning of a word
_CHARACTERS = string.ascii_lowercase + string.digits + string.punctuation


def kept_pieces(
    vocabulary: Mapping[str, int], *, words: int, special: Iterable[str], used: Iterable[int] = ()
) -> list[int]:
    """Token ids that stay, in their order.

    Args:
        vocabulary: ids by piece; BERT's are sorted by how often they occur, rarest last.
        words: how many of the most frequent pieces stay.
        special: tokens that stay.
        used: ids that stay.

    Raises:
        ValueError: `words` below 0.
    """
    if words < 0:
        raise ValueError(f"words is {words}; it must be at least 0")
    order = sorted(vocabulary, key=lambda piece: vocabulary[piece])
    special = set(special)
    plain = [piece for piece in order if piece not in special and not piece.startswith("[unused")]
    wanted = {x for c in _CHARACTERS for x in (c, _CONTINUED + c)} | special | set(plain[:words])
    return sorted({vocabulary[x] for x in wanted if x in vocabulary} | set(used))


def reduced_tokenizer(content: Mapping[str, Any], kept: Sequence[int]) -> dict[str, Any]:
    """`tokenizer.json` of the pieces `kept`, which are numbered from 0 on in that order.

    Raises:
        CheckpointError: not a WordPiece, or one whose special tokens are not put around a text by a template.
    """
    if (kind := content["model"].get("type")) != "WordPiece":
        raise CheckpointError(f"the tokeniser is a {kind}; only a WordPiece can be reduced")
    if (kind := (content.get("post_processor") or {}).get("type")) != "TemplateProcessing":
        raise CheckpointError(f"the tokeniser ends with {kind}; supported is TemplateProcessing")
    number = {old: new for new, old in enumerate(kept)}
    out = json.loads(json.dumps(content))
    vocabulary = content["model"]["vocab"]
    out["model"]["vocab"] = {
        piece: number[i]
        for piece, i in sorted(vocabulary.items(), key=lambda item: item[1])
        if i in number
    }
    for token in out["added_tokens"]:
        token["id"] = number[token["id"]]
    for token in out["post_processor"]["special_tokens"].values():
        token["ids"] = [number[i] for i in token["ids"]]
    return {**out, "truncation": None, "padding": None}


def reduce(
    source: pathlib.Path,
    folder: pathlib.Path,
    *,
    words: int,
    texts: Iterable[str] = (),
    tokenizers: Sequence[str] = ("t5",),
    overwrite: bool = False,
) -> Checkpoint:
    """Writes the folder, whole or not at all, and gives what is in it.

    Args:
        source: the published folder.
        folder: to write.
        words: see `kept_pieces`.
        texts: whose pieces all stay.
        tokenizers: networks whose tokeniser the folder has: "t5", and "clap" for one trained on the same pieces.
        overwrite: replaces `folder`.

    Raises:
        CheckpointError: a file missing or broken, not a BERT with a WordPiece, or `folder` is there already.
        ConversionError: weights that do not fit their config.
    """
    checkpoint = single.load(source, "t5")
    module, params = checkpoint.networks["t5"], checkpoint.params["t5"]
    if not isinstance(module, BERT):
        raise CheckpointError(
            f"{source} is a {type(module).__name__}; only a BERT can be reduced here"
        )
    content = _read(source / "tokenizer.json")
    special = [token["content"] for token in content["added_tokens"]]
    used = {i for ids in _encoded(source / "tokenizer.json", texts) for i in ids}
    kept = kept_pieces(content["model"]["vocab"], words=words, special=special, used=used)
    table = np.asarray(params["embeddings"]["word_embeddings"]["embedding"])[kept]
    embeddings = {**params["embeddings"], "word_embeddings": {"embedding": table}}
    with tempfile.TemporaryDirectory() as temporary:
        place = pathlib.Path(temporary)
        (place / "tokenizer.json").write_text(
            json.dumps(reduced_tokenizer(content, kept), ensure_ascii=False)
        )
        settings = _read(source / "tokenizer_config.json")
        for key in ("name_or_path", "never_split", "tokenizer_file"):
            settings.pop(key, None)
        (place / "tokenizer_config.json").write_text(json.dumps(settings, indent=2))
        smaller = dataclasses.replace(
            checkpoint,
            networks={"t5": module.clone(vocab_size=len(kept))},
            params={"t5": {**params, "embeddings": embeddings}},
            tokenizers=dict.fromkeys(tokenizers, place),
        )
        native.save(smaller, folder, overwrite=overwrite)
    return native.load(folder)


def _read(path: pathlib.Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None


def _encoded(path: pathlib.Path, texts: Iterable[str]) -> list[list[int]]:
    backend = Tokenizer.from_file(str(path))
    backend.no_truncation()
    backend.no_padding()
    return [encoding.ids for encoding in backend.encode_batch(list(texts))]


def _texts(path: pathlib.Path) -> list[str]:
    """The lines of a text file, or the captions of a JSON Lines manifest."""
    lines = path.read_text(encoding="utf-8").splitlines()
    if path.suffix == ".jsonl":
        return [str(json.loads(line).get("caption") or "") for line in lines]
    return lines


def main() -> int:
    """0 when the folder is written, 2 with one message where it cannot be."""
    parser = argparse.ArgumentParser(
        prog="python -m ldm_jax.convert.vocabulary", description=str(__doc__).partition("\n\n")[2]
    )
    parser.add_argument("source", type=pathlib.Path, help="the published folder")
    parser.add_argument("destination", type=pathlib.Path, help="folder to write")
    parser.add_argument("--words", type=int, default=8000, help="most frequent pieces that stay")
    parser.add_argument("--texts", type=pathlib.Path, nargs="+", default=[], metavar="FILE",
        help="whose pieces all stay: a text a line, or a .jsonl of captions")  # fmt: skip
    parser.add_argument("--tokenizers", nargs="+", choices=("t5", "clap"), default=["t5"],
        help="networks whose tokeniser the folder has")  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="replace the folder")
    arguments = parser.parse_args()
    try:
        checkpoint = reduce(
            arguments.source,
            arguments.destination,
            words=arguments.words,
            texts=[text for path in arguments.texts for text in _texts(path)],
            tokenizers=arguments.tokenizers,
            overwrite=arguments.overwrite,
        )
    except (ValueError, OSError) as error:
        print(f"ldm_jax.convert.vocabulary: {error}", file=sys.stderr)
        return 2
    module: Any = checkpoint.networks["t5"]
    print(
        f"{module.vocab_size:,} pieces, {count_params(checkpoint.params['t5']):,} parameters; "
        f"written to {arguments.destination}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
