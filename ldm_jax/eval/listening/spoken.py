"""Short spoken instructions, by the espeak-ng that the phonemes come from."""

import contextlib
import ctypes
import functools

import numpy as np
from jaxtyping import Float

_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS: samples go to the callback, and the call returns when all are made
_UTF8 = 1
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@functools.cache  # the voice's flutter goes on from text to text: what was said once would not come out alike again
def speak(text: str) -> tuple[Float[np.ndarray, "samples 1"], int]:
    """(wave, rate in Hz) of an English text.

    Raises:
        ValueError: espeak-ng is not there, or does not speak.
    """
    library, rate = _library()
    parts: list[np.ndarray] = []

    def collect(wave, samples, _events):
        if wave and samples:
            parts.append(np.ctypeslib.as_array(wave, (samples,)).copy())
        return 0

    kept = _CALLBACK(collect)  # while espeak may call it
    library.espeak_SetSynthCallback(kept)
    with contextlib.suppress(AttributeError):  # older libraries have none
        library.espeak_ng_SetRandSeed(ctypes.c_long(1))  # else every process flutters differently
    spoken = text.encode()
    failed = library.espeak_Synth(spoken, len(spoken) + 1, 0, 0, 0, _UTF8, None, None)
    if failed or not parts:
        raise ValueError(f"espeak-ng did not speak {text!r}: error {failed}")
    wave = np.concatenate(parts).astype(np.float32)[:, None] / 32768
    wave.setflags(write=False)
    return wave, rate


_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


@functools.cache
def _library() -> tuple[ctypes.CDLL, int]:
    try:
        import espeakng_loader

        library = ctypes.CDLL(espeakng_loader.get_library_path())
        folder = espeakng_loader.get_data_path()
    except (ImportError, OSError) as error:
        raise ValueError(
            f"spoken checks need espeak-ng ({error}): pip install espeakng-loader, or leave out"
            " 'instruction' from --checks"
        ) from None
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, folder.encode(), 0)
    if rate <= 0 or library.espeak_SetVoiceByName(b"en-us"):
        raise ValueError(f"espeak-ng has no English voice in {folder}")
    return library, rate
