"""haoheliu/audioldm_eval with backbone "cnn14", the tool behind AudioLDM's, AudioLDM 2's and Tango's tables."""

from ldm_jax.eval.measurement import Measurement, Preset, Sound
from ldm_jax.eval.metrics.divergence import Divergence
from ldm_jax.eval.presets.building import divergence, frechet, inception

_VGGISH = Sound(backbone="vggish", loading="audioldm_eval_vggish", front="examples")


def _measurements(panns: Sound) -> tuple[Measurement, ...]:
    """What it prints; KID, LSD, PSNR and SSIM are switched off there."""
    return (
        frechet("FAD", _VGGISH),
        frechet("FD", panns),
        divergence("KL", panns, Divergence()),
        divergence("KL sigmoid", panns, Divergence(activation="sigmoid")),
        inception("IS", panns),
    )


AUDIOLDM_EVAL = Preset(
    name="audioldm_eval",
    follows="haoheliu/audioldm_eval at 16 kHz with Cnn14, not the MERT that it takes by default today",
    measurements=_measurements(
        Sound(backbone="cnn14_16k", loading="audioldm_eval_16k", front="log_mel")
    ),
    least_paired=0.99,
)
AUDIOLDM_EVAL_32K = Preset(
    name="audioldm_eval_32k",
    follows="haoheliu/audioldm_eval at 32 kHz with Cnn14; its FAD stays at 16 kHz",
    measurements=_measurements(
        Sound(backbone="cnn14_32k", loading="audioldm_eval_32k", front="log_mel")
    ),
    least_paired=0.99,
)
