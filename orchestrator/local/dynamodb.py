"""Makes moto's DynamoDB safe for several threads, as DynamoDB is."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def one_request_at_a_time() -> Iterator[None]:
    """Let moto's DynamoDB handle one request at a time for the duration of the `with` block.

    When moto refuses a transaction, it puts back copies of whole tables. That would also undo what other threads have
    written in the meantime.
    """
    from moto.dynamodb.responses import DynamoHandler

    # While it handles a request, moto may call a function, and this function may send a request of its own.
    lock, act = threading.RLock(), DynamoHandler.call_action

    def call_action(self: Any) -> Any:
        with lock:
            return act(self)

    DynamoHandler.call_action = call_action  # type: ignore[method-assign]
    try:
        yield
    finally:
        DynamoHandler.call_action = act  # type: ignore[method-assign]
