import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P

from ldm_jax.convert.checkpoint import abstract_params
from ldm_jax.convert.random_checkpoint import SIZES
from ldm_jax.models.audiomae import AudioMAE
from ldm_jax.models.layers import Conv
from ldm_jax.models.transformer import SpatialTransformer
from ldm_jax.parallel.mesh import training_mesh
from ldm_jax.parallel.sharding import (
    RULES,
    batch_shardings,
    check_batch,
    gathered,
    local_rows,
    shardings,
    spec_of,
)

# Every network at its published size; the large UNet has more layers like the base one's.
NETWORKS = {
    **SIZES["base"](),
    "phoneme_encoder": SIZES["speech"]()["phoneme_encoder"],
    "audiomae": AudioMAE(decoder="swin"),
}
MESH = training_mesh(fsdp=2, tensor=2)


def leaves(name):
    flat, _ = jax.tree_util.tree_flatten_with_path({name: abstract_params(NETWORKS[name])})
    return [(jax.tree_util.keystr(p, simple=True, separator="/"), x.shape) for p, x in flat]


@pytest.mark.parametrize("name", NETWORKS)
def test_no_large_parameter_lies_whole_on_every_device(name):
    named = leaves(name)
    for fsdp in (2, 8):
        mesh = training_mesh(fsdp=fsdp)
        whole = {p: math.prod(s) for p, s in named if "fsdp" not in spec_of(p, s, mesh)}
        assert max(whole.values()) < 2**13, max(whole, key=whole.get)
        # What is whole, scales and biases, is a two hundredth of the network.
        assert sum(whole.values()) < 5e-3 * sum(math.prod(s) for _, s in named)


@pytest.mark.parametrize(
    ("path", "shape", "spec"),
    [
        ("opt/0/mu/unet/mid_block/attentions_0/transformer_blocks_0/attn1/to_q/kernel", (640, 640), ("fsdp", "tensor")),
        ("unet/up_blocks_0/attentions_0/transformer_blocks_0/ff/net_0/proj/kernel", (640, 5120), ("fsdp", "tensor")),
        ("unet/up_blocks_0/attentions_0/transformer_blocks_0/ff/net_2/kernel", (2560, 640), ("tensor", "fsdp")),
        ("t5/encoder/block_3/layer_1/DenseReluDense/wi_1/kernel", (1024, 2816), ("fsdp", "tensor")),
        ("t5/encoder/block_3/layer_1/DenseReluDense/wo/kernel", (2816, 1024), ("tensor", "fsdp")),
        ("t5/encoder/block_3/layer_0/SelfAttention/o/kernel", (1024, 1024), ("tensor", "fsdp")),
        ("gpt2/h_3/attn/c_attn/kernel", (768, 2304), ("fsdp", "tensor")),
        ("gpt2/h_3/mlp/c_proj/kernel", (3072, 768), ("tensor", "fsdp")),
        ("clap/text_model/encoder/layer_0/attention/self/key/kernel", (768, 768), ("fsdp", "tensor")),
        ("clap/text_model/encoder/layer_0/attention/output/dense/kernel", (768, 768), ("tensor", "fsdp")),
        ("clap/text_model/encoder/layer_0/intermediate/dense/kernel", (768, 3072), ("fsdp", "tensor")),
        ("clap/text_model/encoder/layer_0/output/dense/kernel", (3072, 768), ("tensor", "fsdp")),
        ("audiomae/blocks_0/mlp/fc2/kernel", (3072, 768), ("tensor", "fsdp")),
        ("unet/down_blocks_0/resnets_0/conv1/kernel", (3, 3, 128, 128), (None, None, "fsdp", None)),
        ("unet/conv_in/kernel", (3, 3, 8, 128), (None, None, "fsdp", None)),
        ("vae/encoder/conv_in/kernel", (3, 3, 1, 512), (None, None, None, "fsdp")),  # 1 cannot be cut
        ("t5/shared/embedding", (32128, 1024), (None, "fsdp")),
        ("unet/conv_in/bias", (65536,), ()),
        ("opt/0/count", (), ()),
        ("opt/0/v_row/unet/conv_in/kernel", (65536,), ()),  # Adafactor's moments have fewer axes
        ("blocks/query/kernel", (24, 64, 64), (None, "fsdp", "tensor")),  # stacked by a scan
    ],
)  # fmt: skip
def test_rules(path, shape, spec):
    assert spec_of(path, shape, MESH) == P(*spec)


def test_an_axis_that_does_not_divide_is_dropped_or_moves():
    assert spec_of("x/kernel", (127, 128), training_mesh(fsdp=8)) == P(None, "fsdp")
    assert spec_of("x/kernel", (127, 129), training_mesh(fsdp=8)) == P()
    assert spec_of("a/to_q/kernel", (128, 129), MESH) == P("fsdp", None)
    assert spec_of("a/to_q/kernel", (127, 128), MESH) == P(None, "tensor")  # its place is taken
    assert spec_of("x/kernel", (128, 128), training_mesh()) == P()
    assert RULES[-1] == ("", P())  # whatever it is called, it has a place


class Block(nn.Module):
    """An attention of the UNet between convolutions; every kernel has 4,096 elements or more."""

    @nn.compact
    def __call__(self, x):
        x = Conv(64, (3, 3), name="conv_in")(x)
        x = SpatialTransformer(64, heads=4, groups=8, name="attentions_0")(x, (None,))
        return Conv(8, (3, 3), name="conv_out")(x)


def trained(mesh, steps=3):
    """(losses, state) after a few steps of Adam on fixed noise."""
    model, optimiser = Block(), optax.adam(3e-3)
    batch = {
        "x": np.random.RandomState(1).randn(16, 4, 4, 8).astype("f"),
        "y": np.random.RandomState(2).randn(16, 4, 4, 8).astype("f"),
        "scale": np.float32(0.5),
    }

    example = jnp.zeros((1, 4, 4, 8))
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), example)["params"])
    # Not as they are made: zero kernels would hide half of the network from the gradient.
    params = jax.tree.map(
        lambda x: 0.05 * np.random.RandomState(x.size).randn(*x.shape).astype("f"), shapes
    )
    state = {"params": params, "opt": optimiser.init(params)}

    def loss_of(params, batch):
        out = model.apply({"params": gathered(params)}, batch["x"])
        return jnp.square(out * batch["scale"] - batch["y"]).mean()

    def step(state, batch):
        loss, grads = jax.value_and_grad(loss_of)(state["params"], batch)
        updates, opt = optimiser.update(grads, state["opt"])
        return {"params": optax.apply_updates(state["params"], updates), "opt": opt}, loss

    with jax.set_mesh(mesh):
        places = shardings(state, mesh)
        state = jax.device_put(state, places)
        batch = jax.device_put(batch, batch_shardings(batch, mesh))
        jitted = jax.jit(step, donate_argnums=0, out_shardings=(places, None))
        losses = []
        for _ in range(steps):
            state, loss = jitted(state, batch)
            losses.append(float(loss))
        assert jitted._cache_size() == 1
    return losses, state


@pytest.fixture(scope="module")
def alone():
    return trained(training_mesh(devices=jax.devices()[:1]))


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({"fsdp": 4}, marks=pytest.mark.slow),
        {"fsdp": 2, "tensor": 2},
    ],
    ids=str,
)
def test_eight_devices_compute_what_one_does_and_each_holds_its_share(alone, sizes):
    mesh = training_mesh(**sizes)
    losses, state = trained(mesh)
    np.testing.assert_allclose(losses, alone[0], rtol=2e-5)
    assert losses[-1] < 0.9 * losses[0]
    for (path, x), y in zip(
        jax.tree_util.tree_leaves_with_path(state), jax.tree.leaves(alone[1]), strict=True
    ):
        error = np.abs(np.asarray(x) - np.asarray(y)).max()
        assert error <= 1e-3 * max(np.abs(y).max(), 1e-2), (path, error)
    for path, x in jax.tree_util.tree_leaves_with_path(state):
        shares = {shard.data.size for shard in x.addressable_shards}
        paired = any(name in str(path) for name in ("attn", "net_"))
        ways = mesh.shape["fsdp"] * (mesh.shape["tensor"] if paired else 1)
        assert shares == {x.size // ways if x.size >= 2**12 else x.size}, path


def test_batches_that_do_not_divide():
    mesh = training_mesh(fsdp=2, tensor=2)
    check_batch(8, mesh)
    check_batch(8, mesh, microbatches=2)
    with pytest.raises(
        ValueError, match="batch of 6 cannot be divided among the 4 devices of data x fsdp; 4 could"
    ):
        check_batch(6, mesh)
    with pytest.raises(ValueError, match=r"12 in 2 microbatches cannot be .* 8 could"):
        check_batch(12, mesh, microbatches=2)
    with pytest.raises(ValueError, match=r"batch of 0 .* 4 could"):
        check_batch(0, mesh)


def test_a_process_feeds_its_rows():
    np.testing.assert_array_equal(local_rows(16, training_mesh(fsdp=2, tensor=2)), np.arange(16))
    one = training_mesh(devices=jax.devices()[:1])
    np.testing.assert_array_equal(local_rows(3, one), np.arange(3))
