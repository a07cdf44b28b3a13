"""Draws weightings and prints which noise levels training with them spends its loss on.

    python -m ldm_jax.train.draw_weightings min_snr:gamma=5 bsa:gamma=5,floor=1 -o weightings.png
    python -m ldm_jax.train.draw_weightings snr --density laplace:width=0.5 --prediction v
    python -m ldm_jax.train.draw_weightings bsa min_snr --students 100 25

The picture has the weight on the prediction's error and the effective density (weight on x0 times
probability, over log SNR). The tables have, for each band of log SNR, the probability that training draws it, and
the share that it has in each weighting's loss, for two denoisers: one whose x0 is as wrong at every level, and
the best one for latents that are independent standard normal numbers, whose squared error of x0 is 1 / (SNR + 1).
Progressive students are trained at the levels of their own grids, each as often: `--students` prints the shares there.
"""

import argparse
import math
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from ldm_jax.diffusion import bands, densities, objective, schedules, weightings
from ldm_jax.diffusion.objective import Objective
from ldm_jax.distill.grid import check_weights, loss_weights, progressive_grid

PerTimestep = Float64[np.ndarray, " timesteps"]
PerBand = Float64[np.ndarray, " bands"]
DEFAULT = ("uniform", "snr", "snr_plus_one", "truncated", "min_snr", "bsa", "debiased")


def loss_shares(of: Objective, x0_error: PerTimestep | float = 1.0) -> PerBand:
    """The part of the expected loss that falls in each of the objective's bands.

    p(t) w(t) e(t), summed over the timesteps of a band and divided by the sum over all.

    Args:
        of: weighting w of x0, density p, bands.
        x0_error: e, expected squared error of x0 at each timestep, up to a factor.
    """
    return bands.shares(of.effective * x0_error, of.schedule.log_snr, of.edges)


def gaussian_error(of: Objective) -> PerTimestep:
    """1 / (SNR + 1): the least squared error of x0 where latents are standard normal and independent."""
    return 1 - of.schedule.alphas_cumprod


def density_over_log_snr(of: Objective) -> PerTimestep:
    """The objective's effective density per unit of log SNR, at each timestep; 0 for pure noise."""
    return of.effective / -np.diff(densities.log_snr_cells(of.schedule))


def student_shares(of: Objective, steps: int) -> dict[str, float]:
    """Parts of a progressive student's loss, its x0 as wrong at every level of its grid; see `progressive_grid`.

    Args:
        of: schedule and weighting.
        steps: of the student.

    Returns:
        By name, the shares of the first level, from which it samples, and of those with SNR below 1 and above 5.

    Raises:
        ValueError: more steps than the schedule has timesteps, or fewer than one.
    """
    grid = progressive_grid(of.schedule, steps)
    check_weights(grid, of.weighting, "x0")
    weights = loss_weights(grid, of.weighting, "x0")[1:]
    shares, log_snr = weights / weights.sum(), grid.log_snr[1:]
    noisy, clean = log_snr < 0, log_snr > np.log(5)
    return {
        "first level": float(shares[-1]),
        f"SNR below 1 ({noisy.sum()})": float(shares[noisy].sum()),
        f"SNR above 5 ({clean.sum()})": float(shares[clean].sum()),
    }


def student_table(objectives: Mapping[str, Objective], steps: Sequence[int]) -> str:
    """A block of text for each number of steps, a column a weighting; how many levels a row stands for in brackets."""
    blocks = []
    for count in steps:
        found = {name: student_shares(one, count) for name, one in objectives.items()}
        columns = {name: np.array(list(shares.values())) for name, shares in found.items()}
        names = list(next(iter(found.values())))
        title = f"Share of the loss of a student of {count} steps, x0 as wrong at every level"
        blocks.append(_block(title, columns, names, heading="levels"))
    return "\n\n".join(blocks)


def table(objectives: Mapping[str, Objective]) -> str:
    """Three blocks of text: what is drawn, and the two kinds of shares, a column a weighting."""
    first = next(iter(objectives.values()))
    drawn = bands.shares(first.probabilities, first.schedule.log_snr, first.edges)
    blocks = {
        "Probability of the draws": {"": drawn},
        "Share of the loss, x0 as wrong at every level": {
            name: loss_shares(one) for name, one in objectives.items()
        },
        "Share of the loss, best denoiser of standard normal latents": {
            name: loss_shares(one, gaussian_error(one)) for name, one in objectives.items()
        },
    }
    return "\n\n".join(
        _block(title, columns, bands.labels(first.edges)) for title, columns in blocks.items()
    )


def _block(
    title: str,
    columns: Mapping[str, PerBand],
    names: Sequence[str],
    *,
    heading: str = "log SNR",
) -> str:
    rows = [[heading, *columns]]
    for number, name in enumerate(names):
        rows.append([name, *(_percent(column[number]) for column in columns.values())])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        )
        for row in rows
    ]
    return "\n".join([title, *(line.rstrip() for line in lines)])


def _percent(share: float) -> str:
    """Two decimals; of a small share, as many as two digits take, but six at most."""
    small = 5e-9 < share < 1e-3
    decimals = min(6, 1 - math.floor(math.log10(100 * share))) if small else 2
    return f"{100 * share:.{decimals}f} %"


def figure(objectives: Mapping[str, Objective]) -> Any:
    """A matplotlib figure: weight on the prediction's error, and effective density, over log SNR."""
    from matplotlib.figure import Figure  # slow to import

    drawn = Figure(figsize=(11, 4.6), layout="constrained")
    weight, density = drawn.subplots(1, 2)
    first = next(iter(objectives.values()))
    for number, (name, one) in enumerate(objectives.items()):
        finite = np.isfinite(one.schedule.log_snr)
        x = one.schedule.log_snr[finite]
        style = ("-", "--", ":")[number % 3]  # some lie on each other
        positive = np.where(one.weights > 0, one.weights, np.nan)
        weight.plot(x, positive[finite], style, label=name)
        density.plot(x, density_over_log_snr(one)[finite], style, label=name)
    weight.set_yscale("log")
    weight.set_title(f"weight on the squared error of {first.prediction}", fontsize=10, loc="left")
    density.set_title("effective density", fontsize=10, loc="left")
    for axes in (weight, density):
        for edge in first.edges:
            axes.axvline(edge, color="0.88", lw=1, zorder=0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlabel("log SNR (noise to the left)")
    density.set_ylim(bottom=0)
    density.legend(frameon=False, fontsize=8)
    return drawn


def parser() -> argparse.ArgumentParser:
    """Of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m ldm_jax.train.draw_weightings",
        description=(__doc__ or "").partition("\n")[0],
        epilog="A name takes options as name:option=value,option=value.",
    )
    add = made.add_argument
    add("weightings", nargs="*", metavar="weighting", default=list(DEFAULT),
        help=f"{', '.join(weightings.WEIGHTINGS)} (default: {' '.join(DEFAULT)})")  # fmt: skip
    add("--schedule", default="scaled_linear",
        help=f"{', '.join(schedules.SCHEDULES)} (default: %(default)s)")  # fmt: skip
    add(
        "--zero-terminal-snr", action="store_true", help="rescale the schedule to end in pure noise"
    )
    add("--density", default="uniform",
        help=f"{', '.join(densities.DENSITIES)} (default: %(default)s)")  # fmt: skip
    add("--prediction", choices=tuple(weightings.GAINS), default="eps", help="default: %(default)s")
    add("--edges", type=float, nargs="+", default=bands.EDGES, help="of the log-SNR bands")
    add("--students", type=int, nargs="+", default=[], metavar="STEPS",
        help="also prints the shares of the levels of progressive students of so many steps")  # fmt: skip
    add("-o", "--output", type=pathlib.Path, help="a .png, .pdf or .svg file to draw to")
    return made


def objectives_of(arguments: argparse.Namespace) -> dict[str, Objective]:
    """An objective for each weighting that the command line names.

    Raises:
        ValueError: a name, option or combination that there is not.
    """
    return {
        text: objective.configured(
            schedule=arguments.schedule,
            zero_terminal_snr=arguments.zero_terminal_snr,
            prediction=arguments.prediction,
            weighting=text,
            density=arguments.density,
            edges=tuple(arguments.edges),
        )
        for text in arguments.weightings
    }


def main(command: Sequence[str] | None = None) -> int:
    """Prints the table and draws the picture; 2 where what is asked for makes no sense."""
    arguments = parser().parse_args(command)
    try:
        objectives = objectives_of(arguments)
        blocks = [table(objectives), student_table(objectives, arguments.students)]
        print("\n\n".join(filter(None, blocks)))
        if arguments.output:
            figure(objectives).savefig(arguments.output, dpi=120)
            print(f"\n{arguments.output}")
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
