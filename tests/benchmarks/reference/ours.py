"""Runs our handler with an empty consumer, with the same input and output as `theirs.js`.

python -m tests.benchmarks.reference.ours EVENT_FILE
"""

import contextlib
import json
import os
import sys
import time
from pathlib import Path

from orchestrator import Event, Registry, create_handler
from orchestrator.local.lambda_context import LocalContext


def main() -> None:
    """Print a line after the first event; then, for each number of events read from stdin, the microseconds of one."""
    event = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    registry, context, figures = Registry(), LocalContext(), sys.stdout

    @registry.consumer(event["detail-type"])
    def nothing(event: Event) -> None:
        return None

    handler = create_handler(registry)
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        handler(event, context)
        print("ready", file=figures, flush=True)
        for line in sys.stdin:
            begin = time.perf_counter()
            for _ in range(int(line)):
                handler(event, context)
            print((time.perf_counter() - begin) / int(line) * 1e6, file=figures, flush=True)


if __name__ == "__main__":
    main()
