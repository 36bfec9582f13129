"""Handles batches of SQS messages, and returns the ids of the messages that SQS must deliver again."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextvars import copy_context
from functools import partial
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
from orchestrator.intake import message, records
from orchestrator.intake.redelivery import Failed, Redelivery, is_last_try

Parse: TypeAlias = Callable[..., Event[Mapping[str, Any]]]
"""A function that converts the payload of an invocation or of an SQS message to an event.

The first argument is the payload. The second, optional argument is the event's name in error messages.
"""


class Batches:
    """Handles batches of SQS messages, and reports which of them SQS must deliver again."""

    def __init__(self, parallel: int, redelivery: Redelivery | None) -> None:
        """Store the arguments.

        Args:
            parallel: How many messages are handled at the same time. Messages of a FIFO queue are always handled in
                order, one at a time. If one of them fails, the later messages of its group are returned to the queue.
            redelivery: Schedules the retries of failed messages, and moves a message to the failure queue once a retry
                is pointless. If this is `None`, the visibility timeout and the redrive policy of the messages' queue
                apply.
        """
        self._parallel = parallel
        self._redelivery = redelivery

    def process(self, batch: Mapping[str, Any], handle: Callable[[Parse, Any], Any]) -> dict[str, Any]:
        """Handle every message of a batch.

        Args:
            batch: The invocation's payload, with the messages in `Records`.
            handle: Handles one message. It is called with two arguments: a function that converts the message's payload
                to an event, and the payload. It must raise an exception if the message could not be handled.

        Returns:
            The answer to Lambda: `{"batchItemFailures": [{"itemIdentifier": …}, …]}`. It lists the ids of the messages
            that SQS must deliver again (https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html).

        Raises:
            InvalidEvent: A message does not have the form in which Lambda delivers messages. No message was handled.
        """
        messages: list[dict[str, Any]] = batch["Records"]
        with telemetry.failures_logged:
            records.check(messages)
        failures = _Failures(handle, comes_back=self._redelivery is not None)
        processor = _processor(messages, self._parallel)
        # If every message fails, Powertools would raise an exception, so that the whole invocation counts as failed.
        # With this setting, the answer lists all the messages instead.
        processor.raise_on_entire_batch_failure = False
        with processor(messages, failures.handle):
            processor.process()
        failed = [str(failure["itemIdentifier"]) for failure in processor.response()["batchItemFailures"]]
        given_up = self._arrange(failed, messages, failures)
        return {"batchItemFailures": [{"itemIdentifier": name} for name in failed if name not in given_up]}

    def _arrange(
        self, failed: Sequence[str], messages: Sequence[dict[str, Any]], failures: "_Failures"
    ) -> Collection[str]:
        if not failed or self._redelivery is None:
            return ()
        by_id = {record["messageId"]: SQSRecord(record) for record in messages if records.has_queue(record)}
        try:
            return self._redelivery.arrange(
                [
                    Failed(record=by_id[name], error=failures.errors.get(name), is_last=name in failures.last_tries)
                    for name in failed
                    if name in by_id
                ]
            )
        except Exception as error:  # without an answer, SQS would also deliver the handled messages again
            text = f"failed messages are left to their queue's own redelivery ({type(error).__name__})"
            telemetry.logger.error(text, error=type(error).__name__)
            return ()


class _Failures:
    """Handles messages, and keeps the errors of failed messages, because Powertools does not return the errors.

    Attributes:
        errors: The errors, by the message's id.
        last_tries: The ids of the messages for which this try counts as the last one (see `parsing`).
    """

    def __init__(self, handle: Callable[[Parse, Any], Any], *, comes_back: bool) -> None:
        """Store the arguments.

        Args:
            handle: Handles one message; see `Batches.process`.
            comes_back: Whether a `Redelivery` schedules the retries of failed messages.
        """
        self.errors: dict[str, Exception] = {}
        self.last_tries: set[str] = set()
        self._handle = handle
        self._comes_back = comes_back

    def handle(self, record: SQSRecord) -> None:
        parse, is_last = parsing(record, comes_back=self._comes_back)
        if is_last:
            self.last_tries.add(record.message_id)
        try:
            with telemetry.failures_logged:
                payload = message.as_eventbridge_event(record)
            self._handle(parse, payload)
        except Exception as error:
            self.errors[record.message_id] = error
            if not isinstance(error, OrchestratorError | ExceptionGroup):  # these are already logged
                text = f"SQS message {shown(record.message_id)} could not be handled ({type(error).__name__})"
                telemetry.logger.error(text, error=type(error).__name__)
            raise


def parsing(record: SQSRecord, *, comes_back: bool) -> tuple[Parse, bool]:
    """Return a function that converts a message's payload to an event, and whether this try counts as the last one.

    Args:
        record: The message.
        comes_back: Whether a `Redelivery` schedules the retries of failed messages. If so, `is_last_try` says whether
            this try counts as the last one. Otherwise, no try does.
    """
    is_last = comes_back and is_last_try(record)
    return partial(message.parse, record, comes_back=comes_back and not is_last, is_last=is_last), is_last


class _SideBySide(BatchProcessor):
    """A Powertools batch processor that handles several messages at the same time, in threads."""

    def __init__(self, parallel: int) -> None:
        super().__init__(event_type=EventType.SQS)
        self._parallel = parallel

    def process(self) -> list[Any]:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(self._parallel, thread_name_prefix="message") as threads:
            # The invocation's deadline is a context variable, so each thread needs a copy of the context.
            tasks = [threads.submit(copy_context().run, self._process_record, record) for record in self.records]
            return [task.result() for task in tasks]


def _processor(records: list[dict[str, Any]], parallel: int) -> BasePartialBatchProcessor:
    if any(str(record.get("eventSourceARN", "")).endswith(".fifo") for record in records):
        return SqsFifoPartialProcessor(skip_group_on_error=True)
    if parallel == 1 or len(records) == 1:
        return BatchProcessor(event_type=EventType.SQS)
    return _SideBySide(parallel)
