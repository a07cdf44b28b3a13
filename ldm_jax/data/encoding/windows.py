"""Encoding the windows of a split: the VAE's latents, AudioMAE's LOA, CLAP's vectors."""

import functools
import itertools
import pathlib
from collections.abc import Sequence

from tqdm import tqdm

from ldm_jax.data.encoding.batches import ShardFiles, encoded, groups, made_ahead, own_shards
from ldm_jax.data.encoding.index import Windows
from ldm_jax.data.encoding.programs import Arrays, Programs, window_inputs
from ldm_jax.data.encoding.settings import Settings, shard_path
from ldm_jax.data.rows import Row, sound_of
from ldm_jax.data.segments import may_repeat


def encode_windows(
    rows: Sequence[Row],
    windows: Windows,
    programs: Programs,
    *,
    settings: Settings,
    fusion: bool,
    folder: pathlib.Path,
    size: int,
    threads: int,
    bar: tqdm,
) -> None:
    """Writes those of this process's shards of a split that are missing.

    Args:
        rows: of the split.
        windows: of `rows`.
        programs: of the windowed encodings of `settings`.
        settings: of the encoding.
        fusion: whether CLAP reads four spectrograms.
        folder: of the split.
        size: windows of a batch.
        threads: that decode.
        bar: counts windows.

    Raises:
        AudioError: a row whose sound cannot be decoded.
        EncodingError: a result that is not finite.
    """
    total = len(windows.row)
    for k in own_shards(total, settings.shard):
        places = range(k * settings.shard, min((k + 1) * settings.shard, total))
        paths = {name: shard_path(folder, name, k) for name in settings.windowed}
        paths = {name: path for name, path in paths.items() if not path.exists()}
        if not paths:
            bar.update(len(places))
            continue
        names = tuple(paths)
        make = functools.partial(
            _row_inputs, rows, windows, names=names, settings=settings, fusion=fusion
        )
        by_row = [
            list(group) for _, group in itertools.groupby(places, key=lambda i: windows.row[i])
        ]
        made = made_ahead(make, by_row, threads=threads, ahead=2 * size)
        batches = groups(itertools.chain.from_iterable(made), size)
        at = 0
        with ShardFiles(paths, len(places)) as files:
            for results in encoded(programs, names, batches, size=size):
                count = len(results[names[0]])
                for name, x in results.items():
                    files[name, slice(at, at + count)] = x
                at += count
                bar.update(count)


def _row_inputs(
    rows: Sequence[Row],
    windows: Windows,
    places: Sequence[int],
    *,
    names: tuple[str, ...],
    settings: Settings,
    fusion: bool,
) -> list[Arrays]:
    """The inputs of windows of one row."""
    row = rows[int(windows.row[places[0]])]
    wave = sound_of(row)
    return [
        window_inputs(
            wave[windows.start[i] : windows.start[i] + windows.samples[i]],
            names=names,
            settings=settings,
            rate=row.sample_rate,
            fusion=fusion,
            repeat=settings.padding == "repeat" and may_repeat(row),
        )
        for i in places
    ]
