"""What another encoding of the same windows has already, by the same weights, is taken over."""

import json
import os
import pathlib
import shutil
from collections.abc import Mapping

from ldm_jax.data.encoding.settings import FORMAT, TEXTUAL, Settings


def take_over(
    folder: pathlib.Path, *, fingerprint: str, settings: Settings, networks: Mapping[str, str]
) -> list[str]:
    """Puts into `folder` the finished files of its neighbours that it would have in the same bytes.

    That is the case where dataset and settings are the same but for what is encoded. They are links where the file
    system has them, else copies.

    Args:
        folder: an encoding's, of `encodings/`, with its index.
        fingerprint: of the dataset.
        settings: of the encoding.
        networks: hashes of weights by encoding.

    Returns:
        What was found of `settings.what`.
    """
    found = []
    for path in sorted(folder.parent.glob("*/encoding.json")):
        about = json.loads(path.read_text(encoding="utf-8"))
        theirs = {**about["settings"], "what": list(settings.what)}
        known = about["format"], about["fingerprint"], theirs
        if path.parent == folder or known != (FORMAT, fingerprint, settings.to_json()):
            continue
        for name in settings.what:
            if name not in found and about["networks"].get(name) == networks[name]:
                _link(path.parent, folder, name)
                found.append(name)
    return found


def _link(there: pathlib.Path, here: pathlib.Path, name: str) -> None:
    patterns = (f"{name}-*.npy", f"{name}_lengths-*.npy")
    for pattern in patterns if name in TEXTUAL else (f"*/{patterns[0]}",):
        for source in there.glob(pattern):
            target = here / source.relative_to(there)
            if target.exists():
                continue
            try:
                os.link(source, target)
            except OSError:  # another file system, or one without links
                partial = target.with_name(f".{target.name}")
                shutil.copy(source, partial)
                partial.replace(target)
