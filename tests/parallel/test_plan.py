import dataclasses
import json

import jax
import pytest
from ml_collections import ConfigDict

from ldm_jax.convert.checkpoint import abstract_params
from ldm_jax.convert.random_checkpoint import tiny
from ldm_jax.parallel.plan import _alone, plan_training, table, to_json
from ldm_jax.parallel.topology import _installed
from ldm_jax.train import examples
from ldm_jax.train.config import Data, Mesh, Training, architectures
from ldm_jax.train.representation import flat
from ldm_jax.train.setting_up import setup
from ldm_jax.train.stages.guided import GuidedStage
from ldm_jax.train.stages.progressive import ProgressiveStage
from ldm_jax.train.stages.translator import TranslatorStage
from tests.train.toy import Fit, Line

CONFIG = Training(
    name="planned",
    stage=Fit(),
    networks=ConfigDict({"line": Line()}),
    batch=16,
    data=Data(prepared=("nowhere",), seconds=0.64),
)
PARAMETERS = 8192 + 64 + 1
FRAME = 64 * 4  # bytes of a row's 64 mels


def with_mesh(**sizes):
    return dataclasses.replace(CONFIG, mesh=Mesh(**sizes))


@pytest.fixture(scope="module")
def planned():
    return plan_training(CONFIG, "cpu:8")


def test_neither_data_nor_weights_are_read(planned):
    assert (planned.rows, planned.chips, dict(planned.mesh)) == (
        16,
        8,
        {"data": 8, "fsdp": 1, "tensor": 1},
    )
    # Parameters, their average and two moments, each in float32; two rows of 64 frames.
    assert planned.arguments == pytest.approx(4 * 4 * PARAMETERS + 2 * 64 * FRAME, abs=500)
    # Forward, and backward for the kernel alone: 64 products a row each.
    assert planned.flops == 2 * (2 * 16 * 64)
    assert {kind.name for kind in planned.traffic} == {"all-reduce"}


def test_the_table_has_a_row_a_plan(planned):
    head, rule, row = table([("cpu:8", planned)]).splitlines()
    assert head.count("|") == rule.count("|") == row.count("|")
    assert row.startswith("| cpu:8 | 8 x 1 x 1 | 16 | 2 | 0 | ")
    stored = json.loads(json.dumps(to_json(planned)))
    assert stored["needed"] == planned.needed
    assert sum(one["bytes"] for one in stored["traffic"]) == planned.sent


@pytest.mark.parametrize("stage", [GuidedStage, ProgressiveStage])
def test_a_teacher_is_as_its_student(stage, tmp_path):
    """Of its shapes, cut among the devices as it is, an argument of the step; without the student's new input."""
    networks = {name: tiny()[name] for name in ("unet", "vae", "t5")}
    networks["unet"] = networks["unet"].clone(cross_attention_dims=(48,))
    config = dataclasses.replace(
        with_mesh(fsdp=4),
        stage=stage(contexts=("text",)),
        networks=architectures(**networks),
        steps=3,
    )
    made = setup(_alone(config, tmp_path), devices=jax.devices(), weightless=True)
    batch = examples.batch_of_nothing(made.config, made.features, rows=1)
    state, _, frozen = made.abstract(made.abstract_batch(batch))
    theirs, own = flat({**frozen, **state.followers}["teacher"]), flat(state.params["unet"])
    added = {path.split("/")[0] for path in own.keys() - theirs.keys()}
    assert added == ({"guidance_embedding"} if stage is GuidedStage else set())
    cut = 0
    for path, leaf in theirs.items():
        assert (leaf.shape, leaf.sharding) == (own[path].shape, own[path].sharding), path
        cut += "fsdp" in leaf.sharding.spec
    assert cut > 10


def test_rows_a_chip_make_the_batch():
    found = plan_training(with_mesh(fsdp=2, tensor=2), "cpu:8", rows=3)
    assert found.rows == 3 * 4


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (with_mesh(fsdp=3), "fsdp=3 times tensor=1 does not divide the 8 devices"),
        (
            dataclasses.replace(CONFIG, batch=12),
            "batch of 12 cannot be divided among the 8 devices",
        ),
    ],
)
def test_what_does_not_divide_is_said_before_anything_compiles(config, message):
    with pytest.raises(ValueError, match=message):
        plan_training(config, "cpu:8")


def test_a_step_on_encodings_is_planned_without_the_networks_that_made_them():
    networks = {name: tiny()[name] for name in ("gpt2", "translator")}
    config = Training(
        name="encoded",
        stage=TranslatorStage(encoded=True, loa_grid=(16, 4)),
        networks=architectures(**networks),
        data=Data(prepared=("nowhere",), encoded=True, seconds=0.64),
    )
    found = plan_training(config, "cpu:8", rows=1)
    clap, text = networks["translator"].stream_dims
    # LOA of 64 patches and 128 tokens of a caption in float16, a mask, CLAP's vector.
    row = 2 * (64 * networks["gpt2"].n_embd + 128 * text) + 128 + 4 * clap
    trees = {name: abstract_params(one) for name, one in networks.items()}
    del trees["gpt2"]["wte"]  # takes no part
    parameters = sum(x.size for x in jax.tree.leaves(trees))
    assert found.arguments == pytest.approx(4 * 4 * parameters + row, abs=100)


@pytest.mark.skipif(not _installed(), reason="libtpu is not installed")
@pytest.mark.parametrize("slices", [1, 2])
def test_a_tpu_slice_that_is_not_there(slices):
    found = plan_training(with_mesh(slices=slices), "v5e:2x2", rows=2)
    assert (found.chips, found.rows, found.chip) == (4 * slices, 8 * slices, "TPU v5 lite")
    assert found.room == round(15.75 * 2**30)
    assert found.needed < found.room
    assert (found.sent_between_slices > 0) == (slices == 2)
    assert found.step_seconds(0.5) == pytest.approx(found.flops / found.chips / 197e12 / 0.5)
