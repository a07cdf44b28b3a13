"""A training run on TPU slices that are not there: compiles its true step for them and prints what it would take.

python -m ldm_jax.parallel.plan --config=configs/base.py --topology=v5e:16x16
python -m ldm_jax.parallel.plan --config=configs/base.py --topology=v5e:4x4 --slices=2 --rows=32
python -m ldm_jax.parallel.plan --config=configs/base.py --topology=v6e:4x4 --fit --json=plan.json

It needs libtpu, the TPU's compiler, and no TPU, no data and no weights. What it says is the compiler's: that the
program compiles, what it keeps on a chip and what the chips send each other; not how fast it runs. `--topology=cpu:8`
compiles for eight virtual devices of this machine instead.
"""

import dataclasses
import json
import pathlib
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import jax
from absl import flags
from ml_collections import ConfigDict, config_flags

from ldm_jax.convert.native import describe
from ldm_jax.convert.random_checkpoint import TOKENIZERS, published
from ldm_jax.data.features import Arrays
from ldm_jax.models.audiomae import AudioMAE
from ldm_jax.parallel.mesh import replicated
from ldm_jax.parallel.planning import Plan, largest, plan
from ldm_jax.parallel.topology import TooLargeError, chips, memory, traced_for
from ldm_jax.train import examples
from ldm_jax.train.command import parse
from ldm_jax.train.config import Training
from ldm_jax.train.setting_up import setup
from ldm_jax.train.setup import Setup

CONFIG = config_flags.DEFINE_config_file("config", None, "a file of configs/")
TOPOLOGY = flags.DEFINE_string("topology", "v5e:4x4", "generation and shape of a slice, or cpu:N")
SLICES = flags.DEFINE_integer("slices", None, "how many; the config's mesh.slices where not given")
ROWS = flags.DEFINE_integer(
    "rows", None, "of the batch on each chip; the config's batch where not given"
)
FIT = flags.DEFINE_bool("fit", False, "find the largest batch that fits; compiles several times")
QUICK = flags.DEFINE_bool("quick", True, "let the compiler think less; overstates memory")
JSON = flags.DEFINE_string("json", None, "a file to write the plans to")


def plan_training(
    config: Training, topology: str, *, rows: int | None = None, quick: bool = True
) -> Plan:
    """The plan of a config's step on a topology, `config.mesh` laid over all its chips.

    Args:
        config: of the run; its data and weights are not read.
        topology: see `ldm_jax.parallel.topology.chips`.
        rows: of the batch on each chip that holds other rows than the next; None leaves `config.batch`.
        quick: see `planning.plan`.

    Raises:
        ValueError: whatever is wrong with config or topology.
        TooLargeError: it does not fit.
    """
    slices = config.mesh.slices
    found = chips(topology, slices=slices)
    if rows is not None:
        batch = rows * config.accumulation * (len(found) // config.mesh.tensor)
        config = dataclasses.replace(config, batch=batch)
    with tempfile.TemporaryDirectory() as folder, traced_for(found[0].platform):
        made = setup(_alone(config, pathlib.Path(folder)), devices=found, weightless=True)
        batch = made.abstract_batch(_nothing(made))
        state, held, frozen = made.abstract(batch)
        step = made.compiled(batch)
    key = jax.ShapeDtypeStruct((), made.key.dtype, sharding=replicated(made.mesh))
    return plan(
        step,
        (state, held, frozen, batch, key),
        mesh=made.mesh,
        rows=config.batch,
        slices=slices,
        quick=quick,
    )


def fitting(
    config: Training, topology: str, *, rows: int = 8, quick: bool = True
) -> list[Plan | TooLargeError]:
    """What was tried to find the largest batch; see `planning.largest`. The last `Plan` in it is not always the answer.

    Args:
        config: as in `plan_training`.
        topology: as there.
        rows: on each chip, to begin with.
        quick: as there; the answer is then on the safe side.

    Raises:
        ValueError: the topology's memory is not known.
    """
    room = memory(chips(topology, slices=config.mesh.slices)[0])
    if room is None:
        raise ValueError(f"how much memory {topology} has is not known; --fit is for TPUs")
    tried: list[Plan | TooLargeError] = []

    def need(rows: int) -> int:
        try:
            one = plan_training(config, topology, rows=rows, quick=quick)
            tried.append(one)
            _say(_line(one, topology))
        except TooLargeError as error:
            tried.append(error)
            _say(f"{rows} rows a chip: {error}")
        return tried[-1].needed

    largest(need, room=room, first=rows)
    return tried


def table(plans: Sequence[tuple[str, Plan]]) -> str:
    """A row for each (topology, plan), as Markdown."""
    head = (
        "| topology | mesh | rows | rows a chip | state, MiB | temporary, MiB | of, MiB | messages | sent, MiB"
        " | between slices, MiB | GFLOP a chip | step at 40 %, s |"
    )
    rule = "|" + "---|" * (head.count("|") - 1)
    return "\n".join([head, rule, *(_line(one, topology) for topology, one in plans)])


def _line(one: Plan, topology: str) -> str:
    mesh = " x ".join(str(size) for size in one.mesh.values())
    seconds = one.step_seconds(0.4)
    cells = [
        f"{one.slices} of {topology}" if one.slices > 1 else topology,
        mesh,
        one.rows,
        f"{one.rows * one.mesh['tensor'] / one.chips:g}",
        _mebibytes(one.arguments),
        _mebibytes(one.temporaries + one.results),
        "" if one.room is None else _mebibytes(one.room),
        ", ".join(
            f"{traffic.count} {kind.name} of {kind.devices}"
            for kind, traffic in one.traffic.items()
        ),
        _mebibytes(one.sent),
        _mebibytes(one.sent_between_slices),
        f"{one.flops / one.chips / 1e9:.0f}",
        "" if seconds is None else f"{seconds:.3g}",
    ]
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def to_json(one: Plan) -> dict[str, Any]:
    """A plan as plain values."""
    values = {field.name: getattr(one, field.name) for field in dataclasses.fields(one)}
    traffic = [
        {**kind._asdict(), "count": of.count, "bytes": of.bytes} for kind, of in one.traffic.items()
    ]
    return {**values, "mesh": dict(one.mesh), "traffic": traffic, "needed": one.needed}


def _alone(config: Training, folder: pathlib.Path) -> Training:
    """The config without files: what it leaves to a checkpoint is the published architecture; tokenisers are small."""
    known = {**published(), "audiomae": AudioMAE(decoder=None)}
    asked = config.networks.to_dict()
    architectures = {}
    for name in (*config.stage.trained(), *config.stage.frozen()):
        there = config.stage.kept_as().get(name, name)  # a teacher is made as its student
        if there in asked or there in known:
            architectures[name] = asked[there] if there in asked else describe(known[there])
    for name, write in TOKENIZERS.items():
        write(folder / name)
    return dataclasses.replace(
        config,
        networks=ConfigDict({**architectures, **asked}),
        checkpoint="",
        weights=ConfigDict(),
        data=dataclasses.replace(config.data, tokenizers=str(folder)),
        stage=_scaled(config.stage),
    )


def _scaled(stage: Any) -> Any:
    """With some scale of the latents, where encodings come without the VAE that has it."""
    if not getattr(stage, "encoded", False) or getattr(stage, "latent_scale", 1.0):
        return stage
    return dataclasses.replace(stage, latent_scale=1.0)


def _nothing(made: Setup) -> Arrays:
    """One row of what the run reads, as to shapes and types."""
    config, features = made.config, made.features
    if config.data.encoded:
        networks = {"vae": published()["vae"], **made.networks}
        return examples.encoded_batch_of_nothing(config, features, networks, rows=1)
    return examples.batch_of_nothing(config, features, rows=1)


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:.0f}"


def _say(text: str) -> None:
    print(text, flush=True)


def main() -> int:
    """0; 1 where the step does not fit; 2 with one sentence where something is wrong."""
    try:
        parse(sys.argv)
        if CONFIG.value is None:
            raise ValueError("give --config=configs/NAME.py")
        config, topology = CONFIG.value, TOPOLOGY.value
        if SLICES.value is not None:
            config.mesh.slices = SLICES.value
        if FIT.value:
            tried = fitting(config, topology, rows=ROWS.value or 8, quick=QUICK.value)
            plans = [one for one in tried if isinstance(one, Plan)]
            _say(
                table([(topology, max(plans, key=lambda one: one.rows))])
                if plans
                else "nothing fits"
            )
        else:
            plans = [plan_training(config, topology, rows=ROWS.value, quick=QUICK.value)]
            _say(table([(topology, plans[0])]))
        if JSON.value:
            pathlib.Path(JSON.value).write_text(
                json.dumps([to_json(one) for one in plans], indent=1) + "\n"
            )
        return 0 if plans else 1
    except TooLargeError as error:
        print(f"ldm_jax.parallel.plan: {error}", file=sys.stderr)
        return 1
    except (ValueError, OSError) as error:
        print(f"ldm_jax.parallel.plan: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    sys.exit(main())
