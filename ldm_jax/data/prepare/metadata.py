"""`dataset_info.json` and `features.json`, by which TFDS knows the dataset."""

import pathlib
from collections.abc import Mapping, Sequence

from ldm_jax.data.rows import features

VERSION = "1.0.0"


def write_metadata(
    folder: pathlib.Path,
    *,
    name: str,
    description: str,
    shard_rows: Mapping[str, Sequence[int]],
    split_bytes: Mapping[str, int],
) -> None:
    """Writes both files, so that `tfds.data_source(name, split=..., data_dir=folder.parent.parent)` reads it.

    Args:
        folder: `.../name/1.0.0`, with the shards.
        name: of the dataset.
        description: for people.
        shard_rows: rows of each shard, by split.
        split_bytes: of all shards, by split.
    """
    import tensorflow_datasets as tfds
    from etils import epath
    from tensorflow_datasets.core.splits import SplitDict

    identity = tfds.core.DatasetIdentity(
        name=name, version=tfds.core.Version(VERSION), data_dir=str(folder), module_name=""
    )
    info = tfds.core.DatasetInfo(builder=identity, features=features(), description=description)
    info.set_file_format("array_record")
    splits = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=list(rows),
            num_bytes=split_bytes[split],
            filename_template=tfds.core.ShardedFileTemplate(
                dataset_name=name,
                data_dir=epath.Path(folder),
                split=split,
                filetype_suffix="array_record",
            ),
        )
        for split, rows in shard_rows.items()
    ]
    info.set_splits(SplitDict(splits))
    info.write_to_directory(folder)
