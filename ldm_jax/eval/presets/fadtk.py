"""microsoft/fadtk: FAD and its extrapolation on several embeddings."""

from ldm_jax.eval.measurement import Preset, Sound
from ldm_jax.eval.metrics.extrapolation import FrechetExtrapolation
from ldm_jax.eval.presets.building import frechet, sets

_VGGISH = Sound(backbone="vggish", loading="fadtk_vggish", front="examples")
_AUDIO = Sound(backbone="clap:630k-audioset-best", loading="fadtk_clap", front="seconds")
_MUSIC = Sound(
    backbone="clap:music_audioset_epoch_15_esc_90.14", loading="fadtk_clap", front="seconds"
)

FADTK = Preset(
    name="fadtk",
    follows="microsoft/fadtk without its rounding of features to 16 bits",
    measurements=(
        frechet("FAD", _VGGISH),
        sets("frechet_infinity", "FAD inf", FrechetExtrapolation.fadtk(), _VGGISH),
        frechet("FAD CLAP audio", _AUDIO),
        sets(
            "frechet_distance",
            "FAD CLAP music",
            frechet("", _MUSIC).metric,
            _MUSIC,
            suffix="_music",
        ),
    ),
)
