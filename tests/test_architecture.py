"""Who may import whom."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = sorted((ROOT / "ldm_jax").rglob("*.py"))
LOWEST = {"models", "diffusion", "audio", "text"}
# What a part may import beside itself; a part that is not named may import everything but configs.
ALLOWED = {part: LOWEST for part in LOWEST} | {
    "distill": LOWEST,
    "parallel": set(),
    "shipped": set(),
    "convert": LOWEST | {"shipped"},
    "data": LOWEST | {"parallel", "convert"},
}
# A command that lies where users look for it, above the part that it is named after.
COMMANDS = {"parallel/plan.py"}


def imported(path):
    """Every module that a file names in an import, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", PACKAGE, ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows(path):
    where = path.relative_to(ROOT / "ldm_jax")
    part = "" if where.as_posix() in COMMANDS else where.parts[0]
    for name in imported(path):
        top, *rest = name.split(".")
        assert top not in ("configs", "torch", "diffusers", "tensorflow", "tests"), name
        if top == "ldm_jax" and rest and part in ALLOWED and (ROOT / "ldm_jax" / rest[0]).is_dir():
            assert rest[0] in ALLOWED[part] | {part}, name


def test_no_file_is_two_nouns():
    lengths = {path.name: len(path.read_text().splitlines()) for path in PACKAGE}
    assert {name: n for name, n in lengths.items() if n > 350} == {}
