import jax
import numpy as np
import pytest

from ldm_jax.parallel.mesh import AXES, rows, training_mesh


def ids(mesh):
    return np.vectorize(lambda device: device.id)(mesh.devices)


@pytest.mark.parametrize(
    ("sizes", "shape"),
    [
        ({}, (8, 1, 1)),
        ({"fsdp": 4}, (2, 4, 1)),
        ({"fsdp": 2, "tensor": 2}, (2, 2, 2)),
        ({"data": 1, "fsdp": 8}, (1, 8, 1)),
        ({"fsdp": 2, "slices": 2}, (4, 2, 1)),
    ],
)
def test_neighbours_lie_along_the_later_axes(sizes, shape):
    mesh = training_mesh(**sizes)
    assert mesh.axis_names == AXES
    # Here devices are numbered in the order of the network; only `data` crosses to the second half.
    np.testing.assert_array_equal(ids(mesh), np.arange(8).reshape(shape))


def test_rows_are_divided_over_data_and_fsdp():
    x = jax.device_put(np.arange(16), rows(training_mesh(fsdp=2, tensor=2)))
    found = {shard.device.id: tuple(np.asarray(shard.data)) for shard in x.addressable_shards}
    quarters = [tuple(range(i, i + 4)) for i in range(0, 16, 4)]
    assert [found[i] for i in range(8)] == [quarters[i // 2] for i in range(8)]


class Chip:
    """What a mesh asks of a device."""

    platform, device_kind = "gpu", "imagined"

    def __init__(self, number, slice_index):
        self.id, self.process_index, self.slice_index = number, number // 4, slice_index


def test_no_copy_of_the_parameters_lies_in_two_slices():
    chips = [Chip(i, slice_index=i % 2) for i in range(16)]
    mesh = training_mesh(fsdp=4, slices=2, devices=chips)
    lie_in = np.vectorize(lambda chip: chip.slice_index)(mesh.devices)
    np.testing.assert_array_equal(lie_in[:, :, 0], [[0] * 4] * 2 + [[1] * 4] * 2)
    assert {chip.id for chip in mesh.devices.flat} == set(range(16))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"fsdp": 3}, "fsdp=3 times tensor=1 does not divide the 8 devices"),
        ({"data": 2, "fsdp": 2}, "has 4 devices, but there are 8; data=-1 takes all"),
        ({"data": 16}, "has 16 devices, but there are 8"),
        ({"fsdp": 0}, "fsdp must be 1 or more, not 0"),
        ({"data": -2}, "data must be 1 or more, or -1 for all that is left, not -2"),
        ({"fsdp": 8, "slices": 2}, "data=1 cannot be divided among 2 slices"),
    ],
)
def test_axes_that_do_not_fit(sizes, message):
    with pytest.raises(ValueError, match=message):
        training_mesh(**sizes)


def test_slices_that_are_not_there():
    with pytest.raises(ValueError, match="slices=4 was asked for, but the devices lie in 2"):
        training_mesh(slices=4, devices=[Chip(i, slice_index=i // 4) for i in range(8)])
