"""What presets are made of exists."""

import pytest

from ldm_jax.eval.backbones.fronts import FRONTS
from ldm_jax.eval.backbones.opening import KINDS, RATES
from ldm_jax.eval.measurement import Distance, Sound, Words
from ldm_jax.eval.metrics.words import NORMALISERS
from ldm_jax.eval.pairwise import DISTANCES
from ldm_jax.eval.presets import PRESETS, chosen, listing
from ldm_jax.eval.waves import LOADINGS
from ldm_jax.eval.weights import PUBLISHED


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
def test_parts_fit(preset):
    names = [one.name for one in preset.measurements]
    assert len(set(names)) == len(names)
    for one in preset.measurements:
        for what in (one.generated, one.reference):
            if isinstance(what, Sound):
                family = what.backbone.partition(":")[0]
                assert (KINDS[family], what.front) in FRONTS
                assert LOADINGS[what.loading].rate == RATES[family]
                assert what.backbone in PUBLISHED or preset.name == "own_encoders"
            if isinstance(what, Distance):
                assert what.function in DISTANCES
                assert LOADINGS[what.loading].rate == 16_000
            if isinstance(what, Words):
                assert what.normaliser in NORMALISERS
                assert LOADINGS[what.loading].rate == 16_000
        assert one.name in listing()


def test_choosing():
    preset = PRESETS["ldm_jax"]
    by_label = chosen(preset, ["FAD"])
    assert [one.name for one in by_label.measurements] == [
        "frechet_distance.vggish",
        "frechet_infinity.vggish",
    ]
    assert [one.label for one in chosen(preset, ["kl"]).measurements] == ["KL", "KL gen-ref"]
    assert chosen(preset, None) is preset
    with pytest.raises(ValueError, match="has no 'fid'; it measures frechet_distance"):
        chosen(preset, ["fid"])
