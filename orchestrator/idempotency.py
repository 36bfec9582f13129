"""Performs each action once, whatever is delivered twice, late, or to a process that is killed half-way."""

import hashlib
import json
import math
import threading
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator import aws, deadline
from orchestrator.errors import OrchestratorError, Unavailable, is_certain
from orchestrator.outcome import Outcome, repeated

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.idempotency import DynamoDBPersistenceLayer, IdempotencyConfig
    from types_boto3_dynamodb import DynamoDBClient

Performance = Callable[[bool], Outcome]
"""Performs an action; told whether an earlier attempt is known of, whose end is not."""

_KEY_PREFIX = "orchestrator"
MAX_ACTION_SECONDS = 50.0
"""How long one action may take, and so its lock last: shorter than Lambda waits before its first retry."""


class Once(Protocol):
    """What keeps actions from being performed twice."""

    @property
    def memory(self) -> timedelta | None:
        """How long a performed action is remembered; `None` where nothing is."""
        ...

    def perform(
        self, run_id: str, what: str, performance: Performance, note: Mapping[str, Any] | None = None
    ) -> Outcome:
        """Perform an action, unless that has been done.

        Args:
            run_id: The action's identity.
            what: What the action does, as the beginning of messages.
            performance: Performs it.
            note: Further attributes for the action's record, there from before it is performed.

        Returns:
            The outcome: of this performance, or, with a status that says so, of the earlier one.

        Raises:
            Unavailable: Another delivery is performing the action just now, or its record cannot be kept.
            Exception: What the performance raises.
        """
        ...


class Unprotected:
    """Remembers nothing: what a function without `IDEMPOTENCY_TABLE` has besides its build systems' own protection."""

    memory: timedelta | None = None

    def __init__(self, warn: Callable[[str], None]) -> None:
        """Remember that nobody has been told yet.

        Args:
            warn: Told once, with the first action, that nothing is protected.
        """
        self._warn: Callable[[str], None] | None = warn

    def perform(
        self, run_id: str, what: str, performance: Performance, note: Mapping[str, Any] | None = None
    ) -> Outcome:
        """Perform an action; see `Once.perform`."""
        warn, self._warn = self._warn, None
        if warn is not None:
            warn(
                "IDEMPOTENCY_TABLE is not set: an event that is delivered twice may start its job twice; name a "
                "DynamoDB table with the key id"
            )
        return performance(False)


class Protected:
    """Keeps a record of each action in a DynamoDB table, through Powertools Idempotency.

    The record is a lock for as long as the invocation that took it may act. It is given up at once only after
    a failure that certainly did nothing; after any other, and when its holder was killed, the next delivery
    takes it over once it has run out, and is told so.
    """

    def __init__(self, table: str, client: "Callable[[], DynamoDBClient]", memory: timedelta) -> None:
        """Keep what is needed for the first action; nothing is sent yet.

        Args:
            table: The table's name; its key is `id`, its TTL attribute `expiration`.
            client: Gives the DynamoDB client.
            memory: How long a performed action is remembered.
        """
        self.memory = memory
        self._table = table
        self._client = client
        self._store: DynamoDBPersistenceLayer | None = None
        self._lock = threading.Lock()

    def perform(
        self, run_id: str, what: str, performance: Performance, note: Mapping[str, Any] | None = None
    ) -> Outcome:
        """Perform an action; see `Once.perform`."""
        from aws_lambda_powertools.utilities import idempotency
        from aws_lambda_powertools.utilities.idempotency import exceptions

        failures: list[Exception] = []

        def act(*, run_id: str) -> Outcome:
            try:
                return performance(_took_over.get())
            except Exception as error:
                failures.append(error)
                raise

        once = idempotency.idempotent_function(
            act,
            data_keyword_argument="run_id",
            persistence_store=self._persistence(),
            config=self._configuration(),
            key_prefix=_KEY_PREFIX,
        )
        noted = _note.set(note or {})
        try:
            with deadline.within(MAX_ACTION_SECONDS):
                outcome: Outcome = once(run_id=run_id)
        except exceptions.IdempotencyAlreadyInProgressError:
            raise Unavailable(
                f"{what}: another delivery of the event is at it; it will be retried", ambiguous=False
            ) from None
        except (exceptions.IdempotencyPersistenceLayerError, exceptions.IdempotencyInconsistentStateError) as error:
            if failures:  # that the lock could not be given up matters less than why the action failed
                raise failures[0] from None
            raise self._unavailable(error.__cause__ or error, what) from None
        finally:
            _note.reset(noted)
        return outcome

    def _persistence(self) -> "DynamoDBPersistenceLayer":
        with self._lock:
            if self._store is None:
                self._store = _store(self._table, self._client())
                # Configured on first use instead, a second thread could meet it half configured.
                self._store.configure(self._configuration(), key_prefix=_KEY_PREFIX)
            return self._store

    def _configuration(self) -> "IdempotencyConfig":
        from aws_lambda_powertools.utilities.idempotency import IdempotencyConfig

        return IdempotencyConfig(
            expires_after_seconds=int(self.memory.total_seconds()),
            lambda_context=_TimeLeft(),  # type: ignore[arg-type]  # it is asked for nothing else
            response_hook=lambda outcome, _: repeated(outcome),
        )

    def _unavailable(self, error: BaseException, what: str) -> Unavailable:
        told = f"{what}: its record in table {self._table} could not be kept"
        try:
            with aws.errors(told):
                raise error
        except OrchestratorError as known:
            return Unavailable(str(known))
        except Exception as unknown:
            return Unavailable(f"{told} ({type(unknown).__name__}); it will be retried")


_took_over: ContextVar[bool] = ContextVar("took_over", default=False)
_note: ContextVar[Mapping[str, Any]] = ContextVar("note")


def record_key(run_id: str) -> str:
    """Make the key under which an action's record is kept, as Powertools does.

    Args:
        run_id: The action's identity.

    Returns:
        The value of the key `id`.
    """
    return f"{_KEY_PREFIX}#{hashlib.md5(json.dumps(run_id).encode()).hexdigest()}"  # noqa: S324 (Powertools' default)


def _store(table: str, client: "DynamoDBClient") -> "DynamoDBPersistenceLayer":
    from aws_lambda_powertools.utilities.idempotency import DynamoDBPersistenceLayer

    class Store(DynamoDBPersistenceLayer):
        def delete_record(self, data: dict[str, Any], exception: Exception) -> None:
            # A lock that was taken over is the only trace of an earlier attempt, and after a failure in doubt it is
            # the only thing that keeps another delivery from acting at the same time.
            if is_certain(exception) and not _took_over.get():
                super().delete_record(data, exception)

    return Store(table_name=table, boto3_client=_Telling(client))


class _Telling:
    """A DynamoDB client that notes whether a put replaced an item (a lock that had run out), and adds the note."""

    def __init__(self, client: "DynamoDBClient") -> None:
        self._client = client

    def put_item(self, **request: Any) -> Any:
        request["Item"] = {**request["Item"], **aws.to_item(_note.get())}
        answer = self._client.put_item(**request, ReturnValues="ALL_OLD")
        _took_over.set("Attributes" in answer)
        return answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


class _TimeLeft:
    """What Powertools asks for the length of a lock: beyond it, nothing of this invocation is at work."""

    def get_remaining_time_in_millis(self) -> int:
        return math.ceil((deadline.seconds_left() + deadline.MARGIN_SECONDS) * 1000)
