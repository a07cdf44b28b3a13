"""What a preset measures: which features of which side go into which metric."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from ldm_jax.eval.metrics.estimate import Metric
from ldm_jax.eval.waves import LOADINGS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sound:
    """Features of clips.

    Attributes:
        backbone: its name; see `weights`.
        loading: how files become waves; a key of `waves.LOADINGS`.
        front: how waves become the backbone's rows; see `backbones.fronts`.
        output: which of the backbone's outputs.
        average: the mean of a clip's rows in place of the rows.
        side: whose clips; None is the side that it stands on in a measurement.
    """

    backbone: str
    loading: str
    front: str
    output: Literal["embedding", "logits"] = "embedding"
    average: bool = False
    side: Literal["generated", "reference"] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Caption:
    """CLAP's vector of a clip's first caption.

    Attributes:
        backbone: a CLAP.
        max_length: tokens a caption, special ones included.
    """

    backbone: str
    max_length: int = 77


@dataclasses.dataclass(frozen=True, kw_only=True)
class Distance:
    """One number a pair of waves; see `metrics.spectral`.

    Attributes:
        loading: how both files become waves.
        function: a key of `pairwise.DISTANCES`.
    """

    loading: str
    function: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Words:
    """Counts of wrong words or characters in what a recogniser hears, against the clip's transcript.

    Attributes:
        loading: how files become waves at 16 kHz.
        unit: "word" or "character".
        normaliser: a key of `metrics.words.NORMALISERS`.
    """

    loading: str
    unit: Literal["word", "character"]
    normaliser: str


Heard = Sound | Distance | Words


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measurement:
    """One figure of a preset.

    Attributes:
        name: in files and on the command line; the part before the dot is the metric, that behind it the features.
        label: in tables.
        metric: what is computed.
        generated: from the clips that are judged; where it compares pairs by itself it reads both sides.
        reference: what they are held against; None where nothing else is needed.
        paired: whether only clips count that have a counterpart of the same name.
        better: which way is good.
    """

    name: str
    label: str
    metric: Metric
    generated: Heard
    reference: Sound | Caption | None = None
    paired: bool = False
    better: Literal["lower", "higher"] = "lower"

    def with_metric(self, metric: Metric) -> "Measurement":
        """The same features in another metric."""
        return dataclasses.replace(self, metric=metric)

    @property
    def backbones(self) -> tuple[str, ...]:
        """Names of those that it needs."""
        sides = (self.generated, self.reference)
        named = (side.backbone for side in sides if isinstance(side, Sound | Caption))
        return tuple(dict.fromkeys(named))

    @property
    def needs_reference(self) -> bool:
        """Whether it needs a second side of clips."""
        sounds = [side for side in (self.generated, self.reference) if isinstance(side, Sound)]
        return (
            len(sounds) == 2
            or any(sound.side == "reference" for sound in sounds)
            or isinstance(self.generated, Distance)
        )

    @property
    def settings(self) -> Mapping[str, Any]:
        """All that decides the figure beside clips and weights, for reports."""
        metric = dataclasses.asdict(self.metric) if dataclasses.is_dataclass(self.metric) else {}
        told = {key: value for key, value in metric.items() if value is not None}
        told |= _told(self.generated)
        if isinstance(self.reference, Caption):
            told |= {"against": "captions", "caption_tokens": self.reference.max_length}
        elif self.reference is not None and self.reference != self.generated:
            told |= {f"reference_{key}": value for key, value in _told(self.reference).items()}
        return told


def _told(what: Heard) -> dict[str, Any]:
    """The fields that are set, and what the loading does, in words of `waves.steps`."""
    known = {
        key: value
        for key, value in dataclasses.asdict(what).items()
        if value is not None and value is not False
    }
    steps = ", ".join(repr(step) for step in LOADINGS[what.loading].steps)
    return {**known, "steps": steps}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preset:
    """Whose rules are followed.

    Attributes:
        name: on the command line and in reports.
        follows: what is imitated, in a sentence.
        measurements: in the order of a report.
        least_paired: share of names that both sides must have for paired figures; below it they are skipped.
    """

    name: str
    follows: str
    measurements: tuple[Measurement, ...]
    least_paired: float = 0.0

    def with_measurements(self, measurements: tuple[Measurement, ...]) -> "Preset":
        """The same rules for other measurements."""
        return dataclasses.replace(self, measurements=measurements)
