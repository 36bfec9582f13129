"""Checks that the messages of a batch have the form in which Lambda delivers SQS messages."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, BaseModel, Field, ValidationError
from pydantic_core import PydanticCustomError

from orchestrator.errors import InvalidEvent
from orchestrator.values.validation import explain


def _whole_number(value: Any) -> Any:
    # SQS sends digits. A batch that somebody wrote by hand may have a number instead.
    if value is not None and (isinstance(value, bool) or not re.fullmatch("[0-9]{0,20}", str(value))):
        raise PydanticCustomError("whole_number", "it must be a whole number, in at most 20 digits")
    return value


_WholeNumber: TypeAlias = Annotated[Any, AfterValidator(_whole_number)]


class _Attributes(BaseModel, defer_build=True):
    receive_count: _WholeNumber = Field(default=None, alias="ApproximateReceiveCount")
    sent_timestamp: str | None = Field(default=None, alias="SentTimestamp")
    group: str | None = Field(default=None, alias="MessageGroupId")


class _MessageAttribute(BaseModel, defer_build=True):
    text: str | None = Field(default=None, alias="stringValue")


class _Record(BaseModel, defer_build=True):
    """The fields of a message that this package and Powertools use. A message in a test may lack those with a default.

    https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html
    """

    message_id: str = Field(alias="messageId", min_length=1)
    receipt_handle: str | None = Field(default=None, alias="receiptHandle", pattern="^[ -~]*$")
    body: str = Field(min_length=1)
    attributes: _Attributes = Field(default_factory=_Attributes)
    message_attributes: dict[str, _MessageAttribute] = Field(alias="messageAttributes")
    queue: str | None = Field(default=None, alias="eventSourceARN", pattern="^arn:[^:]+:sqs:[^:]+:[^:]+:[^:]+$")


def check(records: Sequence[Mapping[str, Any]]) -> None:
    """Check the form of each message of a batch.

    Lambda itself delivers no malformed message. If there is one, somebody wrote the batch by hand, so the whole batch
    is refused.

    Raises:
        InvalidEvent: A message lacks a field that cannot be missing, or a field has another form than in SQS. The error
            names the wrong fields of the first such message.
    """
    for place, record in enumerate(records):
        try:
            _Record.model_validate(record)
        except ValidationError as error:
            fields = explain(error, f"Records[{place}]")
            raise InvalidEvent(f"{fields}; send a batch as Lambda delivers it, like events/sqs-batch.json") from None


def has_queue(record: Mapping[str, Any]) -> bool:
    """Return whether a message names its queue and its receipt handle, without which no retry can be scheduled."""
    return bool(record.get("eventSourceARN") and record.get("receiptHandle"))
