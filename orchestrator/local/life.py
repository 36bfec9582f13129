"""Handles events as a deployed stack would, but with emulated services, until nothing is left to do."""

import json
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from orchestrator.action import OutcomeStatus
from orchestrator.details import find_tenant_id
from orchestrator.errors import ConfigurationError, ConsumerFailed, OrchestratorError, Unavailable, of_name, shown
from orchestrator.intake.message import ERROR_ATTRIBUTE
from orchestrator.local import messages
from orchestrator.local.lambda_context import LocalContext
from orchestrator.local.results import Handled, NoConsumer, NotTaken, Result
from orchestrator.local.runs import EmulatedRuns
from orchestrator.local.story import Story
from orchestrator.local.world import World

BUS, SCHEDULE, WAITING_QUEUE = "the bus", "the schedule", "the waiting queue"
_SENDERS = {"CODE_BUILD": "CodeBuild", "STEP_FUNCTIONS": "Step Functions"}

# A whole life has some twenty events. Each event or message in a file may begin one.
_MOST_EVENTS = 50
# Sweeps and redeliveries in a row that may lead to nothing. After three tries, a message that cannot be handled is in
# the failure queue.
_MOST_IDLE_TRIES = 3


class Life:
    """Sends events to a handler, ends the started jobs, and sends the resulting events, until nothing is left.

    Call `begin` for each event file, then `follow`, then `end`.

    Attributes:
        has_failed: Whether an event could not be handled, or a job that should fail was never started.
    """

    def __init__(
        self,
        handler: Callable[[Any, Any], Any],
        world: World,
        story: Story,
        *,
        results: list[Result],
        failing: Collection[str],
        is_strict: bool,
        answered: Callable[[Any], None],
        failed: Callable[[Exception, str], None],
    ) -> None:
        """Store the arguments.

        Args:
            handler: The Lambda handler.
            world: The emulated services.
            story: Prints each step.
            results: The list that `orchestrator.local.results.recorded` yields, which gets the results of each handled
                event.
            failing: Names of the jobs whose runs fail. All other runs succeed.
            is_strict: Whether an event from a file counts as failed if no consumer takes it.
            answered: Called with each answer of the handler.
            failed: Called for each event that could not be handled, with the error and the event's file or type. Also
                called for each job in `failing` that was never started, with an error and the text `--fail JOB`.
        """
        self.has_failed = False
        self._handler = handler
        self._world = world
        self._story = story
        self._results = results
        self._is_strict = is_strict
        self._answered = answered
        self._failed = failed
        self._runs = EmulatedRuns(world.codebuild, world.jenkins, world.step_functions, failing)
        self._arrived: deque[tuple[dict[str, Any], str]] = deque()
        self._tenants: dict[str, None] = {}  # a set that keeps the order
        self._idle_tries = 0
        self._events_left = 0

    def begin(self, event: Any, file: str) -> None:
        """Send the content of an event file to the handler: an event, an array of events, or a batch of SQS messages.

        The time of each event is replaced by the present time. A batch is not changed. If messages of a batch fail, the
        file counts as failed. These messages are not delivered again, because their queue is not emulated.

        Args:
            event: The file's content.
            file: The file's name.
        """
        self._events_left += _MOST_EVENTS * len(messages.records(event) or messages.events(event))
        event = messages.sent_now(event)
        count = len(_failed_messages(self._handle(event, file, name=file)))
        if count:
            error = f"{count} messages failed, and their queue is not emulated; send each as an event in a file"
            self._fail(Unavailable(error), file)

    def follow(self) -> None:
        """End the started jobs and handle the resulting events, until nothing is left.

        Then report two kinds of events as failed: the events in the failure queue, and the events that still wait.

        Raises:
            ConfigurationError: More than 50 events were handled for each event in the files. Probably, the events cause
                each other endlessly.
        """
        while self._step():
            pass
        for message in self._world.failure_queue.receive_all():
            self._fail(_error(message), _type_in(message))
        for message in self._world.waiting_queue.receive_all():
            self._fail(Unavailable("the event still waits, and no emulated job is left to end"), _type_in(message))

    def end(self) -> None:
        """Print the status of every tenant that an event was about, and report jobs in `failing` that never started."""
        for tenant_id in self._tenants:
            self._story.tenant(tenant_id, self._world.tenant_record(tenant_id))
        for job in self._runs.never_started():
            self._fail(ConfigurationError("no event started this job, so no run of it has failed"), f"--fail {job}")

    def _step(self) -> bool:
        """Do the first of these steps that is possible. Return `False` if none is possible.

        1. Handle an event that the handler or a build system has published.
        2. End a job.
        3. Let the function check unfinished runs (a sweep).
        4. Deliver the messages in the waiting queue. This is the last step, because the messages wait for runs to end.

        Steps 3 and 4 are not possible if they have led to nothing several times in a row, or if the last sweep failed
        or was not taken by any consumer.
        """
        if self._arrived:
            self._handle(*self._arrived.popleft())
        elif self._end_job():
            self._idle_tries = 0
        elif self._idle_tries >= _MOST_IDLE_TRIES or not (self._sweep() or self._redeliver()):
            return False
        return True

    def _handle(self, event: Any, origin: str, *, event_type: str | None = None, name: str | None = None) -> Any:
        """Send an event to the handler, print what happens, and queue the events that the handler publishes.

        Args:
            event: The event, an array of events, or a batch of SQS messages.
            origin: Where the event comes from, such as a file's name.
            event_type: The event's type, if `event` is a batch with one event.
            name: The event's file, for error messages; `None` if the event is not from a file.

        Returns:
            The handler's answer, or `None` if the handler raised an error. The error is passed to the function
            `failed`.

        Raises:
            ConfigurationError: Too many events were handled; see `follow`.
        """
        event_type = event_type or messages.type_of(event)
        if self._events_left == 0:
            raise ConfigurationError(
                f"--follow stopped at event {shown(event_type)}, because more than "
                f"{_MOST_EVENTS} events for each one in the files were handled; look for a consumer whose event leads "
                "to the same event again"
            )
        self._events_left -= 1
        self._tenants.update(dict.fromkeys(_tenant_ids(event)))
        self._story.event(event_type, origin)
        answer = None
        self._results.clear()
        try:
            answer = self._handler(event, LocalContext())
            self._answered(answer)
        except BrokenPipeError:
            raise  # the program that reads the output has exited
        except Exception as error:  # a user's handler may raise anything
            self._fail(error, name or event_type)
        untaken = [one for one in self._results if isinstance(one, NotTaken) and self._is_strict and name is not None]
        self._story.results([result for result in self._results if result not in untaken])
        for result in untaken:
            self._fail(NoConsumer(result.text), name or event_type)
        self._notice()
        return answer

    def _notice(self) -> None:
        """Print the latest event's effects, and queue the published events for `_step`.

        The effects are changed tenant records, started jobs, published events and callbacks.
        """
        changed = _changed_records(self._results)
        for tenant_id in changed:
            self._story.changed(tenant_id, self._world.tenant_record(tenant_id), is_alone=len(changed) == 1)
        for run in self._runs.started():
            self._story.started(run)
        for entry in self._world.take_published():
            self._story.published(entry)
            self._arrived.append((messages.from_bus(entry, self._world.region), BUS))
            self._idle_tries = 0
        for request, is_accepted in self._world.take_callbacks():
            self._story.callback(request, is_accepted=is_accepted)

    def _end_job(self) -> bool:
        ending = self._runs.end_next()
        if ending is None:
            return False
        self._story.ended(ending)
        if ending.event is not None:
            self._arrived.append((ending.event, _SENDERS[ending.run.builder]))
        return True

    def _sweep(self) -> bool:
        """Advance the clock until an unfinished run is due for a check, and let the handler check it (a sweep).

        Returns:
            Whether there is an unfinished run to check. If there is none, nothing is done.
        """
        left = self._world.time_until_check()
        if left is None:
            return False
        if left:
            self._world.advance(left)
            self._story.passed(left)
        answer = self._handle(messages.scheduled(self._world.region), SCHEDULE)
        is_swept = isinstance(answer, Mapping) and bool(answer.get("consumers"))
        self._idle_tries = self._idle_tries + 1 if is_swept else _MOST_IDLE_TRIES
        return True

    def _redeliver(self) -> bool:
        """Deliver the messages in the waiting queue, one by one. Return `False` if the queue was empty.

        A message that was handled is deleted. Any other message goes back to the queue.
        """
        queue = self._world.waiting_queue
        received = queue.receive_all()
        self._idle_tries += 1
        for message in received:
            batch = messages.batch(message, queue.url, queue.region)
            answer = self._handle(batch, WAITING_QUEUE, event_type=_type_in(message))
            if answer is None or _failed_messages(answer):
                self._story.waits_on()
                queue.give_back(message)
            else:
                queue.delete(message)
                self._idle_tries = 0
        return bool(received)

    def _fail(self, error: Exception, name: str) -> None:
        self.has_failed = True
        self._failed(error, name)


def _changed_records(results: Iterable[Result]) -> list[str]:
    """Return the ids of the tenants whose records were changed, without duplicates."""
    outcomes = [outcome for result in results if isinstance(result, Handled) for outcome in result.outcomes]
    changed = [one["name"] for one in outcomes if one["status"] in (OutcomeStatus.SAVED, OutcomeStatus.UPDATED)]
    return list(dict.fromkeys(changed))


def _failed_messages(answer: Any) -> Sequence[Any]:
    return answer.get("batchItemFailures") or () if isinstance(answer, Mapping) else ()


def _tenant_ids(payload: Any) -> list[str]:
    """Return the ids of the tenants that an event, an array of events, or a batch of SQS messages is about."""
    # The body of a message of the reference connector is only the event's detail.
    bodies = map(_body, messages.records(payload))
    events = [*messages.events(payload), *(body if "detail" in body else {"detail": body} for body in bodies)]
    details = [one.get("detail") for one in events if isinstance(one, Mapping)]
    found = [find_tenant_id(detail) for detail in details if isinstance(detail, Mapping)]
    return [tenant_id for tenant_id in found if tenant_id is not None]


def _body(record: Any) -> Mapping[str, Any]:
    try:
        body = json.loads(record["body"])
    except (KeyError, TypeError, ValueError, RecursionError):
        return {}
    return body if isinstance(body, Mapping) else {}


def _type_in(message: Mapping[str, Any]) -> str:
    """Return the type of the event in an SQS message."""
    return messages.type_of(_body({"body": message["Body"]}))


def _error(message: Mapping[str, Any]) -> OrchestratorError:
    """Build the error that a message in the failure queue failed with, from the message's attributes.

    The error is a `ConsumerFailed` if the attributes are missing, or name a class that cannot be created again.
    """
    texts = {name: value["StringValue"] for name, value in message.get("MessageAttributes", {}).items()}
    reason = texts.get("ErrorMessage", "no reason is known")
    return of_name(texts.get(ERROR_ATTRIBUTE, ""), reason) or ConsumerFailed(reason)
