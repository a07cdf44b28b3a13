"""What is kept with a run so that it can be understood and repeated: config, versions, the state of the code."""

import importlib.metadata
import json
import pathlib
import platform
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax

import ldm_jax
from ldm_jax.audio.files import whole_file
from ldm_jax.diffusion.distilled import Distilled
from ldm_jax.train.config import Training, to_json

_PACKAGES = ("ldm_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "grain")


def describe(
    config: Training,
    networks: dict[str, Any],
    trained: tuple[str, ...],
    sampled: tuple[dict[str, Any], ...],
) -> dict[str, Any]:
    """The config with every default, the networks as they are, versions, devices and the code's git state.

    Args:
        config: of the run.
        networks: descriptions of all networks, as `convert.native.describe` makes them.
        trained: which of them are trained.
        sampled: as of `Stage.sampled`, after each round.
    """
    return {
        "config": {**to_json(config), "networks": to_json(networks)},
        "trained": list(trained),
        "sampled": to_json(sampled[-1]),
        **({"rounds": to_json(sampled)} if len(sampled) > 1 else {}),
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in _PACKAGES},
        },
        "devices": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "processes": jax.process_count(),
        "git": git_state(),
        "command": sys.argv,
    }


def sampled(
    config: Training, networks: Mapping[str, nn.Module], *, round: int = -1
) -> dict[str, Any]:
    """What the stage decides (`Stage.sampled`), and the length of clips where it trains what draws them."""
    told = config.stage.sampled(networks, round=round)
    return {**told, "seconds": config.data.seconds} if told else {}


def sampled_after(about: dict[str, Any], step: int) -> dict[str, Any]:
    """How what a run has trained is to be sampled after so many steps: fields of `convert.checkpoint.Checkpoint`."""
    rounds = about.get("rounds") or [about["sampled"]]
    length = int(about["config"].get("steps", step)) // len(rounds)
    told = dict(rounds[min(max(step - 1, 0) // max(length, 1), len(rounds) - 1)])
    if told.get("distilled"):
        told["distilled"] = Distilled.from_json(told["distilled"])
    return told


def git_state() -> dict[str, Any] | None:
    """Commit and whether files differ from it; None outside a git checkout."""
    root = pathlib.Path(ldm_jax.__file__).parents[1]

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return {
            "commit": git("rev-parse", "HEAD"),
            "changed": git("status", "--porcelain", "--untracked-files=no").splitlines(),
        }
    except (OSError, subprocess.CalledProcessError):
        return None


def write(run: pathlib.Path, about: dict[str, Any]) -> None:
    """To `run.json`; what a run was before it was continued goes to `run-1.json` and so on where it differs."""
    path = run / "run.json"
    text = json.dumps(about, indent=2) + "\n"
    if path.exists():
        if path.read_text() == text:
            return
        number = 1 + len(list(run.glob("run-*.json")))
        path.rename(run / f"run-{number}.json")
    with whole_file(path) as temporary:
        temporary.write_text(text)


def read(run: pathlib.Path) -> dict[str, Any]:
    """What `write` wrote.

    Raises:
        ValueError: the folder holds no run.
    """
    try:
        return json.loads((run / "run.json").read_text())
    except FileNotFoundError:
        raise ValueError(f"{run} is not the folder of a run: it holds no run.json") from None
    except ValueError as error:
        raise ValueError(f"{run / 'run.json'} cannot be read ({error})") from None


def check(run: pathlib.Path, about: dict[str, Any]) -> list[str]:
    """Whether the run in a folder can go on as `about`; sentences on what it will do differently from now on.

    Raises:
        ValueError: the folder holds a run of another stage, of other networks or of other rounds.
    """
    if not (run / "run.json").exists():
        return []
    earlier = read(run)
    before, now = earlier["config"], about["config"]
    kind = before["stage"].get("class")
    if kind != now["stage"]["class"]:
        raise ValueError(
            f"{run} holds a run of {kind}, and this is {now['stage']['class']}; choose another folder"
        )
    if (then := earlier["trained"]) != about["trained"]:
        raise ValueError(
            f"{run} holds a run that trains {', '.join(then)}, and this one trains {', '.join(about['trained'])}; "
            "choose another folder"
        )
    for name, network in now["networks"].items():
        then = before["networks"].get(name)
        if name in about["trained"] and then is not None and then != network:
            field = next(key for key in network if network[key] != then.get(key))
            raise ValueError(
                f"{run} holds a run whose {name} has {field} = {then.get(field)}, and this one has "
                f"{network[field]}; choose another folder"
            )
    if (then := _rounds(earlier)) != (new := _rounds(about)):
        raise ValueError(
            f"{run} holds a run of {then[0]} steps in {len(then[1])} rounds, and this is one of {new[0]} in "
            f"{len(new[1])}{' that are others' if then[0] == new[0] else ''}: its rounds would begin at other steps, "
            "or end with other students; choose another folder"
        )
    return [
        f"goes on with {path} = {new}, which was {old}"
        for path, old, new in _differences(before, now)
        if not path.startswith(("networks.", "every.", "tensorboard", "profile"))
    ]


def _rounds(about: dict[str, Any]) -> tuple[int, list[Any]]:
    """(steps, what each round makes) of a run of several rounds; (0, []) of another, which may change its steps."""
    rounds = about.get("rounds") or []
    return int(about["config"]["steps"]) if rounds else 0, rounds


def _differences(one: Any, other: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return [] if one == other else [(path, one, other)]
    return [
        found
        for name in sorted(one.keys() | other.keys())
        for found in _differences(
            one.get(name), other.get(name), f"{path}.{name}" if path else name
        )
    ]
