import jax
import jax.numpy as jnp
import pytest

from ldm_jax.profiling import count_flops


def test_matrix_product():
    assert count_flops(lambda a, b: a @ b, jnp.ones((3, 5)), jnp.ones((5, 7))) == 2 * 3 * 5 * 7


def test_a_scan_counts_as_often_as_it_runs():
    def repeated(x):
        return jax.lax.scan(lambda c, _: (jax.jit(jnp.matmul)(c, c), None), x, length=64)[0]

    assert count_flops(repeated, jnp.ones((8, 8))) == 64 * 2 * 8**3


@pytest.mark.parametrize("groups", [1, 2])
def test_convolution(groups):
    def convolve(x, kernel):
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            (2,),
            "SAME",
            dimension_numbers=("NWC", "WIO", "NWC"),
            feature_group_count=groups,
        )

    flops = count_flops(convolve, jnp.ones((2, 10, 4)), jnp.ones((3, 4 // groups, 6)))
    assert flops == 2 * (2 * 5 * 6) * (3 * 4 // groups)  # outputs times the taps that each sees


def test_published_unet_step_counts_what_it_is_known_to(monkeypatch):
    from ldm_jax.models.unet import UNet

    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")  # plain convolutions
    unet, tokens = UNet(), 300  # so many that no attention absorbs the layers around it
    example = (jnp.zeros((2, 256, 16, 8)), jnp.zeros(2))
    mask = jnp.ones((2, tokens), bool)
    contexts = [(jnp.zeros((2, tokens, width)), mask) for width in (768, 1024)]
    params = jax.eval_shape(lambda: unet.init(jax.random.key(0), *example, contexts))
    flops = count_flops(lambda p: unet.apply(p, *example, contexts), params)
    # Of two clips of 10.24 s with 8 LOA and 12 text tokens PyTorch counts 293 GFLOP, without its
    # fused attention: 4 n^2 c a clip in each of four self-attentions, and 4 n m c in the two others,
    # beside 5, 5 and 6 residual blocks. More tokens take 4 c width each for keys and values.
    levels = ((1024, 256, 5), (256, 384, 5), (64, 640, 6))
    attention = sum(2 * k * (4 * 4 * n * n * c + 2 * 4 * n * tokens * c) for n, c, k in levels)
    more = 768 * (tokens - 8) + 1024 * (tokens - 12)
    projected = sum(2 * k * 4 * c * more for _, c, k in levels)
    assert flops == pytest.approx(293e9 + attention + projected, rel=0.003)


def test_what_was_counted_is_not_traced_again():
    traced = []

    @jax.jit
    def product(a, b):
        traced.append(a.shape)
        return a @ b

    a, b = jnp.ones((3, 5)), jnp.ones((5, 7))
    assert count_flops(product, a, b) == 2 * 3 * 5 * 7
    product(a, b)
    assert traced == [(3, 5)]
