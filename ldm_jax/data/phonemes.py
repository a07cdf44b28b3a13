"""Transcripts to phoneme ids, as AudioLDM 2's two speech checkpoints were trained with.

Text becomes the International Phonetic Alphabet by espeak-ng, and each character of it a symbol of
VITS (Kim et al., arXiv 2106.06103), with a stop symbol behind. The official code and diffusers
differ in what they do to the text before, and to symbols that have no id:

    official:  unidecode, lower case, abbreviations in full; such a symbol becomes padding, id 0
    diffusers: what `tokenizer_config.json` says, which is no change to English; such a symbol
               becomes `unk_token`, or is left out where that has no id (diffusers fails there)
"""

import dataclasses
import functools
import os
import pathlib
import re
import string
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np

from ldm_jax.data.tokenizers import (
    Encoded,
    TokenizerError,
    max_length_of,
    pad,
    read_json,
    read_settings,
    token_text,
)

SYMBOLS = (  # the id of a symbol is its last position here: "'" stands here twice
    "_"
    ';:,.!?¡¿—…"«»“” '
    + string.ascii_uppercase
    + string.ascii_lowercase
    + "ɑɐɒæɓʙβɔɕçɗɖðʤəɘɚɛɜɝɞɟʄɡɠɢʛɦɧħɥʜɨɪʝɭɬɫɮʟɱɯɰŋɳɲɴøɵɸθœɶʘɹɺɾɻʀʁɽʂʃʈʧʉʊʋⱱʌɣɤʍχʎʏʑʐʒʔʡʕʢǀǁǂǃ"
    + "ˈˌːˑʼʴʰʱʲʷˠˤ˞↓↑→↗↘'\N{COMBINING VERTICAL LINE BELOW}'ᵻ"
    + "♪☎☒☝⚠"
)
SYMBOL_IDS: Mapping[str, int] = types.MappingProxyType({s: i for i, s in enumerate(SYMBOLS)})
PAD = 0
STOP = 182  # ⚠
MAX_LENGTH = 310  # for which AudioLDM 2 learned positions

_ABBREVIATIONS = {  # in the order in which they are looked for
    "mrs": "misess",
    "mr": "mister",
    "dr": "doctor",
    "st": "saint",
    "co": "company",
    "jr": "junior",
    "maj": "major",
    "gen": "general",
    "drs": "doctors",
    "rev": "reverend",
    "lt": "lieutenant",
    "hon": "honorable",
    "sgt": "sergeant",
    "capt": "captain",
    "esq": "esquire",
    "ltd": "limited",
    "col": "colonel",
    "ft": "fort",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhonemeTokenizer:
    """How transcripts become phoneme ids. The defaults are AudioLDM 2's, which needs no files.

    Attributes:
        preset: whose treatment of text and of unknown symbols, see above. "official" takes the
            symbols and nothing else from the fields below.
        symbols: ids by symbol; 0 is padding.
        normalize: lower the case of characters that are not in `symbols`.
        phonemize: False where transcripts are phonemes, or the alphabet of `symbols`, already.
        add_blank: put padding between and around symbols.
        unknown: id of a symbol that is not in `symbols`; None leaves it out.
        special: further words whose case `normalize` keeps.
        max_length: most ids a row.
    """

    preset: Literal["official", "diffusers"] = "official"
    symbols: Mapping[str, int] = SYMBOL_IDS
    normalize: bool = True
    phonemize: bool = True
    add_blank: bool = False
    unknown: int | None = None
    special: tuple[str, ...] = ()
    max_length: int = MAX_LENGTH


def load_phoneme_tokenizer(folder: pathlib.Path) -> PhonemeTokenizer:
    """The files of a `transformers.VitsTokenizer`, with the "diffusers" preset.

    `dataclasses.replace(..., preset="official")` gives the official treatment of its symbols.

    Raises:
        TokenizerError: a file is missing, or asks for what is not supported.
    """
    vocabulary = read_json(folder / "vocab.json")
    supported = {"is_uroman": False, "padding_side": "right", "truncation_side": "right"}
    config = read_settings(folder, supported)
    if config.get("language") == "ron":  # of which VitsTokenizer replaces a letter
        raise TokenizerError(f"{folder}: language is 'ron', which is not supported")
    pad_token = token_text(config.get("pad_token", "<pad>"))
    if vocabulary.get(pad_token) != PAD:
        raise TokenizerError(
            f"{folder}: the padding token is {pad_token!r} with id {vocabulary.get(pad_token)}; it "
            "has to be the symbol of id 0"
        )
    unknown = token_text(config.get("unk_token", "<unk>"))
    return PhonemeTokenizer(
        preset="diffusers",
        symbols=vocabulary,
        normalize=config.get("normalize", True),
        phonemize=config.get("phonemize", True),
        add_blank=config.get("add_blank", True),
        unknown=vocabulary.get(unknown),
        special=(pad_token, unknown),
        max_length=max_length_of(config) or MAX_LENGTH,
    )


def phoneme_ids(
    transcripts: Sequence[str], tokenizer: PhonemeTokenizer, length: int | None = None
) -> Encoded:
    """Ids of `transcripts`, a row each, with the stop symbol behind and zeros from there on.

    In a row that is full there is no stop symbol. As in the official code, the mask is as long as
    a row has ids other than 0, so that each unknown symbol takes one away at the end; as in
    diffusers, the stop symbol takes the place of the first 0.

    Args:
        transcripts: what is to be spoken.
        tokenizer: see there.
        length: of the rows; None is `tokenizer.max_length`.

    Returns:
        Rows of `length`, and for each the phonemes that found no room.

    Raises:
        TokenizerError: espeak-ng cannot be loaded.
    """
    length = tokenizer.max_length if length is None else length
    encode = {"official": _official, "diffusers": _diffusers}[tokenizer.preset]
    rows, cut = [], []
    for transcript in transcripts:
        symbols, ids = encode(transcript, tokenizer)
        rows.append(ids[:length])
        cut.append("".join(symbols[length:]))
    encoded = pad(rows, PAD, length=length, cut=cut)
    if tokenizer.preset == "official":
        spoken = (encoded.ids != PAD).sum(axis=1, keepdims=True)
        return encoded._replace(mask=np.arange(length)[None, :] < spoken)
    for ids, mask in zip(encoded.ids, encoded.mask, strict=True):
        zeros = np.flatnonzero(ids == PAD)[:1]
        ids[zeros], mask[zeros] = STOP, True
    return encoded
