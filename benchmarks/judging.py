"""What is heard in a clip, said by networks that no clip was made with: musicnn, and a linear map of what it hears.

musicnn (Pons & Serra, arXiv 1909.06654; the weights of the PyPI package) was trained on other music by others. Its
embedding of a clip is mapped, by ridge regression on clips of the train split, to the sentence vector of the caption
(retrieval) and to the kind of sound. The sentence vectors are of MiniLM, which the system reads its prompts with: the
audio side of the judge is independent of it, the text side is not.
"""

import dataclasses
import hashlib
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from ldm_jax.audio.musicnn_features import PATCH_FRAMES, musicnn_log_mel
from ldm_jax.convert.checkpoint import Checkpoint
from ldm_jax.eval.backbones.backbone import Backbone
from ldm_jax.text.tokenizers import load_tokenizer

Vectors = Float[np.ndarray, "clips features"]
_RIDGE = 30.0  # on features of variance 1


@dataclasses.dataclass(frozen=True)
class Example:
    """A prepared clip's segment.

    Attributes:
        name: of the clip.
        kind: which of the kinds of sound.
        caption: its first.
        wave: at 16 kHz.
    """

    name: str
    kind: int
    caption: str
    wave: np.ndarray


class Judge:
    """Retrieval and kinds."""

    def __init__(
        self,
        backbone: Backbone,
        system: Checkpoint,
        fitted: Sequence[Example],
        *,
        cache: pathlib.Path,
    ) -> None:
        """Fits both maps.

        Args:
            backbone: musicnn.
            system: with a text encoder whose mean is a sentence's vector, and its tokeniser.
            fitted: clips to fit the maps to.
            cache: a `.npz` file of what was heard in waves before; the next judge of `backbone` reads it.
        """
        module, params = backbone.module, backbone.params
        self._cache, self._known = cache, {}
        if cache.exists():
            with np.load(cache) as stored:
                self._known = dict(stored)

        def listen(patches: Any) -> Any:
            heard: Any = module.apply({"params": params}, patches)
            return jnp.concatenate([heard.embedding, heard.logits], axis=-1).mean(axis=0)

        self._listen = jax.jit(listen)
        text: Any = system.networks["t5"]
        of_text = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), system.params["t5"])
        self._encode = jax.jit(lambda ids, mask: text.apply({"params": of_text}, ids, mask))
        self._tokenizer = load_tokenizer(system.tokenizers["t5"])
        self._usual: np.ndarray | None = None
        x = self._heard([example.wave for example in fitted])
        self._centre, self._width = x.mean(axis=0), x.std(axis=0) + 1e-6
        kinds = np.array([example.kind for example in fitted])
        self._to_text = self._map(x, self.sentences([example.caption for example in fitted]))
        self._to_kind = self._map(x, np.eye(1 + kinds.max())[kinds])

    def ranks(
        self, waves: Sequence[np.ndarray], captions: Sequence[str]
    ) -> Int[np.ndarray, " clips"]:
        """For each caption, how many clips are nearer to it than its own."""
        said = self.sentences(captions)
        heard = self._features(waves) @ self._to_text
        heard = heard / np.linalg.norm(heard, axis=-1, keepdims=True)
        nearness = said @ heard.T
        return (nearness > np.diag(nearness)[:, None]).sum(axis=1)

    def kinds(self, waves: Sequence[np.ndarray]) -> Int[np.ndarray, " clips"]:
        """What clips are taken for."""
        return (self._features(waves) @ self._to_kind).argmax(axis=1)

    def sentences(self, captions: Sequence[str]) -> Vectors:
        """Vectors of length 1, less the mean of those that the maps were fitted to."""
        once = list(dict.fromkeys(captions))
        tokens = self._tokenizer(once)
        states = np.asarray(self._encode(tokens.ids, tokens.mask))
        mask = np.asarray(tokens.mask)[..., None]
        raw = (states * mask).sum(axis=1) / mask.sum(axis=1)
        raw /= np.linalg.norm(raw, axis=-1, keepdims=True)
        if self._usual is None:
            self._usual = raw.mean(axis=0)
        raw = raw - self._usual
        vectors = raw / np.linalg.norm(raw, axis=-1, keepdims=True)
        return vectors[[once.index(caption) for caption in captions]]

    def _heard(self, waves: Sequence[np.ndarray]) -> Vectors:
        """The mean over patches that begin at the first frame, at the last possible, and between them."""
        names = [
            hashlib.sha256(np.asarray(wave, np.float32).tobytes()).hexdigest() for wave in waves
        ]
        new = {n: wave for n, wave in zip(names, waves, strict=True) if n not in self._known}
        for name, wave in new.items():
            log_mel = musicnn_log_mel(np.asarray(wave, np.float32))
            log_mel = np.pad(log_mel, ((0, max(0, PATCH_FRAMES - len(log_mel))), (0, 0)))
            last = len(log_mel) - PATCH_FRAMES
            starts = (0, last // 2, last)
            patches = np.stack([log_mel[start : start + PATCH_FRAMES] for start in starts])
            self._known[name] = np.asarray(self._listen(patches.astype(np.float32)))
        if new:
            self._cache.parent.mkdir(parents=True, exist_ok=True)
            np.savez(self._cache, **self._known)
        return np.stack([self._known[name] for name in names])

    def _features(self, waves: Sequence[np.ndarray]) -> Vectors:
        return self._with_one((self._heard(waves) - self._centre) / self._width)

    def _map(self, heard: Vectors, wanted: Vectors) -> Vectors:
        """The matrix of least squares with a ridge."""
        x = self._with_one((heard - self._centre) / self._width)
        return np.linalg.solve(x.T @ x + _RIDGE * np.eye(x.shape[1]), x.T @ wanted)

    @staticmethod
    def _with_one(x: Vectors) -> Vectors:
        return np.concatenate([x, np.ones((len(x), 1))], axis=1)
