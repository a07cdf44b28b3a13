import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.parallel.mesh import replicated, training_mesh
from ldm_jax.parallel.planning import largest, plan
from ldm_jax.parallel.sharding import abstract, batch_shardings, gathered, shardings
from ldm_jax.parallel.topology import chips, memory, other_refusal, refusal, traced_for

WIDTH, DEEP, ROWS = 64, 3, 4  # rows a device
PARAMETERS = DEEP * WIDTH**2


def planned(count, **sizes):
    """The plan of a step of gradient descent on a few layers, `ROWS` a device."""
    mesh = training_mesh(**sizes, devices=chips(f"cpu:{count}"))

    def loss_of(params, x):
        for kernel in gathered(params).values():
            x = jnp.tanh(x @ kernel["kernel"])
        return jnp.square(x).mean()

    def step(params, x):
        loss, grads = jax.value_and_grad(loss_of)(params, x)
        return jax.tree.map(lambda p, g: p - g, params, grads), loss

    kernel = {"kernel": jax.ShapeDtypeStruct((WIDTH, WIDTH), jnp.float32)}
    params = {f"layer_{i}": kernel for i in range(DEEP)}
    rows = ROWS * count // mesh.shape["tensor"]
    x = jax.ShapeDtypeStruct((rows, WIDTH), jnp.float32)
    placed = shardings(params, mesh)
    jitted = jax.jit(step, donate_argnums=0, out_shardings=(placed, replicated(mesh)))
    arguments = (abstract(params, placed), abstract(x, batch_shardings(x, mesh)))
    return plan(jitted, arguments, mesh=mesh, rows=rows)


def by_name(found):
    return {kind.name: traffic for kind, traffic in found.traffic.items()}


@pytest.fixture(scope="module")
def alone():
    return planned(1)


def test_one_device(alone):
    assert alone.traffic == {}
    assert alone.sent == 0
    assert alone.arguments == 4 * (PARAMETERS + ROWS * WIDTH)
    assert alone.results <= 64  # the parameters take the place of the old ones; the loss does not
    # Forward and two products backward, but none for the batch.
    assert alone.flops == 2 * ROWS * WIDTH**2 * (3 * DEEP - 1)


@pytest.mark.parametrize("count", [2, 4, 8])
def test_work_on_a_device_stays_as_devices_grow(alone, count):
    more = planned(count)
    assert more.rows == count * ROWS
    assert more.flops == count * alone.flops
    # Beside an addition for each number that is summed over the devices.
    assert more.compiled_flops == alone.compiled_flops + PARAMETERS + 1
    assert more.arguments == alone.arguments
    # The gradient, and the loss, are summed once.
    assert more.sent == pytest.approx(2 * 4 * (PARAMETERS + 1) * (count - 1) / count, abs=8)
    assert set(by_name(more)) == {"all-reduce"}


def test_fsdp_keeps_a_share_and_gathers_each_kernel_once(alone):
    cut = planned(8, fsdp=8)
    assert cut.arguments == 4 * (PARAMETERS / 8 + ROWS * WIDTH)
    assert by_name(cut)["all-gather"].bytes == 4 * PARAMETERS * 7 / 8
    assert set(by_name(cut)) <= {"all-gather", "all-reduce", "reduce-scatter"}
    assert cut.compiled_flops == pytest.approx(alone.compiled_flops, rel=0.02)


def test_data_across_fsdp(alone):
    both = planned(8, fsdp=4)
    assert both.arguments == 4 * (PARAMETERS / 4 + ROWS * WIDTH)
    gathers = {kind: of for kind, of in both.traffic.items() if kind.name == "all-gather"}
    assert [(kind.devices, of.bytes) for kind, of in gathers.items()] == [
        (4, 4 * PARAMETERS * 3 / 4)
    ]
    assert both.step_seconds(0.4) is None  # nobody knows a CPU's peak


@pytest.mark.parametrize("room", [1_000, 5_123, 100_000, 2_000_000])
@pytest.mark.parametrize("first", [1, 8, 100])
def test_the_largest_batch_is_found_in_few_trials(room, first):
    tried = largest(lambda rows: 100 + 37 * rows, room=room, first=first)
    best = max((rows for rows, need in tried.items() if need <= room), default=0)
    assert best == pytest.approx((room - 100) // 37, rel=0.07, abs=1)
    assert len(tried) <= 8


def test_the_largest_batch_where_memory_is_no_line():
    def need(rows):
        return 500 + 30 * rows + 200 * (rows // 7) + (5_000 if rows > 40 else 0)

    tried = largest(need, room=6_000, first=2)
    best = max(rows for rows, bytes_ in tried.items() if bytes_ <= 6_000)
    assert best in (39, 40)
    assert largest(need, room=100, first=2) == {2: need(2), 1: need(1)}


@pytest.mark.parametrize(
    "message",
    [
        "XLA:TPU compile permanent error. Ran out of memory in memory space hbm. Used 67.28G of 15.75G hbm. Exceeded",
        "the total memory required for HLO temporaries (67.28G) exceeds available HBM (15.75G).",
    ],
)
def test_what_the_compiler_says_when_it_refuses(message):
    error = refusal(f"RESOURCE_EXHAUSTED: {message}")
    assert error.needed == pytest.approx(67.28 * 2**30)
    assert error.given == pytest.approx(15.75 * 2**30)
    assert "needs 67.28 GiB of a chip's 15.75 GiB" in str(error)
    assert refusal("INTERNAL: something else") is None


def test_what_the_compiler_means_by_another_memory():
    message = (
        "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory space sflag. "
        "Used 2.7K of 2.0K sflag. Exceeded sflag capacity by 720B."
    )
    assert refusal(message) is None
    assert "needs 2.7K of a chip's 2.0K of sflag" in str(other_refusal(message))
    assert other_refusal(message.replace("sflag", "hbm")) is None
    assert other_refusal("INTERNAL: something else") is None


def test_topologies_that_are_not_there():
    with pytest.raises(ValueError, match="cpu:9 asks for 9 devices, but there are 8"):
        chips("cpu:9")
    with pytest.raises(ValueError, match=r"v5e:3x7 (is no topology|needs the TPU compiler)"):
        chips("v5e:3x7")
    assert memory(jax.devices()[0]) is None


def test_a_program_is_traced_for_another_platform():
    with traced_for("tpu"):
        assert jax.default_backend() == "tpu"
        np.testing.assert_array_equal(jnp.ones(2), 1.0)
    assert jax.default_backend() == "cpu"
