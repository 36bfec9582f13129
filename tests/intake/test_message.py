"""Sending a message to a queue says whose fault it is that the queue refuses it."""

import boto3
import pytest

from orchestrator import InvalidEvent
from orchestrator.intake.message import Queue
from tests.support.aws import Requests


def test_a_message_larger_than_the_queues_own_limit_is_the_events_fault(aws: Requests) -> None:
    client = boto3.client("sqs")
    url = client.create_queue(QueueName="small", Attributes={"MaximumMessageSize": "1024"})["QueueUrl"]
    queue = Queue("WAITING_QUEUE_URL", url, lambda: client)

    with pytest.raises(InvalidEvent, match="not sent: SQS answered InvalidParameterValue; it is too large"):
        queue.send("x" * 2000, {}, "not sent")
