"""Runs the consumers of an event side by side."""

import contextvars
import threading
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from orchestrator.consumer import Consumer, Context
from orchestrator.dispatch.turn import ConsumerResult, Turn
from orchestrator.event import Event
from orchestrator.ledger.ledger import Ledger, Records
from orchestrator.performers.performer import Performers

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

_MAX_SIDE_BY_SIDE = 32


class Dispatcher:
    """Runs the consumers of an event. If there are several, they run in threads, which are kept for later events.

    Attributes:
        performers: The objects that perform the consumers' actions, by the actions' classes.
    """

    def __init__(self, performers: Performers, ledger: Ledger, records: Records) -> None:
        self.performers = performers
        self._ledger = ledger
        self._records = records
        self._threads: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()

    def dispatch(
        self, event: Event[Mapping[str, Any]], consumers: Iterable[Consumer], context: Context
    ) -> list[ConsumerResult]:
        """Run every consumer that accepts the event, and perform the actions that the consumers return.

        A consumer accepts the event if its condition `when` is true. If a consumer fails, the other consumers still
        run.

        Args:
            event: The event.
            consumers: Consumers of the event's type.
            context: The context that the consumers receive.

        Returns:
            One result for each consumer that accepted the event, and for each consumer whose check of the event failed.
            The results are in the order of `consumers`. A failure is not raised: it is the `error` of the consumer's
            result.
        """
        consumers = list(consumers)
        turns: list[Turn] = []
        for consumer in consumers:
            turn = Turn(consumer, event, context, self.performers, self._ledger, self._records)
            # Each consumer gets its own copy, so that it cannot change the detail that another one reads.
            seen = event if len(consumers) == 1 else replace(event, detail=deepcopy(event.detail))
            if turn.accept(seen):
                turns.append(turn)
        return self._side_by_side(turns)

    def _side_by_side(self, turns: Sequence[Turn]) -> list[ConsumerResult]:
        if len(turns) < 2:
            return [turn.run() for turn in turns]
        threads = self._thread_pool()
        # Each thread gets a copy of the context variables, which hold the keys of the log lines.
        futures = [threads.submit(contextvars.copy_context().run, turn.run) for turn in turns]
        return [future.result() for future in futures]

    def _thread_pool(self) -> "ThreadPoolExecutor":
        with self._lock:  # several messages of a batch may be dispatched at the same time
            if self._threads is None:
                from concurrent.futures import ThreadPoolExecutor

                self._threads = ThreadPoolExecutor(_MAX_SIDE_BY_SIDE, thread_name_prefix="consumer")
            return self._threads
