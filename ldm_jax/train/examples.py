"""What a run reads: the stream to train on, and held-out batches that are the same every time."""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from ldm_jax.data.encoded_examples import encoded_examples
from ldm_jax.data.encoding.reading import Encodings, open_encoding
from ldm_jax.data.encoding.settings import DTYPES
from ldm_jax.data.features import Arrays, Feature
from ldm_jax.data.held_out import held_out_hashes, training_rows
from ldm_jax.data.order import Order
from ldm_jax.data.prepared import open_prepared
from ldm_jax.data.rows import Row
from ldm_jax.data.segments import Segment
from ldm_jax.data.stream import Examples, examples, stack
from ldm_jax.train.conditions import latent_shape
from ldm_jax.train.config import Data, Training


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """Place i is an entry of one of the sets in an order that is shuffled once, and round again: for validation.

    A few batches of it are a fair sample, where the first rows of a dataset are those of one folder. The order depends
    on the sizes alone, so that runs with other seeds see the same clips.
    """

    sizes: tuple[int, ...]
    seed: int = 0  # of the examples: another seed of the run changes no held-out clip

    @functools.cached_property
    def shuffled(self) -> Int[np.ndarray, " entries"]:
        """Entries of all sets, counted one set after the other."""
        return np.random.default_rng(0).permutation(sum(self.sizes))

    def __call__(
        self, places: Int[np.ndarray, " n"] | Sequence[int]
    ) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
        """(set, entry) of each place."""
        ends = np.cumsum(self.sizes)
        entries = self.shuffled[np.asarray(places, np.int64) % ends[-1]]
        sets = np.searchsorted(ends, entries, side="right")
        return sets, entries - (ends - self.sizes)[sets]


def source(config: Training, features: tuple[Feature, ...], *, training: bool) -> Any | None:
    """What `ldm_jax.data.stream` makes batches of; None for validation where there is no such split.

    Clips of training sets whose sound is held out for validation or testing in any of them are left out.

    Raises:
        ValueError: a dataset, a split or an encoding that is not there.
    """
    data = config.data
    datasets = [open_prepared(path) for path in data.prepared]
    split = data.split if training else data.validation
    if not training:
        datasets = [dataset for dataset in datasets if split in dataset.splits]
        if not datasets:
            return None
    if data.encoded:
        return _encoded(data, datasets, split, config.seed, training)
    if training:
        hashes = held_out_hashes(datasets)
        sets: list[Sequence[Row]] = [training_rows(dataset, hashes, split) for dataset in datasets]
    else:
        sets = [dataset.rows(split) for dataset in datasets]
    if data.limit:
        sets = [First(rows, min(data.limit, len(rows))) for rows in sets]
    made = examples(
        sets,
        features=features,
        shaping=data.shaping(training=training),
        weights=data.rates if training else (),
        seed=config.seed,
    )
    if training:
        return made
    return dataclasses.replace(made, order=HeldOut(tuple(len(rows) for rows in sets)))  # type: ignore[arg-type]


@dataclasses.dataclass(frozen=True)
class First(Sequence[Row]):
    """The first `count` rows."""

    rows: Sequence[Row]
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Row:  # type: ignore[override]  # as `data.held_out.Without`
        if not 0 <= index < self.count:
            raise IndexError(index)
        return self.rows[index]


def _encoded(data: Data, datasets: list[Any], split: str, seed: int, training: bool) -> Any:
    sets = tuple(open_encoding(dataset, split) for dataset in datasets)
    made = encoded_examples(
        sets,
        weights=data.rates if training else (),
        seed=seed,
        what=data.what,
        caption=data.caption if training else "first",
    )
    sizes = tuple(min(data.limit or len(one), len(one)) for one in sets)
    if not training:
        return dataclasses.replace(made, order=HeldOut(sizes))  # type: ignore[arg-type]
    if data.limit:
        return dataclasses.replace(made, order=Order(sizes, data.rates, seed))
    return made


def names_of(source: Any, batch: Arrays) -> list[str]:
    """The names of a batch's clips, for messages; of encodings, where they are found."""
    sets = np.asarray(batch["set"])
    if isinstance(source, Examples):
        rows = np.asarray(batch["row"])
        return [source.sets[k][int(row)].name for k, row in zip(sets, rows, strict=True)]
    windows = np.asarray(batch["window"])
    return [_window(source.sets[k], int(w)) for k, w in zip(sets, windows, strict=True)]


def _window(encodings: Encodings, window: int) -> str:
    return (
        f"{encodings.folder.parent.parent}, {encodings.split}, row {encodings.windows.row[window]}"
    )


def batch_of_nothing(config: Training, features: tuple[Feature, ...], *, rows: int) -> Arrays:
    """A batch from sound as to shapes and types, of silence: for compiling without data."""
    shaping = config.data.shaping(training=True)
    silence = Segment(
        wave=np.zeros(shaping.length, np.float32),
        sample_rate=shaping.sample_rate,
        samples=shaping.length,
        caption="",
        transcript="",
        labels=(),
        start=0.0,
    )
    made = {name: x for feature in features for name, x in feature(silence).items()}
    one = {**made, "set": np.int32(0), "row": np.int64(0)}
    return stack([one] * rows)


def encoded_batch_of_nothing(
    config: Training,
    features: tuple[Feature, ...],
    networks: Mapping[str, Any],
    *,
    rows: int,
    tokens: int = 128,
) -> Arrays:
    """As `batch_of_nothing`, of encodings: as wide as the networks that read them want.

    Args:
        config: of the run; its stage reads encodings.
        features: of the stage.
        networks: that are trained, and the VAE that made the latents.
        rows: of the batch.
        tokens: of a caption; in a run, as many as the longest has.
    """
    stage: Any = config.stage
    shapes: dict[str, tuple[tuple[int, ...], str]] = {}
    widths: dict[str, int] = {}
    if unet := networks.get("unet"):
        slots = [width for width in unet.cross_attention_dims if width is not None]
        widths |= dict(zip(stage.contexts, slots, strict=True))
        if unet.film_dim is not None:
            widths["clap"] = unet.film_dim
        sound = batch_of_nothing(config, features, rows=1)
        _, *space, _ = latent_shape(networks, sound)
        shapes["latents"] = (*space, 2 * unet.in_channels), DTYPES["latents"]
    if join := networks.get("translator"):
        widths |= {"loa": join.d_model, "clap": join.stream_dims[0], "text": join.stream_dims[1]}
    if "loa" in widths:
        shapes["loa"] = (math.prod(stage.loa_grid), widths["loa"]), DTYPES["loa"]
    if "clap" in widths:
        vectors = ("clap_text", "clap_audio", "empty_clap_text")
        shapes |= {name: ((widths["clap"],), "float32") for name in vectors}
    if "text" in widths:
        shapes["t5_mask"] = (tokens,), "bool"
        shapes["t5"] = (tokens, widths["text"]), DTYPES["t5"]
        shapes["empty_t5"] = (1, widths["text"]), DTYPES["t5"]
    places = {"set": np.zeros(rows, np.int32), "window": np.zeros(rows, np.int64)}
    return {
        name: np.zeros((rows, *shape), dtype) for name, (shape, dtype) in shapes.items()
    } | places


def on_device(batch: Arrays) -> Arrays:
    """What of a batch a program can take: all but texts."""
    return {name: x for name, x in batch.items() if getattr(x, "dtype", None) != np.dtype(object)}
