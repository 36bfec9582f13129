"""A context object for handlers that are invoked outside Lambda."""

import time
import uuid
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalContext:
    """Replaces the context object that Lambda passes to a handler.

    Attributes:
        timeout: How long the invocation may take, in seconds.
        started: When the invocation started, as a value of `time.monotonic`.
    """

    timeout: float = 60.0
    function_name: str = "orchestrator"
    function_version: str = "$LATEST"
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:123456789012:function:orchestrator"
    aws_request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    started: float = field(default_factory=time.monotonic)

    def get_remaining_time_in_millis(self) -> int:
        """Return how much time the invocation has left before its timeout; 0 after the timeout."""
        return max(0, int((self.started + self.timeout - time.monotonic()) * 1000))
