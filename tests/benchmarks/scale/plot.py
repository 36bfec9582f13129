"""Plots the result of a simulated burst; only this needs matplotlib."""

import bisect
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot

from tests.benchmarks.scale.assumptions import Burst
from tests.benchmarks.scale.outcome import Outcome
from tests.benchmarks.scale.report import duration

_LONGEST = 14 * 86400


def plot(outcomes: Mapping[tuple[int, str], Outcome], burst: Burst, file: Path) -> None:
    """Plot the number of events that were tried, and of those whose job was started, over time."""
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "scale"  # the same drawing each time
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.8), sharey=True, layout="constrained")
    for axis, mode in zip(axes, ("direct", "buffered, concurrency 10"), strict=True):
        for (builds, name), outcome in outcomes.items():
            if name == mode:
                times, counts = _steps(outcome.started)
                color = axis.plot(times, counts, label=f"started, {builds:,} builds at once")[0].get_color()
                axis.annotate(
                    f"{counts[-1]:,}", (times[-1], counts[-1]), (-4, 4), textcoords="offset points", ha="right"
                )
                label = f"tried, {builds:,} builds at once"
                axis.plot(*_steps(outcome.first_tries), color=color, linestyle=":", label=label)
        axis.set(title=mode.capitalize(), xlabel="time", xscale="log", yscale="log")
        axis.set(xlim=(1, _LONGEST), ylim=(10, burst.tenants * 2))
        axis.set_xticks([1, 60, 3600, 86400, 7 * 86400], ["1 s", "1 min", "1 h", "1 d", "7 d"])
        axis.set_yticks([10, 100, 1000, 10_000], ["10", "100", "1,000", "10,000"])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("events so far")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize="small")
    figure.suptitle(f"{burst.tenants:,} events at once, builds of {duration(burst.build_seconds)}")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Date": None})


def _steps(times: Sequence[float], points: int = 200) -> tuple[list[float], list[int]]:
    """Thin out the times at which a count grew, evenly along a logarithmic axis."""
    ordered = sorted(times)
    marks = [_LONGEST ** (point / points) for point in range(points + 1)]
    return marks, [bisect.bisect(ordered, mark) for mark in marks]
