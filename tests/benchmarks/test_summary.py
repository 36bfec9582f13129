"""What the benchmarks left in a folder becomes README's tables, and the ratios of its drawing."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import summary

RESULTS: dict[str, Any] = {
    "cold-start": {"medians": {"ours": [400, 51], "ten lines": [200, 49]}, "zipped": {"ours": 7_700_000}},
    "warm": {
        "microseconds": {
            "a consumer that does nothing": {"the floor": 100, "ours": 150},
            "ours, registered consumers": {"10": 151, "100": 152},
        },
        "copies": 1.05,
    },
    "end-to-end": {
        "medians": {
            "ours": {"total": 8.0, "sdk": 7.0, "own": 1.0, "requests": 4},
            "ten lines": {"total": 4.0, "sdk": 3.9, "own": 0.1, "requests": 3},
        },
        "batch": [1.5, 0.9],
    },
    "reference": {
        "ours": [{"first": 500, "memory": 36, "event": 180}],
        "the reference service": [{"first": 1500, "memory": 144, "event": 900}],
    },
}


def write(folder: Path, *benchmarks: str) -> None:
    for name in benchmarks:
        (folder / f"{name}.json").write_text(json.dumps(RESULTS[name]))


def test_each_result_becomes_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, *RESULTS)

    summary.main([str(tmp_path)])

    printed = capsys.readouterr().out
    for line in (
        "| ours | 400 |  | 51 MB | 7.7 MB |",
        "| ten lines | 200 | 2.00 | 49 MB |  |",
        "| ours | 150 | 1.50 |",
        "| registered consumers: 10, 100 | 151, 152 |",
        "| ten lines | 4.0 | 2.00 | 3.9 | 0.1 | 3 |",
        "| ours / it | 0.33 | 0.20 | 0.25 |",
    ):
        assert line in printed


def test_a_benchmark_without_a_result_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, "warm")

    summary.main([str(tmp_path)])

    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("#")] == ["## A warm event"]
    assert list(summary.times(tmp_path)) == ["warm event, a consumer that does nothing"]


def test_ours_is_the_first_of_each_comparison(tmp_path: Path) -> None:
    write(tmp_path, *RESULTS)

    measured = summary.times(tmp_path)

    assert [next(iter(rows)) for rows in measured.values()] == ["ours"] * 5
    assert measured["warm event, a consumer that does nothing"] == {"ours": 150, "the floor": 100}
    assert measured["process start to the first event"] == {"ours": 500, "the reference service": 1500}
