"""Transcripts to phoneme ids for AudioLDM 2's speech checkpoints.

espeak-ng turns text into the International Phonetic Alphabet, each character of which is a symbol
of VITS (Kim et al., arXiv 2106.06103), and a stop symbol ends the row. What comes before espeak-ng,
and what becomes of a character that is no symbol, is done in one of two ways:

* "official": Tacotron's "english_cleaners2" (ASCII, lower case, abbreviations in full); such a
  character becomes padding.
* "diffusers": what `tokenizer_config.json` tells `transformers.VitsTokenizer` to do; such a
  character becomes the unknown token, or is left out if that has no id (transformers 4 fails then).

Brackets are no symbols, and the phonemizer of the time when the models were trained passed over
them. That is done here too; today's would keep them among the phonemes.
"""

import dataclasses
import functools
import os
import pathlib
import re
import string
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from ldm_jax.text.tokenizers import (
    Encoded,
    TokenizerError,
    max_length_of,
    pad_rows,
    read_json,
    read_settings,
    token_text,
)

_PUNCTUATION = ';:,.!?¡¿—…"«»“”'
_SYMBOLS = (
    "_"
    + _PUNCTUATION
    + " "
    + string.ascii_uppercase
    + string.ascii_lowercase
    + "ɑɐɒæɓʙβɔɕçɗɖðʤəɘɚɛɜɝɞɟʄɡɠɢʛɦɧħɥʜɨɪʝɭɬɫɮʟɱɯɰŋɳɲɴøɵɸθœɶʘɹɺɾɻʀʁɽʂʃʈʧʉʊʋⱱʌɣɤʍχʎʏʑʐʒʔʡʕʢǀǁǂǃ"
    + "ˈˌːˑʼʴʰʱʲʷˠˤ˞↓↑→↗↘'\N{COMBINING VERTICAL LINE BELOW}'ᵻ"
    + "♪☎☒☝⚠"
)
SYMBOL_IDS = {symbol: i for i, symbol in enumerate(_SYMBOLS)}  # the second "'" counts
PAD = SYMBOL_IDS["_"]
STOP = SYMBOL_IDS["⚠"]
MAX_LENGTH = 310  # as many positions as AudioLDM 2 learned

_ONE_AT_A_TIME = threading.Lock()  # phonemizer's backend keeps the lines of a call in itself

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
    """How transcripts become phoneme ids. The defaults are AudioLDM 2's and need no files.

    Attributes:
        preset: which of the two ways above; "official" reads no field but `symbols`, `max_length`.
        symbols: id by symbol.
        normalize: `normalize_text` first.
        phonemize: False for transcripts that are spelt in `symbols` already.
        add_blank: put padding before, between and behind the symbols.
        unknown: id of a character that is no symbol; None leaves it out.
        max_length: of a row.
    """

    preset: Literal["official", "diffusers"] = "official"
    symbols: Mapping[str, int] = dataclasses.field(default_factory=SYMBOL_IDS.copy)
    normalize: bool = True
    phonemize: bool = True
    add_blank: bool = False
    unknown: int | None = None
    max_length: int = MAX_LENGTH


def load_phoneme_tokenizer(folder: pathlib.Path) -> PhonemeTokenizer:
    """The "diffusers" way with a `VitsTokenizer`'s vocab.json and tokenizer_config.json.

    `dataclasses.replace(tokenizer, preset="official")` is the official way with the same symbols.

    Raises:
        TokenizerError: a file is missing, or asks for what is not supported.
    """
    symbols = read_json(folder / "vocab.json")
    config = read_settings(
        folder, {"is_uroman": False, "padding_side": "right", "truncation_side": "right"}
    )
    if config.get("language") == "ron":  # the one language whose letters VitsTokenizer changes
        raise TokenizerError(f"{folder}: the language 'ron' is not supported")
    pad_token = token_text(config.get("pad_token", "<pad>"))
    if symbols.get(pad_token) != PAD:
        raise TokenizerError(
            f"{folder}: pad_token is {pad_token!r} with id {symbols.get(pad_token)}; it has to be "
            f"the symbol of id {PAD}"
        )
    return PhonemeTokenizer(
        preset="diffusers",
        symbols=symbols,
        normalize=config.get("normalize", True),
        phonemize=config.get("phonemize", True),
        add_blank=config.get("add_blank", True),
        unknown=symbols.get(token_text(config.get("unk_token", "<unk>"))),
        max_length=max_length_of(config) or MAX_LENGTH,
    )


def phoneme_ids(
    transcripts: Sequence[str], tokenizer: PhonemeTokenizer, length: int | None = None
) -> Encoded:
    """A row of phonemes a transcript, the stop symbol, and padding.

    A row that phonemes fill has no stop symbol. Where padding stands between phonemes, the peers'
    habits are kept: the official mask is as long as a row has other ids, and so ends early; and
    diffusers puts the stop symbol in place of the first padding.

    Args:
        transcripts: what is to be spoken; "" is a stop symbol alone.
        tokenizer: how.
        length: of all rows; None is `tokenizer.max_length`.

    Returns:
        ids, mask and the phonemes that each row had no room for.

    Raises:
        TokenizerError: espeak-ng is not installed.
    """
    length = tokenizer.max_length if length is None else length
    spell = _spell_official if tokenizer.preset == "official" else _spell_diffusers
    spelt = [spell(transcript, tokenizer) for transcript in transcripts]
    encoded = pad_rows(
        [[i for _, i in row[:length]] for row in spelt],
        PAD,
        length=length,
        cut=["".join(symbol for symbol, _ in row[length:]) for row in spelt],
    )
    if tokenizer.preset == "official":
        spoken = (encoded.ids != PAD).sum(axis=1, keepdims=True)
        return encoded._replace(mask=np.arange(length)[None, :] < spoken)
    for ids, mask in zip(encoded.ids, encoded.mask, strict=True):
        first = np.flatnonzero(ids == PAD)[:1]
        ids[first], mask[first] = STOP, True
    return encoded


def _spell_official(text: str, tokenizer: PhonemeTokenizer) -> list[tuple[str, int]]:
    phonemes = to_phonemes(clean_english(re.sub(r"<.*?>", "", text)))
    return [(s, tokenizer.symbols.get(s, PAD)) for s in phonemes] + [("", STOP)]


def _spell_diffusers(text: str, tokenizer: PhonemeTokenizer) -> list[tuple[str, int]]:
    if tokenizer.normalize:
        text = normalize_text(text, tokenizer.symbols)
    if tokenizer.phonemize:
        text = to_phonemes(text)
    elif tokenizer.normalize:
        text = "".join(s for s in text if s in tokenizer.symbols).strip()
    ids = [(s, tokenizer.symbols.get(s, tokenizer.unknown)) for s in text]
    spelt = [(s, i) for s, i in ids if i is not None]
    if not tokenizer.add_blank:
        return spelt
    return [("", PAD), *(pair for found in spelt for pair in (found, ("", PAD)))]


def clean_english(text: str) -> str:
    """ASCII in lower case, abbreviated titles in full: "Dr. Smith" is "doctor smith"."""
    from unidecode import unidecode

    text = unidecode(text).lower()
    for short, full in _ABBREVIATIONS.items():
        text = re.sub(rf"\b{short}\.", full, text)
    return text


def normalize_text(text: str, symbols: Mapping[str, int]) -> str:
    """`text` in lower case but for what is in `symbols`, the first of which that fits is taken."""
    words = "|".join(re.escape(symbol) for symbol in symbols if symbol)
    return re.sub(f"({words})|.", lambda m: m[1] or m[0].lower(), text, flags=re.DOTALL)


@functools.lru_cache(maxsize=2**16)  # training comes back to the same transcripts
def to_phonemes(text: str) -> str:
    """American English in IPA with stress marks, its punctuation kept, on one line.

    Raises:
        TokenizerError: espeak-ng is not installed.
    """
    with _ONE_AT_A_TIME:
        return re.sub(r"\s+", " ", _espeak()(text))


@functools.cache
def _espeak() -> Callable[[str], Any]:
    """`phonemize` on the espeak-ng of a wheel, or on that of PHONEMIZER_ESPEAK_LIBRARY."""
    try:
        import espeakng_loader
        import phonemizer
        from phonemizer.backend.espeak.wrapper import EspeakWrapper

        if "PHONEMIZER_ESPEAK_LIBRARY" not in os.environ:
            EspeakWrapper.set_library(espeakng_loader.get_library_path())
            EspeakWrapper.set_data_path(espeakng_loader.get_data_path())
        EspeakWrapper()
    except (ImportError, RuntimeError, OSError) as error:
        raise TokenizerError(
            f"speech needs espeak-ng ({error}): pip install phonemizer espeakng-loader"
        ) from None
    return functools.partial(
        phonemizer.phonemize,
        language="en-us",
        backend="espeak",
        strip=True,
        preserve_punctuation=True,
        punctuation_marks=_PUNCTUATION,  # without brackets, see above
        with_stress=True,
    )
