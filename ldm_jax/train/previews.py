"""What a person looks at while a stage trains."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preview:
    """Sounds, pictures and figures by name; names become file names.

    Attributes:
        waves: full scale 1, each with its rate in Hz.
        images: spectrograms (time, bands), natural logarithms of magnitudes, drawn with time to the right.
        seconds_per_frame: of the images.
        figures: joined to the log under `preview/`.
    """

    waves: Mapping[str, tuple[Float[np.ndarray, " samples"], int]] = dataclasses.field(
        default_factory=dict
    )
    images: Mapping[str, Float[np.ndarray, "time bands"]] = dataclasses.field(default_factory=dict)
    seconds_per_frame: float = 0.01
    figures: Mapping[str, float] = dataclasses.field(default_factory=dict)
