"""Lambda SnapStart: what must not be the same in every environment that one snapshot is restored to.

https://docs.aws.amazon.com/lambda/latest/dg/snapstart-runtime-hooks-python.html
"""

import importlib
import os
import random


def prepare() -> None:
    """Register what runs before a snapshot and after its restore; without SnapStart, nothing.

    Clients, credentials and caches need no hook: they are made with the first event, which comes after the
    restore. Pauses between tries are drawn with Python's random numbers, which must differ between environments.
    """
    if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") != "snap-start":
        return
    from snapshot_restore_py import register_after_restore, register_before_snapshot

    register_before_snapshot(_import_what_events_need)
    register_after_restore(random.seed)


def _import_what_events_need() -> None:
    # Left to the first event otherwise, because not each function needs it; in a snapshot it costs no start.
    importlib.import_module("boto3.dynamodb.types")
