"""How each tool turns files into the waves of its networks, from its own source."""

from collections.abc import Mapping

from ldm_jax.eval.waves.loading import Loading
from ldm_jax.eval.waves.steps import (
    Centre,
    Cut,
    FirstChannel,
    Halve,
    MeanOfChannels,
    Pad,
    Peak,
    Resampy,
    Sinc,
    Soxr,
    Step,
    To16Bits,
    Wide,
)

_MINUS_1_DB = 10 ** (-1 / 20)
# A Kaiser window of resampy before 0.3, which fadtk asks of torchaudio.
_OLD_KAISER_BEST = {"width": 64, "rolloff": 0.9475937167399596, "beta": 14.769656459379492}


def _audioldm_eval(rate: int) -> Loading:
    """datasets/load_mel.py, WaveDataset."""
    return Loading(rate, (FirstChannel(), Centre(), Sinc(rate), Pad(32_000)))


def _consistencytta(rate: int, *rest: Step) -> Loading:
    """audioldm_eval/datasets/load_mel.py, read_centered_wav."""
    return Loading(rate, (MeanOfChannels(), Wide(), Resampy(rate, decimate=True), Centre(), *rest))


def _av_benchmark(rate: int, *rest: Step) -> Loading:
    """data/audio_dataset.py, AudioDataset, of 8 s."""
    return Loading(rate, (MeanOfChannels(), Centre(), Sinc(rate, wide=True), Cut(8 * rate), *rest))


def _fadtk(rate: int, *rest: Step) -> Loading:
    """fad.py, load_audio: through a file of 16 bits."""
    sinc = Sinc(rate, wide=True, **_OLD_KAISER_BEST)
    return Loading(rate, (MeanOfChannels(), sinc, To16Bits(32_768), *rest))


def _plain(rate: int, *rest: Step) -> Loading:
    """Our own."""
    return Loading(rate, (MeanOfChannels(), Soxr(rate), *rest))


LOADINGS: Mapping[str, Loading] = {
    "plain_16k": _plain(16_000),
    "plain_16k_1s": _plain(16_000, Pad(16_000)),
    "plain_48k": _plain(48_000),
    "audioldm_eval_vggish": _audioldm_eval(16_000),
    "audioldm_eval_16k": _audioldm_eval(16_000),
    "audioldm_eval_32k": _audioldm_eval(32_000),
    "consistencytta_16k": _consistencytta(16_000, Cut(160_000), Pad(32_000)),
    "consistencytta_lsd": _consistencytta(16_000),
    "consistencytta_vggish": Loading(
        16_000,
        (To16Bits(32_768), Wide(), MeanOfChannels(), Resampy(16_000, decimate=True), Cut(160_000)),
    ),
    "consistencytta_clap": Loading(
        48_000,
        (
            MeanOfChannels(),
            Wide(),
            Resampy(16_000),
            Resampy(48_000),
            Centre(),
            Halve(),
            Cut(480_000),
            Pad(480_000),
            Halve(),
        ),
    ),
    "stable_audio_metrics_passt": Loading(
        32_000, (MeanOfChannels(), Soxr(32_000, librosa=True), Peak(_MINUS_1_DB))
    ),
    "stable_audio_metrics_clap": Loading(
        48_000,
        (
            MeanOfChannels(),
            Soxr(48_000, librosa=True),
            Peak(_MINUS_1_DB),
            To16Bits(32_767, truncate=True),
        ),
    ),
    "av_benchmark_16k": _av_benchmark(16_000),
    "av_benchmark_clap": _av_benchmark(48_000),
    "av_benchmark_passt": _av_benchmark(32_000, Pad(320_000)),
    "fadtk_vggish": _fadtk(16_000, Pad(16_000)),
    "fadtk_clap": _fadtk(48_000, To16Bits(32_767, truncate=True)),
}
