"""Batches of SQS messages, answered with those that are to come back."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextvars import copy_context
from typing import Any, TypeAlias

from aws_lambda_powertools.utilities.batch import (
    BasePartialBatchProcessor,
    BatchProcessor,
    EventType,
    SqsFifoPartialProcessor,
)
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from orchestrator import telemetry
from orchestrator.errors import OrchestratorError, shown
from orchestrator.event import Event
from orchestrator.intake import message
from orchestrator.intake.redelivery import Failed, Redelivery

Parse: TypeAlias = Callable[[Any, str | None], Event[Mapping[str, Any]]]
"""Makes an event of what brought it, and of the invocation's request id."""


class Batches:
    """Handles the messages of batches."""

    def __init__(self, parallel: int, redelivery: Redelivery | None) -> None:
        """Take how messages are handled.

        Args:
            parallel: How many messages are handled at the same time. A FIFO queue's are handled one by one, in their
                order; after one that fails, those of its group wait.
            redelivery: Decides when messages that failed come back; `None` leaves them to the queue.
        """
        self._parallel = parallel
        self._redelivery = redelivery

    def process(self, batch: Mapping[str, Any], handle: Callable[[Parse, SQSRecord], Any]) -> dict[str, Any]:
        """Handle every message of a batch.

        Args:
            batch: The invocation's payload: SQS records.
            handle: Handles one message with the given parser; raises where that fails.

        Returns:
            `{"batchItemFailures": [{"itemIdentifier": …}, …]}` with the messages that are to come back.
        """
        records: list[dict[str, Any]] = batch["Records"]
        failures = _Failures(handle)
        processor = _processor(records, self._parallel)
        # A batch that fails whole is answered like any other: raised, it would count as the function's own failure.
        processor.raise_on_entire_batch_failure = False
        with processor(records, failures.handle):
            processor.process()
        failed = [str(failure["itemIdentifier"]) for failure in processor.response()["batchItemFailures"]]
        given_up = self._arrange(failed, records, failures.errors)
        return {"batchItemFailures": [{"itemIdentifier": name} for name in failed if name not in given_up]}

    def _arrange(
        self, failed: Sequence[str], records: Sequence[dict[str, Any]], errors: Mapping[str, Exception]
    ) -> Collection[str]:
        if not failed or self._redelivery is None:
            return ()
        by_id = {record["messageId"]: SQSRecord(record) for record in records}
        try:
            return self._redelivery.arrange([Failed(record=by_id[name], error=errors.get(name)) for name in failed])
        except Exception as error:  # the answer must be given all the same: without one all messages come back
            text = f"messages that failed are left to their queue ({type(error).__name__})"
            telemetry.logger.error(text, error=type(error).__name__)
            return ()


class _Failures:
    """Handles messages and keeps their errors, which Powertools does not give back."""

    def __init__(self, handle: Callable[[Parse, SQSRecord], Any]) -> None:
        self.errors: dict[str, Exception] = {}
        self._handle = handle

    def handle(self, record: SQSRecord) -> None:
        try:
            self._handle(message.parse, record)
        except Exception as error:
            self.errors[record.message_id] = error
            if not isinstance(error, OrchestratorError | ExceptionGroup):  # those are in the log already
                text = f"SQS message {shown(record.message_id)} could not be handled ({type(error).__name__})"
                telemetry.logger.error(text, error=type(error).__name__)
            raise


class _SideBySide(BatchProcessor):
    """Works on several messages at the same time."""

    def __init__(self, parallel: int) -> None:
        super().__init__(event_type=EventType.SQS)
        self._parallel = parallel

    def process(self) -> list[Any]:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(self._parallel, thread_name_prefix="message") as threads:
            # Each thread gets a copy of the context variables, in which the invocation's end is kept.
            tasks = [threads.submit(copy_context().run, self._process_record, record) for record in self.records]
            return [task.result() for task in tasks]


def _processor(records: list[dict[str, Any]], parallel: int) -> BasePartialBatchProcessor:
    if any(str(record.get("eventSourceARN", "")).endswith(".fifo") for record in records):
        return SqsFifoPartialProcessor(skip_group_on_error=True)
    if parallel == 1 or len(records) == 1:
        return BatchProcessor(event_type=EventType.SQS)
    return _SideBySide(parallel)
