"""`train.py` in processes of its own, as a user runs it."""

import json
import os
import pathlib
import re
import subprocess
import sys
import time

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

ROOT = pathlib.Path(__file__).parents[2]
TOY = "tests/train/toy_config.py"


def command(config, run, *flags):
    return [sys.executable, "train.py", f"--config={config}", f"--workdir={run}", *flags]


def environment(data, *, devices=1):
    return os.environ | {
        "TOY_DATA": str(data),
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(devices),
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "ignore",
    }


def run_toy(run, data, *flags, devices=1, config=TOY, before=(), timeout=300):
    """Runs to the end, whatever that is."""
    env = environment(data, devices=devices)
    if config.startswith("configs/"):  # it trains for a while, which takes programs that are fast
        env.pop("XLA_FLAGS", None)
    return subprocess.run(
        [*before, *command(config, run, *flags)],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def interrupt(run, data, number, *flags, after, devices=1, arguments=None, child=None):
    """Starts it, sends the signal `number` after the step `after` and a first checkpoint; the exit code.

    `child` sends it to one of the processes that this one started.
    """
    process = subprocess.Popen(
        arguments or command(TOY, run, *flags),
        cwd=ROOT,
        env=environment(data, devices=devices),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until = time.monotonic() + 120
    while last_step(run) < after or not list(run.glob("checkpoints/0*[0-9]")):
        assert time.monotonic() < until, "no progress"
        assert process.poll() is None, "ended by itself"
        time.sleep(0.005)
    if child is None:
        process.send_signal(number)
    else:  # one of those that it started
        children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
        os.kill(int(children.split()[child]), number)
    return process.wait(timeout=60)


def lines(run):
    """The log's lines that have a loss, by step; of a step that was repeated the last."""
    out = {}
    path = pathlib.Path(run) / "log.jsonl"
    for text in path.read_text().splitlines() if path.exists() else ():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if "loss" in line or "model/loss" in line:
            out[line["step"]] = line
    return out


def last_step(run):
    return max(lines(run), default=0)


def final_state(run):
    """The newest checkpoint as NumPy arrays by path."""
    folders = sorted(p for p in (pathlib.Path(run) / "checkpoints").iterdir() if p.name.isdigit())
    path = str(folders[-1].absolute())
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    stored = dict(ocp.metadata(path).metadata)
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), stored)
    leaves = jax.tree_util.tree_leaves_with_path(ocp.load(path, abstract))
    return {jax.tree_util.keystr(where): np.asarray(x) for where, x in leaves}


def assert_same(one, other, *, rtol=0.0):
    """States equal, bit for bit by default; else up to `rtol` of the largest number of their kind.

    (A single bias' gradient may be a difference of large numbers.)
    """
    one, other = final_state(one), final_state(other)
    assert one.keys() == other.keys()
    for name, x in one.items():
        if rtol:
            kind = re.split(r"\['(?:line|rival)'\]", name)[0]
            scale = max(np.abs(y).max(initial=0) for at, y in one.items() if at.startswith(kind))
            assert np.abs(x - other[name]).max(initial=0) <= rtol * scale, name
        else:
            np.testing.assert_array_equal(x, other[name], err_msg=name)
