import ml_dtypes
import numpy as np
import pytest

from ldm_jax.convert.rules import (
    CONV1D,
    CONV2D,
    CONV_TRANSPOSE1D,
    IDENTITY,
    LINEAR,
    POINTWISE_AS_LINEAR,
    ConversionError,
    Rule,
    Table,
    Transform,
    convert,
    export,
    split,
)
from tests.golden import random_array


def shapes(**flat):
    """A tree of zeros from `a__b=shape` (`__` stands for `/`)."""
    tree = {}
    for path, shape in flat.items():
        *folders, leaf = path.split("__")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
        node[leaf] = np.zeros(shape, np.float32)
    return tree


def fails(tensors, table, expected):
    with pytest.raises(ConversionError) as caught:
        convert(tensors, table, expected, network="net")
    return str(caught.value)


def test_layouts_against_their_definitions():
    x = random_array("x", (2, 3, 5, 7))
    (kernel,) = CONV2D.forward(x)
    assert kernel.shape == (5, 7, 3, 2)
    assert kernel[4, 6, 2, 1] == x[1, 2, 4, 6]
    (kernel,) = CONV1D.forward(x[..., 0])
    assert kernel[4, 2, 1] == x[1, 2, 4, 0]
    (kernel,) = CONV_TRANSPOSE1D.forward(x[..., 0])  # PyTorch's is (in, out, k)
    assert kernel[4, 1, 2] == x[1, 2, 4, 0]
    (kernel,) = LINEAR.forward(x[..., 0, 0])
    assert kernel[2, 1] == x[1, 2, 0, 0]
    (kernel,) = POINTWISE_AS_LINEAR.forward(x[:, :, :1, :1])
    assert kernel.shape == (3, 2)
    assert kernel[2, 1] == x[1, 2, 0, 0]


@pytest.mark.parametrize(
    ("transform", "shape"),
    [
        (IDENTITY, (3,)),
        (LINEAR, (2, 3)),
        (CONV1D, (2, 3, 5)),
        (CONV2D, (2, 3, 5, 7)),
        (CONV_TRANSPOSE1D, (2, 3, 5)),
        (POINTWISE_AS_LINEAR, (2, 3, 1, 1)),
        (split(3, LINEAR), (6, 4)),
    ],
)
def test_backward_undoes_forward(transform, shape):
    x = random_array("x", shape)
    (back,) = transform.backward(*transform.forward(x))
    np.testing.assert_array_equal(back, x)


def test_placeholders_are_read_both_ways():
    table = Table(
        rules=(
            Rule("b.{i}.r.{j}.w", "b_{i}/r_{j}/kernel", LINEAR),
            Rule("{kind:word}.norm.w", "{kind:word}/norm/scale"),
            Rule("same.{i}.{i}", "same_{i}"),
            Rule("deep.{rest:any}", "other/{rest:any}"),
        )
    )
    tensors = {
        "b.0.r.10.w": random_array("a", (2, 3)),
        "b.10.r.0.w": random_array("b", (4, 5)),
        "mid_2.norm.w": random_array("c", (6,)),
        "same.7.7": random_array("d", (7,)),
        "deep.x.y-z.0": random_array("e", (8,)),
    }
    expected = shapes(
        b_0__r_10__kernel=(3, 2), b_10__r_0__kernel=(5, 4), mid_2__norm__scale=(6,), same_7=(7,)
    )
    expected["other"] = {"x.y-z.0": np.zeros(8)}
    params = convert(tensors, table, expected, network="net")
    np.testing.assert_array_equal(params["b_10"]["r_0"]["kernel"], tensors["b.10.r.0.w"].T)
    np.testing.assert_array_equal(params["mid_2"]["norm"]["scale"], tensors["mid_2.norm.w"])
    back = export(params, table, network="net")
    assert back.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(back[name], tensor)


def test_a_dot_is_a_dot_and_digits_are_whole():
    table = Table(rules=(Rule("a.{i}", "a_{i}"),))
    for name in ("ab1", "a.1x", "a.", "xa.1", "a.1.weight"):
        assert name in fails({name: np.zeros(1)}, table, {})
    table = Table(rules=(Rule("s.{i}.{i}", "s_{i}"),))
    assert "s.1.2" in fails({"s.1.2": np.zeros(1)}, table, {})


def test_the_first_rule_that_matches_takes_a_tensor():
    table = Table(rules=(Rule("a.w", "special"), Rule("{x:any}.w", "{x:any}/kernel", LINEAR)))
    tensors = {"a.w": np.arange(3.0), "b.w": np.arange(6.0).reshape(2, 3)}
    params = convert(tensors, table, shapes(special=(3,), b__kernel=(3, 2)), network="net")
    np.testing.assert_array_equal(params["special"], [0, 1, 2])
    assert params["b"]["kernel"][2, 1] == 5


def test_split_and_join():
    stack = Transform(
        forward=lambda g, v: (np.concatenate([g, v]),), backward=lambda x: (x[:1], x[1:])
    )
    table = Table(
        rules=(
            Rule("{i}.qkv", ("at_{i}/q", "at_{i}/k", "at_{i}/v"), split(3, LINEAR)),
            Rule(("{i}.g", "{i}.v"), "both_{i}", stack),
        )
    )
    tensors = {
        "1.v": random_array("v", (4,)),  # the second source first: order must not matter
        "0.qkv": random_array("qkv", (6, 5)),
        "1.g": random_array("g", (1,)),
    }
    expected = shapes(at_0__q=(5, 2), at_0__k=(5, 2), at_0__v=(5, 2), both_1=(5,))
    params = convert(tensors, table, expected, network="net")
    np.testing.assert_array_equal(params["at_0"]["k"], tensors["0.qkv"][2:4].T)
    np.testing.assert_array_equal(params["both_1"][1:], tensors["1.v"])
    back = export(params, table, network="net")
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(back[name], tensor)
    del params["at_0"]["k"]
    with pytest.raises(ConversionError, match=r"at_0/q \(without at_0/k\)"):
        export(params, table, network="net")


def test_rename_serves_one_direction_and_another_rule_the_other():
    def renamed(values):
        level, block = divmod(int(values["i"]), 2)
        return {"level": str(level), "block": str(block)}

    forward = Rule("up.{i}.w", "level_{level}/block_{block}/kernel", LINEAR, renamed)
    tensors = {"up.3.w": random_array("w", (2, 3))}
    expected = shapes(level_1__block_1__kernel=(3, 2))
    params = convert(tensors, Table(rules=(forward,)), expected, network="net")
    with pytest.raises(ConversionError, match="level_1/block_1/kernel"):
        export(params, Table(rules=(forward,)), network="net")
    both = Table(rules=(forward, Rule("l{i}.b{j}.w", "level_{i}/block_{j}/kernel", LINEAR)))
    assert export(params, both, network="net").keys() == {"l1.b1.w"}


def test_ignored_and_aliases():
    table = Table(
        rules=(Rule("shared.weight", "embedding"),),
        ignored=("{a:any}.position_ids", "loss.{a:any}"),
        aliases=(("{side:word}.embed_tokens.weight", "shared.weight"),),
    )
    x = random_array("x", (3, 2))
    rest = {"text.position_ids": np.arange(3), "loss.net.w": np.zeros(1)}
    expected = shapes(embedding=(3, 2))
    for names in (
        ["shared.weight"],
        ["encoder.embed_tokens.weight"],
        ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"],
        ["encoder.embed_tokens.weight", "shared.weight"],
    ):
        tensors = {**dict.fromkeys(names, x), **rest}
        params = convert(tensors, table, expected, network="net")
        np.testing.assert_array_equal(params["embedding"], x)
    # A table is not "used up" by what the caller passes.
    assert set(tensors) == {*names, *rest}
    message = fails({"shared.weight": x, "encoder.embed_tokens.weight": x + 1}, table, expected)
    assert "encoder.embed_tokens.weight and shared.weight should be the same" in message


def test_every_misfit_is_listed_at_once():
    table = Table(
        rules=(
            Rule("a.w", "a/kernel", LINEAR),
            Rule("b.w", "b/kernel", LINEAR),
            Rule("c", "c"),
            Rule("again", "c"),
            Rule("nowhere", "nowhere"),
            Rule(("g", "v"), "joined", Transform(forward=lambda g, v: (g * v,), backward=None)),
            Rule("qkv", ("q", "k"), split(2, IDENTITY)),
        )
    )
    expected = shapes(
        a__kernel=(3, 2), b__kernel=(3, 2), c=(1,), joined=(1,), left__over=(4,), q=(2,), k=(2,)
    )
    message = fails(
        {
            "a.w": np.zeros((2, 4)),
            "b.w": np.zeros((2, 3, 1)),
            "c": np.zeros(1),
            "again": np.zeros(1),
            "nowhere": np.zeros(1),
            "extra": np.zeros(1),
            "g": np.zeros(1),
            "qkv": np.zeros(5),
        },
        table,
        expected,
    )
    assert message.splitlines() == [
        "the weights do not fit net; nothing was loaded",
        "  tensors that no parameter takes (3):",
        "    nowhere (no parameter nowhere)",
        "    extra",
        "    g (without v)",
        "  parameters that no tensor fills (2):",
        "    joined",
        "    left/over",
        "  parameters filled twice (1):",
        "    c (again from again)",
        "  wrong shapes (3):",
        "    a.w: (4, 2) for a/kernel (3, 2)",
        "    b.w: (2, 3, 1) for b/kernel (3, 2)",
        "    qkv: (5,) for q (2,), k (2,)",
    ]


def test_export_names_what_it_cannot_say():
    one_way = Transform(forward=lambda x: (x,), backward=None)
    table = Table(
        rules=(
            Rule("a", "a", one_way),
            Rule("parts", ("p", "q"), split(2, one_way)),
            Rule("b", "b"),
        )
    )
    params = {"a": np.zeros(1), "b": np.zeros(2), "p": np.zeros(3), "q": np.zeros(3)}
    with pytest.raises(ConversionError) as caught:
        export(params, table, network="net")
    assert str(caught.value).splitlines() == [
        "the weights do not fit net; nothing was written",
        "  parameters without a published name (3):",
        *("    a", "    p", "    q"),
    ]
    clash = Table(rules=(Rule("w", "a/kernel"), Rule("w", "b/kernel")))
    with pytest.raises(ConversionError, match=r"tensors filled twice \(1\):\n    w \(again from b"):
        export({"a": {"kernel": np.zeros(1)}, "b": {"kernel": np.zeros(1)}}, clash, network="net")


def test_types_and_scalars_survive_and_exports_are_contiguous():
    table = Table(rules=(Rule("scale", "scale"), Rule("w", "kernel", LINEAR)))
    tensors = {"scale": np.float32(2.5), "w": random_array("w", (2, 3)).astype(ml_dtypes.bfloat16)}
    expected = shapes(scale=(), kernel=(3, 2))
    params = convert(tensors, table, expected, network="net")
    assert params["scale"].shape == ()
    assert params["kernel"].dtype == ml_dtypes.bfloat16
    back = export(params, table, network="net")
    assert back["scale"].shape == ()
    assert back["scale"] == np.float32(2.5)
    assert back["w"].flags.c_contiguous
    np.testing.assert_array_equal(back["w"], tensors["w"])


def test_each_lazy_value_is_read_once():
    class Lazy:
        shape, reads = (2, 3), 0

        def __array__(self, dtype=None, copy=None):
            self.reads += 1
            return np.arange(6.0).reshape(2, 3)

    lazy = Lazy()
    table = Table(rules=(Rule("w", "kernel", LINEAR),))
    params = convert({"w": lazy}, table, shapes(kernel=(3, 2)), network="net")
    assert params["kernel"][2, 1] == 5
    assert lazy.reads == 1
