"""Presets: what each tool of the literature measures, and how."""

from collections.abc import Sequence

from ldm_jax.eval.measurement import Preset
from ldm_jax.eval.presets.audioldm_eval import AUDIOLDM_EVAL, AUDIOLDM_EVAL_32K
from ldm_jax.eval.presets.av_benchmark import AV_BENCHMARK
from ldm_jax.eval.presets.consistencytta import CONSISTENCYTTA
from ldm_jax.eval.presets.fadtk import FADTK
from ldm_jax.eval.presets.own import LDM_JAX, MUSICNN, OWN_ENCODERS
from ldm_jax.eval.presets.stable_audio_metrics import STABLE_AUDIO_METRICS

PRESETS = {
    preset.name: preset
    for preset in (
        LDM_JAX,
        MUSICNN,
        OWN_ENCODERS,
        AUDIOLDM_EVAL,
        AUDIOLDM_EVAL_32K,
        STABLE_AUDIO_METRICS,
        CONSISTENCYTTA,
        AV_BENCHMARK,
        FADTK,
    )
}


def chosen(preset: Preset, metrics: Sequence[str] | None) -> Preset:
    """The preset with those measurements alone whose names or labels begin with one of `metrics`; None is all.

    Raises:
        ValueError: a beginning that no name has.
    """
    if metrics is None:
        return preset
    kept = []
    for wanted in metrics:
        low = wanted.lower()
        found = [
            one
            for one in preset.measurements
            if one.name.startswith(low) or one.label.lower().split()[0] == low
        ]
        if not found:
            names = ", ".join(one.name for one in preset.measurements)
            raise ValueError(f"the preset {preset.name} has no {wanted!r}; it measures {names}")
        kept += found
    return preset.with_measurements(tuple(one for one in preset.measurements if one in kept))


def listing() -> str:
    """All presets with their measurements, as text."""
    lines = []
    for preset in PRESETS.values():
        lines.append(f"{preset.name}: {preset.follows}")
        for one in preset.measurements:
            needs = [*one.backbones, *(["references"] if one.needs_reference else [])]
            lines.append(f"    {one.name:44} {one.label:12} {', '.join(needs)}")
    return "\n".join(lines)
