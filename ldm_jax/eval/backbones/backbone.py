"""A frozen network with its weights, and where they came from."""

import dataclasses
from collections.abc import Mapping
from typing import Literal

import flax.linen as nn
import numpy as np

from ldm_jax.convert.rules import Params
from ldm_jax.text.tokenizers import TextTokenizer

Kind = Literal["vggish", "cnn14", "passt", "musicnn", "clap", "audiomae"]
# What a network reads of one clip: arrays with a first axis of rows, of which one clip may have several.
Inputs = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Backbone:
    """What a metric sees clips through.

    Attributes:
        name: as presets and reports call it, such as "cnn14_16k" or "clap:630k-audioset-best".
        kind: which network it is.
        module: the network, as evaluation applies it.
        params: its weights.
        sample_rate: of the waves it takes, in Hz.
        source: the file or folder that the weights were read from.
        sha256: of that file; of musicnn, of the data of its checkpoint; of the network's parameters where it came from
            a folder of several networks.
        tokenizer: of CLAP's texts, else None.
    """

    name: str
    kind: Kind
    module: nn.Module
    params: Params
    sample_rate: int
    source: str
    sha256: str
    tokenizer: TextTokenizer | None = None

    @property
    def record(self) -> dict[str, str]:
        """What a report says of it."""
        return {"source": self.source, "sha256": self.sha256}
