"""Small AudioMAEs in training. No torch."""

from ldm_jax.models.audiomae import AudioMAE

_SIZES = {
    "img_size": (64, 32),
    "patch_size": 8,
    "embed_dim": 16,
    "depth": 2,
    "heads": 2,
    "averaged_blocks": 1,
    "decoder_dim": 16,
    "decoder_heads": 4,
    "decoder_depth": 2,  # of which the second is shifted
}
NETWORKS = {name: AudioMAE(decoder=name, **_SIZES) for name in ("vit", "swin")}
