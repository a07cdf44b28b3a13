"""Text to speech: the joint stage, with phonemes in place of T5's states and LOA fine enough to be understood.

Liu et al., "AudioLDM 2", arXiv 2308.05734, sections III-C and IV; the speech models of haoheliu/AudioLDM2.
"""

import dataclasses

from ldm_jax.train.stages.joint import JointStage


@dataclasses.dataclass(kw_only=True, slots=True)
class SpeechStage(JointStage):
    """`unet`, `gpt2`, `translator` and `phoneme_encoder`.

    AudioMAE's features are not pooled, which leaves 512 tokens, and the UNet has no other context. A batch without
    conditions has LOA of zeros. The configuration of the published models has true LOA always (`ground_truth` 1): a
    roll-out of 512 tokens is slow, one token after another, but possible.

    Attributes:
        contexts: LOA alone.
        time_pools: 1.
        ground_truth: probability of true LOA.
        speech: True.
    """

    contexts: tuple[str, ...] = ("loa",)
    time_pools: tuple[int, ...] = (1,)
    ground_truth: float = 1.0
    speech: bool = True
