"""What an evaluation leaves behind."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from ldm_jax.eval.metrics.estimate import Estimate


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figure:
    """One number of a report.

    Attributes:
        name: what it is called in JSON and CSV, such as "frechet_distance.cnn14_16k".
        label: what it is called in a table, such as "FD" or "KL".
        estimate: the number, its interval and its clips.
        better: whether less or more of it is better.
        settings: all that decides it beside the clips: backbone, direction, eps, resampler and so on.
    """

    name: str
    label: str
    estimate: Estimate
    better: Literal["lower", "higher"]
    settings: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
    """A file that was not as it should be.

    Attributes:
        file: its path as given or found.
        why: one sentence.
        dropped: whether it was left out; else it was used, by rule.
    """

    file: str
    why: str
    dropped: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Side:
    """The clips of one side.

    Attributes:
        source: folder or manifest.
        clips: how many were used.
        seconds: how long they are together.
        digest: SHA-256 over what they hold, in no order; "" where it is not known.
    """

    source: str
    clips: int
    seconds: float
    digest: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """Everything about one evaluation of one system.

    Attributes:
        system: its name in comparisons.
        preset: whose rules were followed.
        figures: in the order of the preset.
        generated: the clips that were judged.
        reference: what they were held against, if anything.
        backbones: by name, where the weights came from and their SHA-256.
        problems: files that were dropped or that needed a rule, sorted by file.
        versions: of this library and of what computed.
        generation: settings of the clips where they were drawn for this report (steps, sampler, guidance scale).
        skipped: figures of the preset that were not computed, by name, and why.
    """

    system: str
    preset: str
    figures: tuple[Figure, ...]
    generated: Side
    reference: Side | None
    backbones: Mapping[str, Mapping[str, str]]
    problems: tuple[Problem, ...]
    versions: Mapping[str, str]
    generation: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    skipped: Mapping[str, str] = dataclasses.field(default_factory=dict)
