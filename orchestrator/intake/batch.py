"""Takes batches from an SQS queue, and answers which of their messages are to come back."""

from collections.abc import Callable, Mapping
from contextvars import copy_context
from typing import Any

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


def process(
    batch: Mapping[str, Any],
    handle: Callable[[Callable[[], Event[Mapping[str, Any]]]], Any],
    parallel: int,
    redelivery: Redelivery | None,
) -> dict[str, Any]:
    """Handle every message of a batch.

    Args:
        batch: The invocation's payload: SQS records.
        handle: Handles one event, which it gets by calling its argument; raises where that fails.
        parallel: How many messages are worked on at the same time. A FIFO queue's are worked on one by one, in
            their order; after one that fails, those of its group wait.
        redelivery: Decides over messages that failed; `None` leaves them to the queue.

    Returns:
        `{"batchItemFailures": [{"itemIdentifier": …}, …]}` with the messages that are to come back.
    """
    records: list[dict[str, Any]] = batch["Records"]
    errors: dict[str, Exception] = {}

    def handle_record(record: SQSRecord) -> None:
        try:
            handle(lambda: message.parse(record))
        except Exception as error:
            errors[record.message_id] = error
            if not isinstance(error, OrchestratorError | ExceptionGroup):  # those are in the log already
                told = f"SQS message {shown(record.message_id)} could not be handled ({type(error).__name__})"
                telemetry.logger.error(told, error=type(error).__name__)
            raise

    processor = _processor(records, parallel)
    # A batch that fails whole is answered like any other: raised, it would count as the function's own failure.
    processor.raise_on_entire_batch_failure = False
    with processor(records, handle_record):
        processor.process()
    failed = [str(failure["itemIdentifier"]) for failure in processor.response()["batchItemFailures"]]
    if failed and redelivery is not None:
        by_id = {record["messageId"]: SQSRecord(record) for record in records}
        try:
            given_up = redelivery.arrange([Failed(record=by_id[name], error=errors.get(name)) for name in failed])
        except Exception as error:  # the answer must be given all the same: without one all messages come back
            told = f"messages that failed are left to their queue ({type(error).__name__})"
            telemetry.logger.error(told, error=type(error).__name__)
            given_up = set()
        failed = [name for name in failed if name not in given_up]
    return {"batchItemFailures": [{"itemIdentifier": name} for name in failed]}


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
