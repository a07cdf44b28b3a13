"""Published VGGish weights: torchvggish's `vggish-10086976.pth`, which are TensorFlow's in PyTorch's layouts."""

from ldm_jax.convert.rules import CONV2D, LINEAR, Rule, Table

TORCHVGGISH = Table(
    rules=(
        Rule("features.{i}.weight", "features_{i}/kernel", CONV2D),
        Rule("features.{i}.bias", "features_{i}/bias"),
        Rule("embeddings.{i}.weight", "embeddings_{i}/kernel", LINEAR),
        Rule("embeddings.{i}.bias", "embeddings_{i}/bias"),
    ),
    ignored=("pproc.{rest:any}",),  # principal components for AudioSet's released form
)
