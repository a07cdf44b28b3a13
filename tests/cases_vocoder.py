"""HiFi-GANs for the tests: configs as published, small ones, and their inputs. No torch."""

import numpy as np

from tests.golden import random_array, random_tensors

PUBLISHED = {  # cvssp/audioldm2 and its siblings
    "architectures": ["SpeechT5HifiGan"],
    "initializer_range": 0.01,
    "leaky_relu_slope": 0.1,
    "model_in_dim": 64,
    "model_type": "hifigan",
    "normalize_before": False,
    "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5], [1, 3, 5]],
    "resblock_kernel_sizes": [3, 7, 11],
    "sampling_rate": 16000,
    "torch_dtype": "float32",
    "transformers_version": "4.31.0",
    "upsample_initial_channel": 1024,
    "upsample_kernel_sizes": [16, 16, 8, 4, 4],
    "upsample_rates": [5, 4, 2, 2, 2],
}
PUBLISHED_48K = PUBLISHED | {  # of the official 48 kHz model, which no diffusers folder holds
    "model_in_dim": 256,
    "resblock_dilation_sizes": [[1, 3, 5]] * 4,
    "resblock_kernel_sizes": [3, 7, 11, 15],
    "sampling_rate": 48000,
    "upsample_initial_channel": 1536,
    "upsample_kernel_sizes": [12, 10, 8, 4, 4],
    "upsample_rates": [6, 5, 4, 2, 2],
}
# Without `mean` and `scale`, which are buffers there, and all tensors with them.
PUBLISHED_PARAMETERS, PUBLISHED_TENSORS = 55_264_897, 196
PUBLISHED_48K_PARAMETERS, PUBLISHED_48K_TENSORS = 190_281_889, 256

TINY = {
    "rates_of_16k": PUBLISHED | {"model_in_dim": 6, "upsample_initial_channel": 64},
    "rates_of_48k": PUBLISHED_48K
    | {
        "model_in_dim": 10,
        "resblock_dilation_sizes": [[1, 3, 5]],
        "resblock_kernel_sizes": [15],
        "upsample_initial_channel": 64,
    },
    "normalized": PUBLISHED
    | {
        "leaky_relu_slope": 0.2,
        "model_in_dim": 5,
        "normalize_before": True,
        "resblock_dilation_sizes": [[1, 2], [4, 1, 3]],
        "resblock_kernel_sizes": [5, 3],
        "upsample_initial_channel": 12,
        "upsample_kernel_sizes": [7, 3],  # 7 taps at rate 3, and 3 at 3: nothing overlaps
        "upsample_rates": [3, 3],
    },
}


def inputs(config: dict, *, frames: int = 3) -> dict[str, np.ndarray]:
    return {"mel": random_array("mel", (2, frames, config["model_in_dim"]))}


def weights(config: dict, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Random tensors under which the signal neither fades nor saturates the last tanh."""
    tensors = random_tensors(shapes)
    for name, tensor in tensors.items():
        if name.startswith("upsampler") and name.endswith("weight"):
            rate = config["upsample_rates"][int(name.split(".")[1])]
            tensor *= np.sqrt(rate * shapes[name][1] / shapes[name][0])  # so is its fan-in
        elif ".convs2." in name or name == "conv_post.weight":
            tensor *= 0.4
        tensor[...] = tensor.astype(np.float32)
    return tensors


def rename_as_official(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """As the official code names them."""
    return {
        name.replace("upsampler.", "ups."): tensor
        for name, tensor in tensors.items()
        if name not in ("mean", "scale")
    }
