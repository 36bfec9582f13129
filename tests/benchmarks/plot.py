"""Plots the results of `make bench` as ratios; only this needs matplotlib.

python -m tests.benchmarks.plot build bench.svg
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot

from tests.benchmarks.summary import times

_OURS, _OTHERS = "#1f77b4", "#b0b7bf"


def plot(measured: Mapping[str, Mapping[str, float]], file: Path) -> None:
    """Plot each subject's time as a multiple of ours, a panel for each measurement."""
    mpl.use("svg")
    mpl.rcParams["svg.fonttype"] = "none"  # text stays text, which makes the file small
    mpl.rcParams["svg.hashsalt"] = "bench"  # the same drawing each time
    heights = [len(rows) + 0.8 for rows in measured.values()]
    figure, axes = pyplot.subplots(
        len(measured), 1, figsize=(9, 0.34 * sum(heights) + 0.6), squeeze=False, layout="constrained",
        sharex=True, height_ratios=heights,
    )  # fmt: skip
    for axis, (title, rows) in zip(axes[:, 0], measured.items(), strict=True):
        ratios = [time / next(iter(rows.values())) for time in rows.values()]
        bars = axis.barh(list(rows), ratios, color=[_OURS, *[_OTHERS] * (len(rows) - 1)])
        axis.bar_label(bars, [f"{ratio:.2f}" for ratio in ratios], padding=3, fontsize="small")
        axis.axvline(1, color=_OURS, linewidth=0.8)
        axis.set_title(title, loc="left", fontsize="medium")
        axis.invert_yaxis()
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(x=0.1)
    axes[-1, 0].set_xlabel("time, as a multiple of ours (shorter is faster)")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Date": None})


def main(arguments: Sequence[str] | None = None) -> None:
    """Plot what the benchmarks left in a folder."""
    parser = argparse.ArgumentParser(description="Plot the results of the benchmarks.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("file", type=Path)
    options = parser.parse_args(arguments)
    plot(times(options.folder), options.file)


if __name__ == "__main__":
    main()
