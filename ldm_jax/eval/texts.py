"""Captions to CLAP's vectors."""

from collections.abc import Mapping

import numpy as np

from ldm_jax.eval.backbones.backbone import Backbone
from ldm_jax.eval.backbones.programs import Runner
from ldm_jax.eval.processes import gathered, share
from ldm_jax.eval.report.record import Problem


def caption_vectors(
    captions: Mapping[str, str], clap: Backbone, *, max_length: int = 77
) -> tuple[dict[str, np.ndarray], tuple[Problem, ...]]:
    """(a row (1, dim) for each caption by its clip's name; captions that found no room).

    Captions are padded to `max_length` tokens, as in the peers, so that no vector depends on the others.

    Args:
        captions: by clip.
        clap: with its tokeniser.
        max_length: tokens a caption, special ones included; the rest of a longer one is not read.

    Raises:
        ValueError: the network came without a tokeniser.
    """
    if clap.tokenizer is None:
        raise ValueError(
            f"{clap.source} has no tokeniser beside it, so that captions cannot be read"
        )
    texts = sorted(set(captions.values()))
    mine = share(texts)
    found: dict[str, np.ndarray] = {}
    cut: dict[str, str] = {}
    runner = Runner(clap, "text") if mine else None
    for start in range(0, len(mine), runner.size if runner else 1):
        assert runner is not None
        part = mine[start : start + runner.size]
        tokens = clap.tokenizer(part, max_length, pad_to=max_length)
        vectors = runner({"ids": tokens.ids, "mask": tokens.mask})["embedding"]
        found |= dict(zip(part, vectors, strict=True))
        cut |= {text: rest for text, rest in zip(part, tokens.cut, strict=True) if rest}
    everyone = gathered((found, cut))
    found = {text: x for one, _ in everyone for text, x in one.items()}
    cut = {text: rest for _, one in everyone for text, rest in one.items()}
    problems = tuple(
        Problem(
            file=name,
            why=f"its caption is longer than {max_length} tokens; not read: {cut[text].strip()!r}",
            dropped=False,
        )
        for name, text in captions.items()
        if text in cut
    )
    return {name: found[text][None] for name, text in captions.items()}, problems
