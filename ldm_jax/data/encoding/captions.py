"""Encoding the distinct captions of a dataset: T5's states and CLAP's vectors."""

import pathlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from tqdm import tqdm

from ldm_jax.data import progress
from ldm_jax.data.encoding.batches import ShardFiles, encoded, own_shards
from ldm_jax.data.encoding.index import save_array
from ldm_jax.data.encoding.parts import Part
from ldm_jax.data.encoding.programs import Arrays, Programs
from ldm_jax.data.encoding.settings import T5_LENGTH, shard_path

CLAP_LENGTH = 512  # tokens, the limit of RoBERTa
LIMITS = {"t5": T5_LENGTH, "clap_text": CLAP_LENGTH}
SHORTEST = (
    16  # tokens that a batch is padded to at least; then twice that and so on: a program each
)


def encode_captions(
    captions: Sequence[str],
    parts: Mapping[str, Part],
    programs: Programs,
    *,
    folder: pathlib.Path,
    shard: int,
    size: int,
) -> None:
    """Writes those of this process's shards that are missing.

    Args:
        captions: in the order of their numbers.
        parts: text encoders by name.
        programs: theirs.
        folder: of the encoding.
        shard: captions in a file.
        size: rows of a batch.
    """
    shards = own_shards(len(captions), shard)
    tasks = [
        (name, k) for name in parts for k in shards if not shard_path(folder, name, k).exists()
    ]
    everything = len(parts) * len(captions)
    with progress.bar("captions", total=everything, unit="captions") as bar:
        bar.update(everything - sum(_length(k, shard, len(captions)) for _, k in tasks))
        for name, k in tasks:
            texts = captions[k * shard : (k + 1) * shard]
            path = shard_path(folder, name, k)
            if name == "t5":
                _encode_states(texts, parts[name], programs, path=path, size=size, bar=bar)
            else:
                _encode_vectors(texts, parts[name], programs, path=path, size=size, bar=bar)


def _encode_states(
    texts: Sequence[str],
    part: Part,
    programs: Programs,
    *,
    path: pathlib.Path,
    size: int,
    bar: tqdm,
) -> None:
    """A file of the states of all tokens, and beside it one of each text's number of tokens."""
    tokens = tokenise(part, texts, T5_LENGTH)
    lengths = np.asarray([len(ids) for ids in tokens], np.int32)
    starts = np.cumsum(lengths) - lengths
    save_array(path.with_name(path.name.replace("t5-", "t5_lengths-")), lengths)
    with ShardFiles({"t5": path}, int(lengths.sum())) as files:
        for places, states in _by_length("t5", tokens, programs, size):
            for place, x in zip(places, states, strict=True):
                files["t5", slice(starts[place], starts[place] + lengths[place])] = x[
                    : lengths[place]
                ]
            bar.update(len(places))


def _encode_vectors(
    texts: Sequence[str],
    part: Part,
    programs: Programs,
    *,
    path: pathlib.Path,
    size: int,
    bar: tqdm,
) -> None:
    tokens = tokenise(part, texts, CLAP_LENGTH)
    with ShardFiles({"clap_text": path}, len(texts)) as files:
        for places, vectors in _by_length("clap_text", tokens, programs, size):
            files["clap_text", places] = vectors
            bar.update(len(places))


def tokenise(part: Part, texts: Sequence[str], limit: int) -> list[np.ndarray]:
    """Token ids of each text, at most `limit` or what the tokeniser itself allows."""
    assert part.tokenizer is not None
    limit = min(limit, part.tokenizer.max_length or limit)
    encoded = part.tokenizer(texts, limit)
    return [ids[mask] for ids, mask in zip(encoded.ids, encoded.mask, strict=True)]


def _by_length(
    name: str, tokens: Sequence[np.ndarray], programs: Programs, size: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(places in `tokens`, their encodings) of batches of like lengths."""
    padded = np.asarray([_padded_length(len(ids)) for ids in tokens])
    for length in np.unique(padded):
        places = np.flatnonzero(padded == length)
        chunks = [places[i : i + size] for i in range(0, len(places), size)]
        inputs = ([_input(tokens[place], int(length)) for place in chunk] for chunk in chunks)
        results = encoded(programs, (name,), inputs, size=size)
        for chunk, result in zip(chunks, results, strict=True):
            yield chunk, result[name]


def _input(ids: np.ndarray, length: int) -> Arrays:
    missing = length - len(ids)
    return {
        "ids": np.pad(ids, (0, missing)),
        "mask": np.pad(np.ones(len(ids), bool), (0, missing)),
    }


def _padded_length(length: int) -> int:
    padded = SHORTEST
    while padded < length:
        padded *= 2
    return padded


def _length(k: int, shard: int, total: int) -> int:
    return min(shard, total - k * shard)
