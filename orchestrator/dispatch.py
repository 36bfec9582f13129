"""Runs the consumers of an event side by side and performs what they decided."""

import contextvars
import inspect
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from orchestrator.actions import Action, SaveTenant, StartJob
from orchestrator.consumer import Consumer
from orchestrator.context import Context
from orchestrator.errors import ConfigurationError, ConsumerFailed, OrchestratorError, shown
from orchestrator.event import Event
from orchestrator.jobs import Jobs
from orchestrator.outcome import Outcome
from orchestrator.run import Origin
from orchestrator.tenants import TenantRecords

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

_MAX_SIDE_BY_SIDE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one consumer made of an event.

    Attributes:
        consumer: Its name.
        outcomes: What was performed, in order.
        error: What stopped it; `None` where nothing did.
    """

    consumer: str
    outcomes: Sequence[Outcome]
    error: OrchestratorError | None = None


class Dispatcher:
    """Decides and acts for one event at a time; keeps its threads between events."""

    def __init__(self, jobs: Jobs, tenants: TenantRecords) -> None:
        self._jobs = jobs
        self._tenants = tenants
        self._threads: ThreadPoolExecutor | None = None

    def dispatch(
        self, event: Event[Mapping[str, Any]], consumers: Iterable[Consumer], context: Context
    ) -> list[Report]:
        """Let every consumer that wants the event decide, and perform its actions.

        Args:
            event: The event.
            consumers: The consumers of its type.
            context: Handed to the consumers that take it.

        Returns:
            A report for each consumer that wanted the event or failed, in their order. A consumer that fails
            stops neither the others nor the return.
        """
        reports: list[Report | Callable[[], Report]] = []
        for consumer in consumers:
            try:
                accepted = consumer.accept(event)
            except Exception as error:
                reports.append(_failure(consumer, error))
                continue
            if accepted is not None:
                reports.append(partial(self._run, consumer, event, accepted, context))
        return self._side_by_side(reports)

    def _side_by_side(self, reports: Sequence[Report | Callable[[], Report]]) -> list[Report]:
        if sum(callable(report) for report in reports) < 2:
            return [report() if callable(report) else report for report in reports]
        threads = self._thread_pool()
        # Each thread gets a copy of the context variables: Powertools keeps the log's correlation id there.
        futures = [
            threads.submit(contextvars.copy_context().run, report) if callable(report) else report for report in reports
        ]
        return [future if isinstance(future, Report) else future.result() for future in futures]

    def _thread_pool(self) -> "ThreadPoolExecutor":
        if self._threads is None:
            from concurrent.futures import ThreadPoolExecutor

            self._threads = ThreadPoolExecutor(_MAX_SIDE_BY_SIDE, thread_name_prefix="consumer")
        return self._threads

    def _run(
        self, consumer: Consumer, event: Event[Mapping[str, Any]], accepted: Event[Any], context: Context
    ) -> Report:
        outcomes: list[Outcome] = []
        try:
            decision = consumer.decide(accepted, context)
            if inspect.iscoroutine(decision):
                decision = self._awaited(decision)
            # All actions are checked before the first is performed: bad input changes nothing.
            prepared = [
                self._prepare(action, Origin(event=event, consumer=consumer.name, position=position))
                for position, action in enumerate(_actions(decision, consumer))
            ]
            for perform in prepared:
                outcomes.append(perform())
        except Exception as error:
            return _failure(consumer, error, outcomes)
        return Report(consumer=consumer.name, outcomes=outcomes)

    def _prepare(self, action: Action, origin: Origin) -> Callable[[], Outcome]:
        match action:
            case StartJob():
                return self._jobs.prepare(action, origin)
            case SaveTenant():
                return partial(self._save_tenant, action)

    def _save_tenant(self, action: SaveTenant) -> Outcome:
        if self._tenants.save(action.tenant_id, action.record):
            return Outcome(action="SaveTenant", status="saved", name=action.tenant_id)
        return Outcome(
            action="SaveTenant",
            status="skipped",
            name=action.tenant_id,
            reason="DATA_STORE_TABLE is not set",
        )

    def _awaited(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        import asyncio

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(coroutine)
        # Whoever calls the handler from a running loop, as an async test does, cannot start a second one here.
        return self._thread_pool().submit(asyncio.run, coroutine).result()


def _actions(decision: Any, consumer: Consumer) -> tuple[Action, ...]:
    if decision is None:
        return ()
    if isinstance(decision, StartJob | SaveTenant):
        return (decision,)
    actions = tuple(decision) if isinstance(decision, Iterable) else (decision,)
    for action in actions:
        if not isinstance(action, StartJob | SaveTenant):
            raise ConfigurationError(
                f"consumer {shown(consumer.name)} returned {type(action).__name__}; "
                "a consumer returns one action, several, or None"
            )
    return actions


def _failure(consumer: Consumer, error: Exception, outcomes: Sequence[Outcome] = ()) -> Report:
    if not isinstance(error, OrchestratorError):
        failed = ConsumerFailed(
            f"consumer {shown(consumer.name)} raised {type(error).__name__}{_place(error)}; correct it there"
        )
        # The text of somebody else's error may hold event data: it stays on the cause, which no log prints.
        failed.__cause__ = error
        error = failed
    return Report(consumer=consumer.name, outcomes=outcomes, error=error)


def _place(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    code = trace.tb_frame.f_code
    return f" in {code.co_name}, {code.co_filename.rpartition('/')[2]} line {trace.tb_lineno}"
