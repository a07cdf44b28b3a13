"""CLAPs for the tests: configs as published, small ones, and their inputs. No torch."""

import numpy as np

from tests.golden import random_array, random_tensors

_TEXT = {
    "model_type": "clap_text_model",
    "hidden_act": "gelu",
    "projection_dim": 512,
    "projection_hidden_act": "relu",
    "vocab_size": 50265,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "pad_token_id": 1,
    "layer_norm_eps": 1e-12,
}
_AUDIO = {
    "model_type": "clap_audio_model",
    "hidden_act": "gelu",
    "hidden_size": 768,
    "patch_stride": [4, 4],
    "projection_dim": 512,
    "projection_hidden_act": "relu",
    "patch_embeds_hidden_size": 96,
    "depths": [2, 2, 6, 2],
    "num_attention_heads": [4, 8, 16, 32],
    "window_size": 8,
    "spec_size": 256,
    "num_mel_bins": 64,
    "patch_size": 4,
    "mlp_ratio": 4.0,
    "qkv_bias": True,
    "enable_fusion": False,
    "aff_block_r": 4,
    "layer_norm_eps": 1e-5,
}
_CLAP = {
    "architectures": ["ClapModel"],
    "model_type": "clap",
    "projection_dim": 512,
    "projection_hidden_act": "relu",
    "logit_scale_init_value": 1 / 0.07,
    "hidden_size": 768,
    "num_hidden_layers": 16,
    "text_config": _TEXT,
    "audio_config": _AUDIO,
}
_BASE = {"patch_embeds_hidden_size": 128, "hidden_size": 1024, "depths": [2, 2, 12, 2]}
PUBLISHED = {
    "laion/clap-htsat-unfused": _CLAP,
    "laion/clap-htsat-fused": _CLAP | {"audio_config": _AUDIO | {"enable_fusion": True}},
    "cvssp/audioldm2": _CLAP | {"audio_config": _AUDIO | _BASE},
}
# The peer's, and the running statistics of batch norms, which are parameters here.
PUBLISHED_PARAMETERS = {
    "laion/clap-htsat-unfused": 153_492_890 + 128,
    "laion/clap-htsat-fused": 153_507_530 + 128 + 480,
    "cvssp/audioldm2": 193_913_882 + 128,
}
LAION_VARIANTS = {  # (variant, fusion) and the config it is, but for the epsilon of the text tower
    ("tiny", False): "laion/clap-htsat-unfused",
    ("tiny", True): "laion/clap-htsat-fused",
    ("base", False): "cvssp/audioldm2",
}

_TINY_TEXT = _TEXT | {
    "projection_dim": 16,
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 24,
    "type_vocab_size": 2,
    "pad_token_id": 3,
    "layer_norm_eps": 1e-3,
}
_TINY_AUDIO = (
    _AUDIO
    | {  # grids of 16, 8 and 4 places: shifted windows in the first, none in the last
        "projection_dim": 16,
        "hidden_size": 64,
        "patch_embeds_hidden_size": 16,
        "depths": [2, 1, 2],
        "num_attention_heads": [1, 2, 4],
        "window_size": 4,
        "spec_size": 64,
        "num_mel_bins": 16,
        "mlp_ratio": 2.0,
        "layer_norm_eps": 1e-3,
    }
)
TINY = {
    "plain": _CLAP
    | {
        "projection_dim": 16,
        "hidden_size": 32,
        "num_hidden_layers": 5,
        "text_config": _TINY_TEXT,
        "audio_config": _TINY_AUDIO,
    }
}
TINY["fused"] = TINY["plain"] | {
    "audio_config": _TINY_AUDIO | {"enable_fusion": True, "qkv_bias": False, "aff_block_r": 2}
}
FRAMES = {"published": 1001, "tiny": 251}  # fewer than the image holds, so that they are stretched


def inputs(config: dict) -> dict[str, np.ndarray]:
    """Three texts, two of them padded, and three clips, the second not longer than the window."""
    text, audio = config["text_config"], config["audio_config"]
    lengths = np.array([20, 7, 2])
    ids = np.random.RandomState(0).randint(4, text["vocab_size"], (3, 20))
    mask = np.arange(20)[None, :] < lengths[:, None]
    frames = FRAMES["tiny" if audio["spec_size"] < 256 else "published"]
    channels = (4,) if audio["enable_fusion"] else ()
    mels = audio["num_mel_bins"]
    features = random_array("features", (3, *channels, frames, mels))
    features += random_array("envelopes", (3, *(1 for _ in channels), 1, mels))  # clips differ
    return {
        "token_ids": np.where(mask, ids, text["pad_token_id"]).astype(np.int32),
        "mask": mask,
        "features": 2 * features.astype(np.float32).astype(np.float64),
        "is_longer": np.array([True, False, True]),
    }


def weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Random tensors: position biases of size 1, and `patch_embed` scaled as the rest."""
    tensors = random_tensors(shapes, gain=1.5)
    for name, tensor in tensors.items():
        if "patch_embed" in name and tensor.ndim == 4:
            tensors[name] = (tensor * np.prod(tensor.shape[1:]) ** -0.5).astype(np.float32)
        elif name.endswith("relative_position_bias_table"):
            tensors[name] = (tensor * tensor.shape[1] ** 0.5).astype(np.float32)
    return {name: np.asarray(tensor, np.float64) for name, tensor in tensors.items()}


def laion_tensors(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same weights in LAION's layout, written down apart from our table."""
    laion = {}
    for name, tensor in tensors.items():
        audio = name.startswith("audio_model.")
        if audio and ".self.query." in name:
            parts = [tensors[name.replace("query", part)] for part in ("query", "key", "value")]
            laion[_laion_name(name.replace("query", "qkv"))] = np.concatenate(parts)
        elif not (audio and (".self.key." in name or ".self.value." in name)):
            laion[_laion_name(name)] = tensor
    return laion


def _laion_name(name: str) -> str:
    renamed = _LAION_AUDIO if name.startswith("audio_model.") else _LAION_REST
    for theirs, laion in renamed:
        name = name.replace(theirs, laion)
    return name


_LAION_REST = (
    ("text_model.", "text_branch."),
    ("projection.linear1", "projection.0"),
    ("projection.linear2", "projection.2"),
)
_LAION_AUDIO = (
    ("audio_model.audio_encoder.", "audio_branch."),
    (".batch_norm.", ".bn0."),
    (".attention.self.", ".attn."),
    (".attention.output.dense.", ".attn.proj."),
    (".layernorm_before.", ".norm1."),
    (".layernorm_after.", ".norm2."),
    (".intermediate.dense.", ".mlp.fc1."),
    (".output.dense.", ".mlp.fc2."),
)
LAION_EXTRAS = (  # what else LAION's files hold
    "text_branch.embeddings.position_ids",
    "text_transform.sequential.0.weight",
    "audio_transform.sequential.3.bias",
    "audio_branch.spectrogram_extractor.stft.conv_real.weight",
    "audio_branch.logmel_extractor.melW",
    "audio_branch.bn0.num_batches_tracked",
    "audio_branch.layers.0.blocks.1.attn_mask",
    "audio_branch.layers.0.blocks.1.attn.relative_position_index",
    "audio_branch.tscam_conv.weight",
    "audio_branch.head.bias",
)

CLIPS = {  # samples and padding
    "short": (70_001, "repeatpad"),
    "repeated": (170_000, "repeat"),
    "padded": (300_000, "pad"),
    "whole": (480_000, "repeatpad"),
    "hardly_longer": (480_100, "repeatpad"),  # but not by a frame
    "one_frame_longer": (480_480, "repeatpad"),  # the last third of the places to cut is empty
    "longer": (700_000, "repeatpad"),
}
KEPT_FRAMES = slice(None, None, 25)


def clip(name: str) -> np.ndarray:
    """Noise that fades in and out, so that places differ, over a hum."""
    time = np.arange(CLIPS[name][0]) / 48_000
    noise = random_array(name, time.shape) * np.sin(time) ** 2
    return (
        (0.1 * noise + 0.01 * np.sin(2 * np.pi * 440 * time)).astype(np.float32).astype(np.float64)
    )
