import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from ldm_jax.parallel.collectives import Kind, Traffic, _groups, collectives
from ldm_jax.parallel.mesh import training_mesh


def compiled(function, mesh, *shaped):
    arguments = [
        jax.ShapeDtypeStruct(shape, jnp.float32, sharding=NamedSharding(mesh, spec))
        for shape, spec in shaped
    ]
    with jax.set_mesh(mesh):
        jitted = jax.jit(function, out_shardings=NamedSharding(mesh, P()))
        return jitted.lower(*arguments).compile().as_text()


def test_a_sum_over_the_rows():
    text = compiled(lambda x: x.sum(0), training_mesh(), ((16, 1000), P("data")))
    expected = {Kind("all-reduce", 8, False): Traffic(1, 2 * 4000 * 7 // 8)}
    assert collectives(text, devices=8) == expected
    crossing = {Kind("all-reduce", 8, True): Traffic(1, 2 * 4000 * 7 // 8)}
    assert collectives(text, devices=8, slices=2) == crossing


def test_a_gather_within_groups_crosses_no_slice():
    mesh = training_mesh(fsdp=4)
    text = compiled(lambda x: x * 2, mesh, ((64, 100), P("fsdp")))
    expected = {Kind("all-gather", 4, False): Traffic(1, 64 * 100 * 4 * 3 // 4)}
    assert collectives(text, devices=8, slices=2) == expected


def test_a_loop_counts_as_often_as_it_runs():
    def repeated(x, w):
        return jax.lax.scan(lambda x, _: (jnp.tanh(x @ w @ w.T), None), x, length=17)[0]

    mesh = training_mesh(data=1, tensor=8)
    text = compiled(repeated, mesh, ((4, 32), P()), ((32, 64), P(None, "tensor")))
    expected = {Kind("all-reduce", 8, False): Traffic(17, 17 * (2 * 4 * 32 * 4 * 7 // 8))}
    assert collectives(text, devices=8) == expected


# As the TPU compiler prints them: a sum of which each keeps its part, gathers that start and end apart, in computations
# that name the same channel. What slices exchange goes through the hosts.
TPU = """
HloModule jit_step, is_scheduled=true

%add (a: f32[], b: f32[]) -> f32[] {
  ROOT %sum = f32[] add(%a, %b)
}

%all-reduce-scatter.1 (p: bf16[8,128]) -> bf16[2,128] {
  %all-reduce.3 = bf16[8,128]{1,0:T(8,128)(2,1)} all-reduce(%p), channel_id=3, replica_groups=[2,4]<=[8], to_apply=%add
  ROOT %part = bf16[2,128]{1,0:T(8,128)(2,1)} dynamic-slice(%all-reduce.3, %i, %j)
}

%overlapped.1 (p: f32[4]) -> f32[16] {
  ROOT %all-gather.1 = f32[16]{0:T(128)} all-gather(%p), channel_id=7, replica_groups=mesh['a'=2,'b'=4] {'b'}
}

%overlapped.2 (p: f32[4]) -> f32[16] {
  ROOT %all-gather.2 = f32[16]{0:T(128)} all-gather(%p), channel_id=7, replica_groups=mesh['a'=2,'b'=4] {'b'}
}

ENTRY %main (p: bf16[8,128], q: f32[4]) -> bf16[2,128] {
  %fusion.1 = bf16[2,128]{1,0:T(8,128)(2,1)} fusion(%p), kind=kCustom, calls=%all-reduce-scatter.1
  %fusion.2 = f32[16]{0:T(128)} fusion(%q), kind=kCustom, calls=%overlapped.1
  %fusion.3 = f32[16]{0:T(128)} fusion(%q), kind=kCustom, calls=%overlapped.2
  %start = (f32[4]{0}, f32[8]{0}) all-gather-start(%q), channel_id=8, replica_groups={{0,4},{1,5},{2,6},{3,7}}
  %done = f32[8]{0} all-gather-done(%start)
  %send = (f32[1,8,128]{2,1,0:T(8,128)}, u32[], token[]) send(%sum, %after), channel_id=7, is_host_transfer=true, \
frontend_attributes={_xla_host_transfer_rendezvous="all-reduce_0",_xla_megascale_transfer_type="ALL_REDUCE"}
  ROOT %permute = (f32[6]{0}, f32[6]{0}, u32[], u32[]) collective-permute-start(%x), source_target_pairs={{0,1},{1,2}}
}
"""


def test_what_the_tpu_compiler_prints():
    assert collectives(TPU, devices=8, slices=2) == {
        Kind("all-gather", 2, True): Traffic(1, 16),
        Kind("all-gather", 4, False): Traffic(1, 48),
        Kind("all-reduce", 2, True): Traffic(1, 4096),
        Kind("collective-permute", 2, False): Traffic(1, 24),
        Kind("reduce-scatter", 4, False): Traffic(1, 2048 * 3 // 4),
    }


@pytest.mark.parametrize(
    ("attribute", "groups"),
    [
        ("replica_groups={{0,1},{2,3}}, x", [[0, 1], [2, 3]]),
        ("replica_groups=[2,2]<=[4], x", [[0, 1], [2, 3]]),
        ("replica_groups=[2,2]<=[2,2]T(1,0), x", [[0, 2], [1, 3]]),
        ("replica_groups=mesh['a'=2,'b'=2] {'a'}, x", [[0, 2], [1, 3]]),
        ("replica_groups=mesh['a'=2,'b'=2] {'a','b'}, x", [[0, 1, 2, 3]]),
        ("replica_groups=mesh['a'=4] {'a':(1)2}, x", [[0, 2], [1, 3]]),
        ("replica_groups=mesh['a'=4] {'a':(2)2}, x", [[0, 1], [2, 3]]),
        (
            "replica_groups=mesh['a'=2,'b'=2], device_ids=([2,2]T(1,0)) {'b'}, x",
            [[0, 2], [1, 3]],
        ),
        ("replica_groups={}, x", [[0, 1, 2, 3]]),
    ],
)
def test_notations_of_groups(attribute, groups):
    np.testing.assert_array_equal(_groups(attribute, 4), groups)
