"""Reading an encoding, after checking that it is the one that is meant."""

import functools
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ldm_jax.data.encoding.index import load_windows
from ldm_jax.data.encoding.settings import FORMAT, WINDOWED, EncodingError, Settings
from ldm_jax.data.encoding.shards import RaggedShards, Shards
from ldm_jax.data.prepared import Prepared

ROUNDING = 16  # lengths of T5's states are multiples, so that few programs see them


class Encodings:
    """The encoding of one split: windows of sound, each with its captions.

    Made by `open_encoding`. Safe in threads, and pickled as a path, so that grain's workers can have it.

    Attributes:
        folder: of the whole encoding.
        split: which one this is.
        settings: of the encoding.
        windows: where in the dataset each window is: row, first sample, samples.
        text_length: by default, T5's states have this many places: enough for the longest caption.
    """

    def __init__(self, folder: pathlib.Path, split: str, description: Mapping[str, Any]) -> None:
        """Maps the files; nothing is compared with a dataset here.

        Raises:
            EncodingError: a file is missing or broken.
        """
        self.folder, self.split = folder, split
        self._description = description
        self.settings = Settings.from_json(description["settings"])
        self.windows = load_windows(folder / split)
        self._caption_ids = np.load(folder / split / "captions.npy")
        self._offsets = np.load(folder / split / "caption_offsets.npy")
        counts = {name: (folder / split, len(self)) for name in WINDOWED}
        everywhere = (folder, int(description["captions"]))
        self._shards: dict[str, Shards] = {}
        self._states: RaggedShards | None = None
        for name in self.settings.what:
            where, entries = counts.get(name, everywhere)
            if name == "t5":
                self._states = RaggedShards(where, name, entries=entries, size=self.settings.shard)
            else:
                self._shards[name] = Shards(where, name, entries=entries, size=self.settings.shard)
        longest = 0 if self._states is None else int(self._states.lengths.max())
        self.text_length = -(-longest // ROUNDING) * ROUNDING

    def __len__(self) -> int:
        """How many windows there are."""
        return len(self.windows.row)

    def __reduce__(self) -> Any:
        return Encodings, (self.folder, self.split, self._description)

    @functools.cached_property
    def captions(self) -> tuple[str, ...]:
        """The texts of all captions by number, over all splits; number 0 is ""."""
        return tuple(json.loads((self.folder / "captions.json").read_text(encoding="utf-8")))

    def captions_of(self, window: int) -> Int[np.ndarray, " captions"]:
        """The numbers of what may be said of a window: its clip's captions, at least one."""
        row = self.windows.row[window]
        return self._caption_ids[self._offsets[row] : self._offsets[row + 1]]

    def draw_captions(
        self, windows: Int[np.ndarray, " n"], draws: Float[np.ndarray, " n"]
    ) -> Int[np.ndarray, " n"]:
        """A caption for each window: of its clip's k captions number floor(k u), with u of `draws` in [0, 1)."""
        rows = self.windows.row[windows]
        first = self._offsets[rows]
        picks = (draws * (self._offsets[rows + 1] - first)).astype(np.int64)
        return self._caption_ids[first + picks]

    def batch(
        self,
        windows: Int[np.ndarray, " n"] | Sequence[int],
        *,
        captions: Int[np.ndarray, " n"] | Sequence[int] | None = None,
        what: Sequence[str] | None = None,
        text_length: int | None = None,
    ) -> dict[str, np.ndarray]:
        """Rows of what was encoded.

        Args:
            windows: which, in any order, repeated or not.
            captions: by number (see `captions_of`), one a window; None is each clip's first. 0, the empty text, is
                the unconditional branch.
            what: encodings to read; None is all.
            text_length: places of T5's states; None is `self.text_length`. Longer captions are cut.

        Returns:
            `samples` (n,) int32, of the windows that are sound and not padding, and of these what was asked for:
            `latents` (n, time, frequency, 2 channels) float16, the means and then the deviations of the VAE's
            latents, not scaled: a sample is mean + deviation * noise; `loa` (n, tokens, width) float16;
            `clap_audio` and `clap_text` (n, width) float32, of unit length; `t5` (n, text_length, width) float16
            with `t5_mask` (n, text_length) bool, zeros where it is False.

        Raises:
            IndexError: no such window or caption.
            ValueError: something that was not encoded is asked for.
        """
        places = _checked(windows, len(self), "window")
        if captions is None:
            texts = self._caption_ids[self._offsets[self.windows.row[places]]]
        else:
            texts = _checked(captions, int(self._description["captions"]), "caption")
        what = self.settings.what if what is None else what
        if missing := [name for name in what if name not in self.settings.what]:
            raise ValueError(
                f"{missing[0]} was not encoded; there are {', '.join(self.settings.what)}"
            )
        out = {"samples": self.windows.samples[places].astype(np.int32)}
        for name in what:
            if name == "t5":
                assert self._states is not None
                length = self.text_length if text_length is None else text_length
                out["t5"], out["t5_mask"] = self._states.take(texts, length)
            else:
                out[name] = self._shards[name].take(places if name in WINDOWED else texts)
        return out


def open_encoding(
    prepared: Prepared,
    split: str = "train",
    *,
    checkpoint_hashes: Mapping[str, str] | None = None,
    settings: Settings | None = None,
) -> Encodings:
    """The encoding of a prepared dataset, if it is what is meant.

    Args:
        prepared: the dataset.
        split: of its splits.
        checkpoint_hashes: as `hashes` computes them: of all weights that the encoding must have been made with.
        settings: those that the encoding must have been made with; None is any.

    Raises:
        EncodingError: there is none; the dataset, a network or a setting is another than the one encoded; several
            are left to choose from; or files are missing.
    """
    if split not in prepared.splits:
        raise EncodingError(
            f"{prepared.folder} has no split {split!r}; there are {', '.join(sorted(prepared.splits))}"
        )
    found = {
        path.parent: _description(path)
        for path in sorted((prepared.folder / "encodings").glob("*/encoding.json"))
    }
    if not found:
        raise EncodingError(
            f"{prepared.folder} is not encoded (or not to the end); "
            f"run python -m ldm_jax.data.encoding {prepared.folder} CHECKPOINT"
        )
    reasons = {
        folder: _mismatch(description, prepared, checkpoint_hashes, settings)
        for folder, description in found.items()
    }
    fitting = [folder for folder, reason in reasons.items() if reason is None]
    if not fitting:
        told = "; ".join(f"{folder.name}: {reason}" for folder, reason in reasons.items())
        raise EncodingError(f"{prepared.folder}/encodings has none that fits: {told}; encode again")
    if len(fitting) > 1:
        raise EncodingError(
            f"{prepared.folder} has several encodings that fit ({', '.join(x.name for x in fitting)}); "
            "say which by settings or checkpoint_hashes, or remove the others"
        )
    return Encodings(fitting[0], split, found[fitting[0]])


def _description(path: pathlib.Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EncodingError(f"{path} cannot be read ({error}); encode again") from None
    return content


def _mismatch(
    description: Mapping[str, Any],
    prepared: Prepared,
    checkpoint_hashes: Mapping[str, str] | None,
    settings: Settings | None,
) -> str | None:
    """Why an encoding is not the one that is meant, or None."""
    if description.get("format") != FORMAT:
        return f"it has format {description.get('format')}, and this ldm_jax reads {FORMAT}"
    if description["fingerprint"] != prepared.fingerprint:
        return "the dataset has changed since it was encoded"
    made_with = description["networks"]
    for name, digest in (checkpoint_hashes or {}).items():
        if name not in made_with:
            return f"{name} was not encoded"
        if made_with[name] != digest:
            return f"{name} was encoded with other weights ({made_with[name][:12]}) than given ({digest[:12]})"
    wanted = {} if settings is None else settings.to_json()
    for field, value in wanted.items():
        if description["settings"].get(field) != value:
            return f"{field} was {description['settings'].get(field)!r}, not {value!r}"
    return None


def _checked(
    places: Int[np.ndarray, " n"] | Sequence[int], count: int, noun: str
) -> Int[np.ndarray, " n"]:
    places = np.asarray(places, np.int64)
    if places.size and (places.min() < 0 or places.max() >= count):
        bad = places.max() if places.max() >= count else places.min()
        raise IndexError(f"there is no {noun} {bad}; they are 0 to {count - 1}")
    return places
