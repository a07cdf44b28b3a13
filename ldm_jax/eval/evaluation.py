"""One system's clips and a preset to a report."""

import dataclasses
import functools
import hashlib
import importlib.metadata
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ldm_jax.eval.backbones.backbone import Backbone
from ldm_jax.eval.backbones.programs import Runner
from ldm_jax.eval.cache import FeatureCache
from ldm_jax.eval.clips import Clip, ClipSet, content_hash, pair
from ldm_jax.eval.extraction import Features, extract
from ldm_jax.eval.measurement import Caption, Distance, Measurement, Preset, Sound, Words
from ldm_jax.eval.metrics.estimate import Bootstrap
from ldm_jax.eval.metrics.state import State
from ldm_jax.eval.metrics.words import NORMALISERS, error_counts
from ldm_jax.eval.pairwise import distances
from ldm_jax.eval.processes import gathered, share
from ldm_jax.eval.recognisers import Recogniser
from ldm_jax.eval.report.record import Figure, Problem, Report, Side
from ldm_jax.eval.speech import heard
from ldm_jax.eval.texts import caption_vectors
from ldm_jax.eval.waves import LOADINGS
from ldm_jax.eval.weights import is_published

Rows = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How an evaluation runs; no figure depends on `cache` or `progress`.

    Attributes:
        cache: of features, by content; None computes all.
        bootstrap: of intervals; None is no intervals.
        progress: whether to show bars.
        recogniser: of speech, for error rates.
    """

    cache: FeatureCache | None = None
    bootstrap: Bootstrap | None = dataclasses.field(default_factory=Bootstrap)
    progress: bool = False
    recogniser: Recogniser | None = None


def evaluate(
    generated: ClipSet,
    reference: ClipSet | None,
    *,
    preset: Preset,
    backbones: Mapping[str, Backbone],
    system: str = "",
    options: Options | None = None,
) -> Report:
    """The preset's figures, as far as clips, captions and backbones allow; the report names the others and why.

    Args:
        generated: the clips that are judged, with their captions.
        reference: the clips they are held against.
        preset: what is measured, and how.
        backbones: by the name that the preset calls them.
        system: the name in comparisons; the clips' source where empty.
        options: see `Options`.

    Raises:
        ValueError: not one figure can be computed of these clips, in one sentence.
    """
    return _Evaluation(generated, reference, preset, backbones, options or Options()).report(system)


class _Evaluation:
    """Features are made once, when the first figure needs them."""

    def __init__(
        self,
        generated: ClipSet,
        reference: ClipSet | None,
        preset: Preset,
        backbones: Mapping[str, Backbone],
        options: Options,
    ):
        self._sides: dict[str, Sequence[Clip]] = {"generated": generated.clips}
        self._sources = {"generated": generated.source}
        self._problems = list(generated.problems)
        self._generation = generated.generation
        self._paired: tuple[str, ...] = ()
        self._unpaired = "there are no reference clips"
        if reference is not None:
            pairing = pair(generated, reference, least=preset.least_paired)
            self._sides = {"generated": pairing.generated, "reference": pairing.reference}
            self._sources["reference"] = reference.source
            self._problems += [*reference.problems, *pairing.problems]
            self._paired = pairing.names
            self._unpaired = pairing.refusal
        self._preset, self._backbones, self._options = preset, backbones, options
        self._features: dict[tuple[str, str, str, str], Features] = {}
        self._rows: dict[Caption | Distance, Rows] = {}
        self._heard_texts: dict[str, Mapping[str, str]] = {}
        self._used: dict[str, None] = {}
        self._placed: tuple[str, Callable[[], Runner]] | None = None
        self._seconds: dict[str, dict[str, float]] = {"generated": {}, "reference": {}}

    def report(self, system: str) -> Report:
        """All figures."""
        figures: list[Figure] = []
        skipped: dict[str, str] = {}
        last: ValueError | None = None
        for measurement in self._preset.measurements:
            if why := self._missing(measurement):
                skipped[measurement.name] = why
                continue
            try:
                figures.append(self._figure(measurement))
            except ValueError as error:
                skipped[measurement.name] = str(error)
                last = error
        if last is not None and not figures:
            raise last
        return Report(
            system=system or self._sources["generated"],
            preset=self._preset.name,
            figures=tuple(figures),
            generated=self._side("generated"),
            reference=self._side("reference") if "reference" in self._sides else None,
            backbones={name: self._record(name) for name in self._used},
            problems=_unique(self._problems),
            versions={
                name: importlib.metadata.version(name)
                for name in ("ldm_jax", "jax", "jaxlib", "numpy", "scipy")
            },
            generation=self._generation,
            skipped=skipped,
        )

    def _missing(self, measurement: Measurement) -> str:
        """Why a figure cannot be had; "" where it can."""
        absent = [name for name in measurement.backbones if name not in self._backbones]
        if absent:
            return f"no weights of {', '.join(absent)} were given"
        if measurement.needs_reference and "reference" not in self._sides:
            return "there are no reference clips"
        if measurement.needs_reference and measurement.paired and self._unpaired:
            return self._unpaired
        clips = self._sides["generated"]
        if isinstance(measurement.reference, Caption) and not any(clip.captions for clip in clips):
            return "the clips have no captions"
        if isinstance(measurement.generated, Words):
            if self._options.recogniser is None:
                return "no recogniser was given"
            if not any(clip.transcript for clip in clips):
                return "the clips have no transcripts"
        return ""

    def _figure(self, measurement: Measurement) -> Figure:
        state = self._state(measurement)
        estimate = measurement.metric.compute(state, bootstrap=self._options.bootstrap)
        return Figure(
            name=measurement.name,
            label=measurement.label,
            estimate=estimate,
            better=measurement.better,
            settings=measurement.settings,
        )

    def _state(self, measurement: Measurement) -> State:
        what, against = measurement.generated, measurement.reference
        if isinstance(what, Distance):
            return State(self._distances(what), {})
        if isinstance(what, Words):
            return State(self._words(what), {})
        generated = self._heard(what.side or "generated", what)
        if isinstance(against, Sound):
            reference = self._heard(against.side or "reference", against)
        else:
            reference = {} if against is None else self._read(against)
        if not measurement.paired:
            return State(generated, reference)
        names = set(generated) if against is None else generated.keys() & reference.keys()
        if "reference" in self._sides and not isinstance(against, Caption):
            names &= set(self._paired)
        chosen = {name: reference[name] for name in names} if against is not None else {}
        return State({name: generated[name] for name in names}, chosen)

    def _heard(self, side: str, what: Sound) -> Rows:
        key = (side, what.backbone, what.loading, what.front)
        if key not in self._features:
            self._used[what.backbone] = None
            self._features[key] = extract(
                self._sides[side],
                self._backbones[what.backbone],
                loading=LOADINGS[what.loading],
                front=what.front,
                runner=self._runner(what.backbone),
                cache=self._options.cache,
                progress=self._options.progress,
            )
            self._problems += self._features[key].problems
            self._seconds[side] |= self._features[key].seconds
        rows = self._features[key].outputs.get(what.output, {})
        if what.average:
            return {name: x.mean(axis=0, keepdims=True) for name, x in rows.items()}
        return rows

    def _runner(self, name: str) -> Callable[[], Runner]:
        """One placement for both sides, which are heard one after the other; the network before it is let go."""
        if self._placed is None or self._placed[0] != name:
            backbone = self._backbones[name]
            self._placed = name, functools.cache(lambda: Runner(backbone, "audio"))
        return self._placed[1]

    def _record(self, name: str) -> dict[str, str]:
        """What the report says of a backbone; of a published name also whether these are the published weights."""
        backbone = self._backbones[name]
        known = is_published(name, backbone.sha256)
        published = {} if known is None else {"published": "yes" if known else "no"}
        return {**backbone.record, **published}

    def _read(self, what: Caption) -> Rows:
        """The captions' vectors, once for each CLAP."""
        if what not in self._rows:
            self._used[what.backbone] = None
            captions = {
                clip.name: clip.captions[0] for clip in self._sides["generated"] if clip.captions
            }
            vectors, problems = caption_vectors(
                captions,
                self._backbones[what.backbone],
                max_length=what.max_length,
            )
            self._rows[what] = vectors
            self._problems += problems
        return self._rows[what]

    def _distances(self, what: Distance) -> Rows:
        """All distances of a loading at once, since reading is most of the work."""
        if what not in self._rows:
            sides = {
                side: {clip.name: clip for clip in clips} for side, clips in self._sides.items()
            }
            same = [
                other.generated
                for other in self._preset.measurements
                if isinstance(other.generated, Distance) and other.generated.loading == what.loading
            ]
            found, seconds, problems = distances(
                sides["generated"],
                sides["reference"],
                self._paired,
                [other.function for other in same],
                loading=LOADINGS[what.loading],
            )
            for side, known in zip(("generated", "reference"), seconds, strict=True):
                self._seconds[side] |= known
            self._problems += problems
            self._rows |= {other: found[other.function] for other in same}
        return self._rows[what]

    def _words(self, what: Words) -> Rows:
        assert self._options.recogniser is not None
        clips = self._sides["generated"]
        if what.loading not in self._heard_texts:
            self._heard_texts[what.loading], seconds, problems = heard(
                clips, self._options.recogniser, loading=LOADINGS[what.loading]
            )
            self._seconds["generated"] |= seconds
            self._problems += problems
        texts = self._heard_texts[what.loading]
        return {
            clip.name: error_counts(
                clip.transcript or "",
                texts[clip.name],
                unit=what.unit,
                normalise=NORMALISERS[what.normaliser],
            )
            for clip in clips
            if clip.name in texts
        }

    def _side(self, side: str) -> Side:
        seconds = self._seconds[side]
        used = [clip for clip in self._sides[side] if clip.name in seconds]
        return Side(
            source=self._sources[side],
            clips=len(used),
            seconds=float(sum(seconds[clip.name] for clip in used)),
            digest=_digest(used),
        )


def _digest(clips: Sequence[Clip]) -> str:
    """SHA-256, in hexadecimal, of what the clips hold, whatever they are called."""
    hashes = sorted(
        hash_ for part in gathered(list(map(content_hash, share(clips)))) for hash_ in part
    )
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def _unique(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """Each once, by file; a clip is read by every backbone."""
    found = {(problem.file, problem.why, problem.dropped): problem for problem in problems}
    return tuple(found[key] for key in sorted(found))
