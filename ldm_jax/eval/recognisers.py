"""What hears words in a clip: Whisper, for error rates.

Anything that is called as a `Recogniser` will do. The one here runs Whisper models in CTranslate2's format, such as
those of faster-whisper, from a folder, and loads nothing from elsewhere.
"""

import dataclasses
import functools
import pathlib
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from ldm_jax.audio.mel import mel_filters
from ldm_jax.audio.stft import stft

SAMPLE_RATE = 16_000
_SAMPLES = 30 * SAMPLE_RATE  # what Whisper hears at once
_N_FFT, _HOP = 400, 160
_MOST_TOKENS = 448


@runtime_checkable
class Recogniser(Protocol):
    """A function from speech to text."""

    def __call__(self, wave: Float[np.ndarray, " samples"], rate: int) -> str:
        """What is said in a mono clip at `rate` Hz."""
        ...


def whisper_features(
    wave: Float[np.ndarray, " samples"], num_mels: int = 80
) -> Float[np.ndarray, "mels 3000"]:
    """(4 + max(l, max l - 8)) / 4, with l = log10 max(1e-10, Slaney-mel power) of 30 s at 16 kHz.

    As openai-whisper's `log_mel_spectrogram` of a clip that is filled up to 30 s with silence, or cut.
    """
    filled = np.zeros(_SAMPLES, np.float32)
    filled[: len(wave)] = wave[:_SAMPLES]
    spectrum = np.abs(stft(filled, n_fft=_N_FFT, hop=_HOP, pad=_N_FFT // 2)[:-1])
    bank = mel_filters(
        sample_rate=SAMPLE_RATE, n_fft=_N_FFT, num_mels=num_mels, fmin=0.0, fmax=SAMPLE_RATE / 2
    )
    mel = np.log10(np.maximum(spectrum**2 @ bank.astype(np.float32), 1e-10)).T
    return np.ascontiguousarray((np.maximum(mel, mel.max() - 8) + 4) / 4, np.float32)


@dataclasses.dataclass(frozen=True)
class Whisper:
    """A Whisper model in CTranslate2's format; a beam search at temperature 0, so that a clip has one transcript.

    Longer clips are heard 30 s at a time, without regard to words at the borders.

    Attributes:
        folder: with model.bin, config.json and tokenizer.json.
        language: for multilingual models.
        beam: width of the search.
        device: "cpu", "cuda" or "auto".
        compute_type: CTranslate2's, such as "float32", "float16" or "int8".
        threads: on the CPU; 0 is CTranslate2's choice.
    """

    folder: pathlib.Path
    language: str = "en"
    beam: int = 5
    device: str = "cpu"
    compute_type: str = "float32"
    threads: int = 0

    def __call__(self, wave: Float[np.ndarray, " samples"], rate: int) -> str:
        """What is said in a mono clip.

        Raises:
            ValueError: another rate than 16 kHz, or no Whisper model in the folder.
            ImportError: ctranslate2 is not installed.
        """
        if rate != SAMPLE_RATE:
            raise ValueError(f"a clip at {rate} Hz; Whisper hears {SAMPLE_RATE} Hz, resample first")
        model, tokenizer, prompt = _load(self)
        parts = [wave[i : i + _SAMPLES] for i in range(0, len(wave), _SAMPLES)]
        return " ".join(self._hear(part, model, tokenizer, prompt) for part in parts).strip()

    def _hear(self, wave: np.ndarray, model: Any, tokenizer: Any, prompt: list[int]) -> str:
        import ctranslate2

        features = ctranslate2.StorageView.from_array(whisper_features(wave, model.n_mels)[None])
        (result,) = model.generate(features, [prompt], beam_size=self.beam, max_length=_MOST_TOKENS)
        return tokenizer.decode(result.sequences_ids[0], skip_special_tokens=True).strip()


@functools.lru_cache(maxsize=1)
def _load(whisper: Whisper) -> tuple[Any, Any, list[int]]:
    """(model, tokenizer, tokens that ask for a transcript without times)."""
    try:
        import ctranslate2
    except ImportError as error:
        raise ImportError("Whisper needs ctranslate2: pip install 'ldm_jax[wer]'") from error
    import tokenizers

    for name in ("model.bin", "config.json", "tokenizer.json"):
        if not (whisper.folder / name).is_file():
            raise ValueError(
                f"{whisper.folder} holds no {name}; expected a Whisper model in CTranslate2's format"
            )
    model = ctranslate2.models.Whisper(
        str(whisper.folder),
        device=whisper.device,
        compute_type=whisper.compute_type,
        intra_threads=whisper.threads,
    )
    tokenizer = tokenizers.Tokenizer.from_file(str(whisper.folder / "tokenizer.json"))
    words = ["<|startoftranscript|>"]
    if model.is_multilingual:
        words += [f"<|{whisper.language}|>", "<|transcribe|>"]
    ids = [tokenizer.token_to_id(word) for word in [*words, "<|notimestamps|>"]]
    prompt = [i for i in ids if i is not None]
    if len(prompt) < len(ids):
        raise ValueError(
            f"{whisper.folder}: no language {whisper.language!r} in its tokenizer.json"
        )
    return model, tokenizer, prompt
