"""Examples from an encoding: latents, LOA, text states and CLAP vectors in place of sound and text."""

import dataclasses
import functools

import numpy as np
from jaxtyping import Float, Int

from ldm_jax.data.encoding.reading import Encodings
from ldm_jax.data.encoding.settings import TEXTUAL
from ldm_jax.data.features import Arrays
from ldm_jax.data.order import Order


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncodedExamples:
    """Every example that training on encoded sets will ever see, by its place; for `stream.host_batches`.

    Attributes:
        sets: encoded splits, all with the same settings.
        order: of their windows.
        what: encodings to read; () is all.
        caption: "any" of a clip's captions at random, or the "first".
        text_length: places of T5's states, the same in every batch; None takes what the longest caption needs.
    """

    sets: tuple[Encodings, ...]
    order: Order
    what: tuple[str, ...] = ()
    caption: str = "any"
    text_length: int | None = None

    def batch(self, places: Int[np.ndarray, " n"]) -> Arrays:
        """What `Encodings.batch` gives, with `set` and `window`, which say where each row came from.

        Beside `t5` and `clap_text` there are in every row `empty_t5` (tokens, width), without padding, and
        `empty_clap_text` (width,): the encodings of "", for rows whose caption is taken away in training.
        """
        which, windows = self.order(places)
        draws = (
            uniforms(self.order.seed, places) if self.caption == "any" else np.zeros(len(places))
        )
        out: Arrays = {"set": which.astype(np.int32), "window": windows}
        length = self.text_length
        if length is None:
            length = max(encodings.text_length for encodings in self.sets)
        for k in np.unique(which):
            here = np.flatnonzero(which == k)
            encodings = self.sets[k]
            numbers = encodings.draw_captions(windows[here], draws[here])
            part = encodings.batch(
                windows[here], captions=numbers, what=self.what or None, text_length=length
            )
            if len(here) == len(places):  # one set: no copy
                out |= part
                break
            for name, x in part.items():
                whole = out.setdefault(name, np.empty((len(places), *x.shape[1:]), x.dtype))
                whole[here] = x
        for name, x in self._empty.items():
            out[name] = np.broadcast_to(x, (len(places), *x.shape[1:]))
        return out

    @functools.cached_property
    def _empty(self) -> Arrays:
        first = self.sets[0]
        what = [name for name in self.what or first.settings.what if name in TEXTUAL]
        encoded: Arrays = first.batch([0], captions=[0], what=what)
        if "t5" in encoded:
            encoded["t5"] = encoded["t5"][:, : int(encoded["t5_mask"].sum())]
        return {f"empty_{name}": encoded[name] for name in what}


def encoded_examples(
    sets: tuple[Encodings, ...],
    *,
    weights: tuple[float, ...] = (),
    seed: int = 0,
    what: tuple[str, ...] = (),
    caption: str = "any",
    text_length: int | None = None,
) -> EncodedExamples:
    """Examples drawn from `sets` at the rates of `weights` (by number of windows where none are given).

    Raises:
        ValueError: as `Order`, or sets that were encoded with other settings.
    """
    first = sets[0].settings if sets else None
    if other := [encodings.folder for encodings in sets if encodings.settings != first]:
        raise ValueError(f"{other[0]} was encoded with other settings than {sets[0].folder}")
    order = Order(tuple(len(encodings) for encodings in sets), weights, seed)
    return EncodedExamples(
        sets=sets, order=order, what=what, caption=caption, text_length=text_length
    )


def uniforms(seed: int, places: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """A random number from [0, 1) for each place: SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) of (seed, place).

    One generator a place, as examples from sound have, would take longer than reading the row.
    """
    with np.errstate(over="ignore"):  # arithmetic modulo 2^64
        x = places.astype(np.uint64) + _scrambled(np.array([seed], np.uint64))
        return (_scrambled(x) >> np.uint64(11)) * 2.0**-53


def _scrambled(x: np.ndarray) -> np.ndarray:
    x = x * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
