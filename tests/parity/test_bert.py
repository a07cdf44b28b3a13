"""BERT against transformers."""

import pytest

from ldm_jax.convert import bert as convert_bert
from ldm_jax.convert import rules
from ldm_jax.convert.checkpoint import abstract_params
from ldm_jax.convert.random_checkpoint import random_params
from tests import cases_bert as cases
from tests.golden import FLOAT32_BOUND, FLOAT64_BOUND, random_tensors, relative_error
from tests.models.test_bert import run
from tests.parity import oracle_bert as oracle


@pytest.mark.parametrize(
    ("dtype", "bound"), [("float32", FLOAT32_BOUND), ("float64", FLOAT64_BOUND)]
)
def test_states(dtype, bound):
    inputs = cases.inputs()
    theirs = oracle.run(cases.TINY, random_tensors(oracle.shapes(cases.TINY)), inputs)["states"]
    assert 0.2 < theirs.std() < 5
    ours = run(inputs, dtype=dtype)
    assert relative_error(ours[inputs["mask"]], theirs[inputs["mask"]]) < bound


def test_export_loads_in_the_peer():
    """Our config and names give the peer the same network: strict names, its own shapes."""
    module = convert_bert.from_config(cases.PUBLISHED)
    params = random_params(module, name="t5", seed=0)
    exported = rules.export(params, convert_bert.TRANSFORMERS, network="t5")
    shapes = oracle.shapes(convert_bert.to_config(module))
    assert {name: x.shape for name, x in exported.items()} == shapes
    back = rules.convert(exported, convert_bert.TRANSFORMERS, abstract_params(module), network="t5")
    assert back.keys() == params.keys()
