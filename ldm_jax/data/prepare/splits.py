"""Which split a clip belongs to."""

import hashlib
from collections.abc import Iterable

from ldm_jax.data.clip import Clip, Split

# In the order in which they are prepared: of two clips with the same sound the first one stays, and so the test split
# keeps its own and training loses it.
SPLITS: tuple[Split, ...] = ("test", "validation", "train")


def assign_splits(clips: Iterable[Clip], *, validation: float, test: float) -> list[Split]:
    """A split for each clip.

    That of the source where it gives one; then that of the clip's group where the source gives one to another of the
    group; else by u = BLAKE2b(group or name) in [0, 1): test below `test`, validation in the next `validation`, train
    above. So a clip's place depends on no other clip, and files that are added later move none.
    """
    clips = list(clips)
    given: dict[str, Split] = {
        clip.group: clip.split for clip in reversed(clips) if clip.group and clip.split
    }
    return [
        clip.split
        or given.get(clip.group)
        or _drawn(clip.group or clip.name, validation=validation, test=test)
        for clip in clips
    ]


def straddling_groups(clips: Iterable[Clip], splits: Iterable[Split]) -> list[str]:
    """Groups that the source itself puts into more than one split, in the order of their first clips."""
    seen: dict[str, set[Split]] = {}
    for clip, split in zip(clips, splits, strict=True):
        if clip.group:
            seen.setdefault(clip.group, set()).add(split)
    return [group for group, found in seen.items() if len(found) > 1]


def _drawn(key: str, *, validation: float, test: float) -> Split:
    digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    u = int.from_bytes(digest, "big") / 2**64
    return "test" if u < test else "validation" if u < test + validation else "train"
