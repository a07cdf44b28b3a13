"""Prompts and transcripts to the tokens of both branches, on the host."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from ldm_jax.pipeline.conditioning import Tokens
from ldm_jax.text.phonemes import PhonemeTokenizer, load_phoneme_tokenizer, phoneme_ids
from ldm_jax.text.tokenizers import Encoded, TextTokenizer, load_tokenizer

T5_LENGTH = 128  # the limit AudioLDM 2 was trained with, whatever the tokeniser's own
BUCKET = (
    16  # lengths are rounded up to multiples, so that prompts of other lengths seldom compile anew
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Branches:
    """Tokens of the conditional and the unconditional branch, a row a prompt.

    Attributes:
        positive: of the prompts.
        negative: of the negative prompts.
        cuts: a sentence for each text that was too long, saying what was left out.
    """

    positive: Tokens
    negative: Tokens
    cuts: tuple[str, ...]

    @property
    def count(self) -> int:
        """How many prompts there are."""
        ids = (
            self.positive.clap_ids if self.positive.clap_ids is not None else self.positive.text_ids
        )
        assert ids is not None
        return ids.shape[0]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tokenizers:
    """The tokenisers of a checkpoint; None is one that it has no use for."""

    clap: TextTokenizer | None
    t5: TextTokenizer | None
    phonemes: PhonemeTokenizer | None

    @classmethod
    def load(cls, networks: Sequence[str], folders: Mapping[str, pathlib.Path]) -> "Tokenizers":
        """Those of `networks`, from `folders` of files by network; phonemes need no files.

        Raises:
            TokenizerError: files that are missing or not supported.
        """
        text = {
            name: load_tokenizer(folders[name]) if name in networks else None
            for name in ("clap", "t5")
        }
        phonemes = None
        if "phoneme_encoder" in networks:
            folder = folders.get("phoneme_encoder")
            phonemes = PhonemeTokenizer() if folder is None else load_phoneme_tokenizer(folder)
        return cls(**text, phonemes=phonemes)

    def branches(
        self,
        prompts: Sequence[str],
        *,
        negatives: Sequence[str],
        transcripts: Sequence[str] | None,
        pad_negative: bool,
    ) -> Branches:
        """Tokenises everything.

        Args:
            prompts: one a row, not empty.
            negatives: likewise; "" is the empty prompt.
            transcripts: likewise, for a model that speaks.
            pad_negative: whether GPT-2 counts a negative prompt's T5 tokens as many as the prompt's own, the
                missing ones masked and surplus ones cut, as diffusers does.

        Raises:
            ValueError: no prompt, an empty one, or a transcript too many or missing.
        """
        if not prompts:
            raise ValueError("there is no prompt")
        if empty := [str(i) for i, prompt in enumerate(prompts) if not prompt.strip()]:
            raise ValueError(
                f"prompt {', '.join(empty)} is empty" if len(prompts) > 1 else "the prompt is empty"
            )
        cuts: list[str] = []
        positive, negative = self._clap(prompts, negatives, cuts)
        if self.phonemes is not None:
            spoken = self._phonemes(transcripts, cuts)
            silent = Encoded(spoken.ids * 0, spoken.mask & False, ())
            present = np.ones_like(spoken.mask)
            return Branches(
                positive=Tokens(*positive, spoken.ids, spoken.mask, present),
                negative=Tokens(*negative, silent.ids, silent.mask, present),
                cuts=tuple(cuts),
            )
        if transcripts is not None:
            raise ValueError(
                "this checkpoint has no phoneme encoder and cannot speak a transcript; "
                "text-to-speech checkpoints are anhnct/audioldm2_gigaspeech and anhnct/audioldm2_ljspeech"
            )
        if self.t5 is None:
            return Branches(
                positive=Tokens(*positive, None, None, None),
                negative=Tokens(*negative, None, None, None),
                cuts=tuple(cuts),
            )
        texts = _encode(self.t5, prompts, T5_LENGTH, "the text encoder", cuts)
        lengths = texts.mask.sum(axis=1)
        others = _encode(self.t5, negatives, T5_LENGTH, "the text encoder", cuts)
        if pad_negative:
            others, present = _fit(self.t5, negatives, lengths)
        else:
            present = others.mask
        width = _bucket(max(texts.ids.shape[1], others.ids.shape[1]))
        return Branches(
            positive=Tokens(*positive, *_widen(texts, texts.mask, width, self.t5.pad_id)),
            negative=Tokens(*negative, *_widen(others, present, width, self.t5.pad_id)),
            cuts=tuple(cuts),
        )

    def _clap(
        self, prompts: Sequence[str], negatives: Sequence[str], cuts: list[str]
    ) -> tuple[tuple[np.ndarray | None, np.ndarray | None], ...]:
        if self.clap is None:
            return (None, None), (None, None)
        both = [_encode(self.clap, texts, None, "CLAP", cuts) for texts in (prompts, negatives)]
        width = _bucket(max(texts.ids.shape[1] for texts in both))
        return tuple(_widen(texts, texts.mask, width, self.clap.pad_id)[:2] for texts in both)

    def _phonemes(self, transcripts: Sequence[str] | None, cuts: list[str]) -> Encoded:
        assert self.phonemes is not None
        if transcripts is None:
            raise ValueError(
                "this checkpoint speaks: give a transcript beside the prompt, which describes the voice"
            )
        if any(not transcript.strip() for transcript in transcripts):
            raise ValueError("the transcript is empty")
        spoken = phoneme_ids(transcripts, self.phonemes)
        for transcript, rest in zip(transcripts, spoken.cut, strict=True):
            if rest:
                cuts.append(
                    f"the transcript {_short(transcript)} is longer than {spoken.ids.shape[1]} phonemes; "
                    f"left out: {rest!r}"
                )
        return spoken


def _encode(
    tokenizer: TextTokenizer, texts: Sequence[str], limit: int | None, name: str, cuts: list[str]
) -> Encoded:
    limit = min(limit or 10**9, tokenizer.max_length or 10**9)
    encoded = tokenizer(texts, limit)
    for text, rest in zip(texts, encoded.cut, strict=True):
        if rest:
            cuts.append(
                f"the prompt {_short(text)} is longer than {name}'s {limit} tokens; left out: {rest!r}"
            )
    return encoded


def _fit(
    tokenizer: TextTokenizer, texts: Sequence[str], lengths: np.ndarray
) -> tuple[Encoded, np.ndarray]:
    """Each text in as many tokens as `lengths` says: cut, or padded with masked tokens that are present."""
    rows = [
        tokenizer([text], int(n), pad_to=int(n)) for text, n in zip(texts, lengths, strict=True)
    ]
    width = int(lengths.max())
    wide = [_widen(row, np.ones_like(row.mask), width, tokenizer.pad_id) for row in rows]
    ids, mask, present = (np.concatenate(column) for column in zip(*wide, strict=True))
    return Encoded(ids, mask, ("",) * len(texts)), present


def _widen(
    encoded: Encoded, present: np.ndarray, width: int, pad_id: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(ids, mask, present) with absent tokens up to `width`."""
    extra = ((0, 0), (0, width - encoded.ids.shape[1]))
    return (
        np.pad(encoded.ids, extra, constant_values=pad_id),
        np.pad(encoded.mask, extra),
        np.pad(present, extra),
    )


def _bucket(length: int) -> int:
    return -(-length // BUCKET) * BUCKET


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
