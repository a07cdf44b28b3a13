"""transformers' ClapModel and ClapFeatureExtractor, the latter without chance."""

from unittest import mock

import numpy as np
import torch
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel
from transformers.modeling_utils import no_init_weights

from ldm_jax.convert.clap import FEATURE_EXTRACTOR


def shapes(config: dict) -> dict[str, tuple[int, ...]]:
    state = _model(config).state_dict()
    return {name: tuple(x.shape) for name, x in state.items() if x.is_floating_point()}


def _model(config: dict) -> ClapModel:
    with no_init_weights():
        return ClapModel(ClapConfig.from_dict(config)).eval()


def run(
    config: dict,
    tensors: dict[str, np.ndarray],
    inputs: dict[str, np.ndarray],
    *,
    dtype: str,
    buffers: dict[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """Embeddings and logits, from the tensors and `buffers`, or else the peer's own buffers."""
    model = _model(config).to(getattr(torch, dtype))
    if buffers is None:
        state = model.state_dict()
        buffers = {name: x for name, x in state.items() if not x.is_floating_point()}
    state = {name: torch.tensor(np.asarray(x)) for name, x in {**buffers, **tensors}.items()}
    model.load_state_dict(state, strict=True)
    features = torch.from_numpy(inputs["features"]).to(getattr(torch, dtype))
    if not config["audio_config"]["enable_fusion"]:
        features = features[:, None]
    with torch.inference_mode():
        out = model(
            input_ids=torch.from_numpy(inputs["token_ids"]).long(),
            attention_mask=torch.from_numpy(inputs["mask"]).long(),
            input_features=features,
            is_longer=torch.from_numpy(inputs["is_longer"])[:, None],
        )
    names = ("text_embeds", "audio_embeds", "logits_per_text", "logits_per_audio")
    return {name: getattr(out, name).numpy() for name in names}


def bicubic(x: np.ndarray, out_length: int) -> np.ndarray:
    """(length, c) resampled in its length, as ClapAudioEncoder does it."""
    image, size = torch.from_numpy(x)[None, None], (out_length, x.shape[1])
    out = torch.nn.functional.interpolate(image, size, mode="bicubic", align_corners=True)
    return out[0, 0].numpy()


def features(
    wave: np.ndarray, *, padding: str, fusion: bool, start: int = 0
) -> tuple[np.ndarray, bool]:
    """The features of one clip, and whether it is longer.

    A long clip is cropped at `start`; of the three ranges that fusion draws from, the first, the
    middle and the last element are drawn.
    """
    drawn = []

    def choose(candidates: np.ndarray) -> int:
        drawn.append(candidates)
        return candidates[(0, len(candidates) // 2, -1)[len(drawn) - 1]]

    extractor = ClapFeatureExtractor(**FEATURE_EXTRACTOR)
    truncation = "fusion" if fusion else "rand_trunc"
    with (
        mock.patch.object(np.random, "choice", choose),
        mock.patch.object(np.random, "randint", return_value=start),
    ):
        mel, longer = extractor._get_input_mel(wave, 480_000, truncation, padding)
    return (mel if fusion else mel[0]), longer
