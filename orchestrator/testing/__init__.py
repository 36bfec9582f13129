"""Helps to test consumers. It creates events and contexts, and records the actions that consumers return.

>>> from orchestrator import Event, Registry, StartJob
>>> from orchestrator.testing import Recorded, RecordingDispatcher, make_event
>>> registry = Registry()
>>> @registry.consumer("TENANT_SUSPENDED")
... def scale_down(event: Event) -> StartJob:
...     return StartJob(name="scale-down")
>>> recorded = RecordingDispatcher(registry).dispatch(make_event("TENANT_SUSPENDED"))
>>> recorded == [Recorded(consumer="scale_down", action=StartJob(name="scale-down"))]
True
"""

from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.memory import MemoryRecords
from orchestrator.local.lambda_context import LocalContext
from orchestrator.testing.context import MemoryTenants, make_context
from orchestrator.testing.dispatcher import Recorded, RecordingDispatcher
from orchestrator.testing.events import TENANT, make_detail, make_event

__all__ = [
    "TENANT",
    "Ledger",
    "LocalContext",
    "MemoryRecords",
    "MemoryTenants",
    "Recorded",
    "RecordingDispatcher",
    "make_context",
    "make_detail",
    "make_event",
]
