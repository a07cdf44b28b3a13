"""What metrics are computed from: arrays by clip, on two sides, which come in any order and from any process."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

Rows = Mapping[str, Float[np.ndarray, "_ _"]]  # (rows, width); rows differ from clip to clip


@dataclasses.dataclass(frozen=True)
class State:
    """Rows of features by the name of their clip.

    A clip may have several rows (VGGish gives ten for 10 s) and, where a metric pairs the sides, has the same name
    on both. A metric sorts by name before it computes, so that its figure does not depend on how clips were divided
    among batches, devices and processes.

    Attributes:
        generated: of the clips that are judged.
        reference: of the clips, or of the texts, that they are held against; {} where a metric needs none.
    """

    generated: Rows
    reference: Rows

    @classmethod
    def empty(cls) -> "State":
        """Of no clip."""
        return cls({}, {})

    def merge(self, other: "State") -> "State":
        """Of the clips of both.

        Raises:
            ValueError: a clip that is in both on the same side, by name.
        """
        for mine, theirs in ((self.generated, other.generated), (self.reference, other.reference)):
            if twice := sorted(mine.keys() & theirs.keys()):
                raise ValueError(f"clip {twice[0]!r} is in both states")
        return State({**self.generated, **other.generated}, {**self.reference, **other.reference})

    @property
    def pairs(self) -> tuple[str, ...]:
        """Names that are on both sides, sorted."""
        return tuple(sorted(self.generated.keys() & self.reference.keys()))


def stacked(rows: Rows, names: Sequence[str] | None = None) -> Float[np.ndarray, "rows dim"]:
    """The rows of all clips, or of `names`, one under another, by sorted name."""
    return np.concatenate([rows[name] for name in sorted(rows if names is None else names)])
