"""From a study to its folder: cells that are not done yet, then table and pictures."""

import json
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

from tqdm import tqdm

from ldm_jax.audio.files import whole_file
from ldm_jax.study import figures, report
from ldm_jax.study.cells import Cell, Measured, Results, cells_of
from ldm_jax.study.settings import RunStudy, Study, ToyStudy, by_name, check
from ldm_jax.study.table import Quantity, Table, table_of
from ldm_jax.train.config import to_json

# measure(cell) -> what was found, or None where a signal ended it.
Measure = Callable[[Cell], Sequence[Measured] | None]
# Fields that decide which cells there are, or how they are reported, but nothing within one.
FREE = ("weightings", "reference", "seeds", "methods", "primary", "batch_size", "backbone_folder")


def run(study: Study, folder: pathlib.Path) -> bool:
    """Measures what has not been measured yet, and writes the report.

    Returns:
        Whether all was measured; False where a signal ended a run. The same call goes on.

    Raises:
        ValueError: an impossible study, or a folder that holds another one; in one sentence.
        OSError: the folder cannot be written.
    """
    check(study)
    folder.mkdir(parents=True, exist_ok=True)
    _same_study(study, folder)
    results = Results(folder)
    cells, measure = _cells(study), _measurer(study, folder)
    waiting = [cell for cell in cells if cell not in results]
    with tqdm(total=len(waiting), unit="cell", disable=not sys.stderr.isatty()) as bar:
        for cell in waiting:
            bar.set_description(cell.folder)
            measured = measure(cell)
            if measured is None:
                return False
            results.add(cell, measured)
            bar.update()
    table = table_of(study, results, quantities(study))
    write(study, table, folder)
    print("\n".join(report.summary(table)))
    print(f"written to {folder}")
    return True


def write(study: Study, table: Table, folder: pathlib.Path) -> None:
    """`table.md`, `table.json`, `quality.png`, `errors.png`, `weightings.png`."""
    toy = isinstance(study, ToyStudy)
    title = "Weightings on a mixture of Gaussians" if toy else "Weightings"
    text = report.markdown(table, title=title, notes=[_settings_text(study)])
    content = json.dumps({"study": to_json(study), **report.as_json(table)}, indent=1) + "\n"
    for name, written in (("table.md", text), ("table.json", content)):
        with whole_file(folder / name) as temporary:
            temporary.write_text(written)
    drawn = {
        "quality": figures.quality(table),
        "errors": figures.errors(table),
        "weightings": figures.curves(by_name(study), _schedule(study)),
    }
    for name, figure in drawn.items():
        with whole_file(folder / f"{name}.png") as temporary:
            figure.savefig(temporary, dpi=120, format="png")


def quantities(study: Study) -> tuple[Quantity, ...]:
    """What is measured."""
    if isinstance(study, ToyStudy):
        from ldm_jax.study import toy

        return toy.QUANTITIES
    assert isinstance(study, RunStudy)
    from ldm_jax.study import runs

    return runs.quantities(study)


def _cells(study: Study) -> list[Cell]:
    """Bounds first, and before the cells of a seed its teacher's."""
    cells = cells_of(study)
    if isinstance(study, RunStudy):
        return [*([Cell("teacher")] if study.teacher else []), *cells]
    teachers = [Cell("teacher", "", seed) for seed in range(study.seeds)]
    return [Cell("bounds"), *sorted([*teachers, *cells], key=lambda cell: cell.seed)]


def _measurer(study: Study, folder: pathlib.Path) -> Measure:
    if isinstance(study, ToyStudy):
        from ldm_jax.study.toy import Toy

        return Toy(study).measure
    assert isinstance(study, RunStudy)
    from ldm_jax.study.runs import Runs

    return Runs(study, folder).measure


def _same_study(study: Study, folder: pathlib.Path) -> None:
    """Writes `study.json`; raises ValueError where it says otherwise."""
    path = folder / "study.json"
    told = {name: value for name, value in _plain(study).items() if name not in FREE}
    if path.exists():
        before = json.loads(path.read_text())
        for name in told.keys() | before.keys():
            if told.get(name) != before.get(name):
                raise ValueError(
                    f"{folder} holds a study whose {name} is {before.get(name)}, and this one's is {told.get(name)}; "
                    "choose another folder"
                )
        return
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(told, indent=2) + "\n")


def _plain(study: Study) -> dict[str, Any]:
    return json.loads(json.dumps({"kind": type(study).__name__, **to_json(study)}))


def _settings_text(study: Study) -> str:
    names = (name for name in _plain(study) if name not in (*FREE, "progressive", "consistency"))
    told = _plain(study)
    return f"`{'; '.join(f'{name} {told[name]}' for name in names)}`"


def _schedule(study: Study) -> str:
    if isinstance(study, ToyStudy):
        return study.schedule
    assert isinstance(study, RunStudy)
    stages = (run.stage for run in study.runs().values())
    return next((stage.schedule for stage in stages if stage.schedule), "scaled_linear")
