"""A function that handles one event, and answers with the memory that its process has taken by then.

It runs in the process of an artifact, so it imports nothing else of the tests.
"""

import sys
from collections import Counter
from pathlib import Path
from typing import Any

from orchestrator.handler import lambda_handler as handle


def lambda_handler(event: Any, context: Any) -> dict[str, Any]:
    handle(event, context)
    return {"peakMegabytes": _peak(), "largest": _largest(10)}


def _peak() -> float:
    """Return the largest amount of memory that this process has had, in MB."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) / 1024


def _largest(count: int) -> list[str]:
    """Name the libraries with most code in the process: the bytecode and the machine code that have been imported."""
    imported: Counter[str] = Counter()
    for name, module in [*sys.modules.items()]:
        file = getattr(module, "__cached__", None) or getattr(module, "__file__", None)
        if file and Path(file).exists():
            imported[name.partition(".")[0]] += Path(file).stat().st_size
    return [f"{name}: {size / 1000:,.0f} KB" for name, size in imported.most_common(count)]
