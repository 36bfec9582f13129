"""Prints the results of `make bench` as README's tables.

    python -m tests.benchmarks.summary build

A benchmark that left no file in this folder, such as that of the reference service without npm, is left out.
"""

import argparse
import json
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

_OURS, _REFERENCE = "ours", "the reference service"
_EMPTY = "a consumer that does nothing"


def result(folder: Path, benchmark: str) -> Any:
    """Return what a benchmark left, or `None`."""
    file = folder / f"{benchmark}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def times(folder: Path) -> dict[str, dict[str, float]]:
    """Return the time of each subject, by what was measured; in each, ours is the first."""
    cold, warm = result(folder, "cold-start"), result(folder, "warm")
    provisioning, reference = result(folder, "end-to-end"), result(folder, "reference")
    measured: dict[str, dict[str, float]] = {}
    if cold:
        measured["cold start to the first job"] = {name: row[0] for name, row in cold["medians"].items()}
    if warm:
        measured["warm event, a consumer that does nothing"] = warm["microseconds"][_EMPTY]
    if provisioning:
        rows = provisioning["medians"]
        measured["warm provisioning event"] = {name: row["total"] for name, row in rows.items()}
    if reference:
        for title, figure in (("process start to the first event", "first"), ("warm event, each on its own", "event")):
            measured[title] = _medians(reference, figure)
    return {title: _ours_first(rows) for title, rows in measured.items() if _OURS in rows}


def _ours_first(rows: Mapping[str, float]) -> dict[str, float]:
    return {_OURS: rows[_OURS], **rows}


def _medians(rows: Mapping[str, Sequence[Mapping[str, float]]], figure: str) -> dict[str, float]:
    return {name: statistics.median(row[figure] for row in taken) for name, taken in rows.items()}


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table."""
    for row in (header, ["---"] * len(header), *rows):
        yield f"| {' | '.join(row)} |"
    yield ""


def cold_start(found: Any) -> Iterator[str]:
    """Yield the table of cold starts."""
    medians, sizes = found["medians"], found["zipped"]
    base = medians[_OURS][0]
    rows = [
        [
            name,
            f"{row[0]:,.0f}",
            _ratio(name, base, row[0]),
            f"{row[1]:.0f} MB",
            f"{sizes[name] / 1e6:.1f} MB" if name in sizes else "",
        ]
        for name, row in medians.items()
    ]
    yield from table(["artifact", "ms", "ours / it", "peak memory", "zipped"], rows)


def warm(found: Any) -> Iterator[str]:
    """Yield the tables of warm events: the comparison, then a row for each way in which ours grows."""
    compared, *grown = found["microseconds"].items()
    first = next(iter(compared[1].values()))
    rows = [
        [name, f"{time:,.0f}", "" if number == 0 else f"{time / first:.2f}"]
        for number, (name, time) in enumerate(compared[1].items())
    ]
    yield from table(["handler", "µs", "it / the first"], rows)
    grown_rows = [
        [f"{group.removeprefix('ours, ')}: {', '.join(each)}", ", ".join(f"{time:,.0f}" for time in each.values())]
        for group, each in grown
    ]
    yield from table(["ours, as it grows", "µs"], grown_rows)
    yield f"Memory of an event with a detail of 250 KB: {found['copies']:.2f} times its size."
    yield ""


def provisioning(found: Any) -> Iterator[str]:
    """Yield the table of provisioning events."""
    medians = found["medians"]
    base = medians[_OURS]["total"]
    rows = [
        [name, f"{row['total']:.1f}", _ratio(name, base, row["total"]), f"{row['sdk']:.1f}", f"{row['own']:.1f}",
         f"{row['requests']:.0f}"]
        for name, row in medians.items()
    ]  # fmt: skip
    yield from table(["handler", "ms", "ours / it", "of that in the SDK", "its own", "requests"], rows)
    elapsed, processor = found["batch"]
    yield f"A batch of 100: {elapsed:.2f} s, the processor busy for {processor:.2f} s."
    yield ""


def reference(found: Any) -> Iterator[str]:
    """Yield the table of the reference service."""
    first, event, memory = (_medians(found, figure) for figure in ("first", "event", "memory"))
    rows = [[name, f"{first[name]:,.0f} ms", f"{event[name]:,.0f} µs", f"{memory[name]:.0f} MB"] for name in found]
    ratios = [f"{figures[_OURS] / figures[_REFERENCE]:.2f}" for figures in (first, event, memory)]
    header = ["", "process start to first event", "warm event", "peak memory by then"]
    yield from table(header, [*rows, ["ours / it", *ratios]])


def _ratio(name: str, ours: float, its: float) -> str:
    return "" if name == _OURS else f"{ours / its:.2f}"


_SECTIONS = {
    "cold-start": ("Cold start", cold_start),
    "warm": ("A warm event", warm),
    "reference": ("The reference service", reference),
    "end-to-end": ("A provisioning event", provisioning),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Print the results as README's tables.")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args(arguments).folder
    for name, (title, section) in _SECTIONS.items():
        found = result(folder, name)
        if found:
            print(f"## {title}", "", *section(found), sep="\n")


if __name__ == "__main__":
    main()
