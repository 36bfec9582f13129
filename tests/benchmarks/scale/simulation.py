"""Simulates the function: events are tried, put to sleep, looked at, woken and swept, until all builds have ended."""

import math
from collections.abc import Sequence
from functools import partial

from orchestrator.intake import redelivery
from orchestrator.intake.redelivery import wait_seconds
from orchestrator.ledger import gate, waiting_line
from orchestrator.ledger.record import FIRST_CHECK, LONGEST_PAUSE
from orchestrator.run import BEFORE_FIRST_RETRY
from tests.benchmarks.scale import costs
from tests.benchmarks.scale.assumptions import Burst, Quotas
from tests.benchmarks.scale.line import Entry, Line
from tests.benchmarks.scale.outcome import Outcome
from tests.benchmarks.scale.queues import Queue
from tests.benchmarks.scale.services import Agenda, CodeBuild, Lambda, Message, Pollers


class Simulation:
    """Simulates a burst of events, which are tried by direct invocations and by batches from the waiting queue."""

    def __init__(self, quotas: Quotas, burst: Burst, configuration: Queue) -> None:
        self.outcome = Outcome()
        self._quotas = quotas
        self._burst = burst
        self._configuration = configuration
        self._agenda = Agenda()
        self._lambda = Lambda(self._agenda, quotas, self.outcome)
        self._codebuild = CodeBuild(self._agenda, quotas, burst.build_seconds)
        self._pollers = Pollers(self._agenda, quotas, configuration.maximum_concurrency, self._receive)
        self._builder = Line(burst.index_lag)
        self._slot = Line(burst.index_lag, size=burst.slots)
        # The items of events that wait, by the event's number. Who wakes an event has taken its item.
        self._items: dict[int, Entry] = {}
        self._tried = bytearray(burst.tenants)
        self._open = burst.tenants

    def publish_directly(self) -> None:
        """Publish all events to a rule that invokes the function."""
        for message in self._published():
            self._agenda.at(message.came, self._invoke, message, 0)

    def publish_to_queue(self) -> None:
        """Publish all events to a rule that sends them to the waiting queue."""
        for message in self._published():
            message.sent = message.came
            self.outcome.queue_requests += 1
            self._pollers.hide(message, until=message.came)

    def run(self) -> Outcome:
        """Let all events start a build or fail, and all builds end."""
        self._agenda.at(self._quotas.sweep, self._sweep)
        self._agenda.run()
        self.outcome.ended = self._codebuild.last_end
        idle_pollers = min(self._quotas.first_pollers, self._configuration.maximum_concurrency)
        self.outcome.queue_requests += round(self.outcome.ended / self._quotas.long_poll * idle_pollers)
        return self.outcome

    def _published(self) -> Sequence[Message]:
        burst = self._burst
        every = burst.tenants // burst.limited if burst.limited else burst.tenants + 1
        return [
            Message(number, came=number / burst.per_second, has_slot=number % every == 0 and burst.limited > 0)
            for number in range(burst.tenants)
        ]

    # Invocations

    def _invoke(self, message: Message, throttles: int) -> None:
        now = self._agenda.now
        if now - message.came > self._quotas.event_age:
            self._fail()
        elif self._lambda.invoke(self._burst.invocation_seconds):
            self._agenda.at(now + self._burst.invocation_seconds, self._handle, message)
        else:
            self._agenda.at(now + self._lambda.pause(throttles), self._invoke, message, throttles + 1)

    def _handle(self, message: Message) -> None:
        """Try an event that came directly; if its job has to wait, send it to the waiting queue."""
        self._begin(message)
        if self._try(message) is None:
            return
        self.outcome.spend(costs.NOTE)
        self.outcome.sent += 1
        self.outcome.queue_requests += 1
        message.is_forwarded, message.sent = True, self._agenda.now
        self._pollers.hide(message, until=self._agenda.now + wait_seconds(1))

    def _receive(self, batch: list[Message]) -> None:
        self.outcome.queue_requests += 1
        self._invoke_with_batch(batch, self._agenda.now, 0)

    def _invoke_with_batch(self, batch: list[Message], received: float, throttles: int) -> None:
        # A partial batch takes a share of the time, but at least as long as one event.
        now = self._agenda.now
        share = self._burst.batch_seconds * len(batch) / self._quotas.batch
        seconds = max(self._burst.invocation_seconds, share)
        if self._lambda.invoke(seconds):
            self._agenda.at(now + seconds, self._handle_batch, batch)
        elif (again := now + self._lambda.pause(throttles)) < received + self._quotas.visibility:
            self._agenda.at(again, self._invoke_with_batch, batch, received, throttles + 1)
        else:
            self._agenda.at(again, self._pollers.release)
            for message in batch:
                self._pollers.hide(message, until=received + self._quotas.visibility)

    def _handle_batch(self, batch: list[Message]) -> None:
        waiting = sum(self._deliver(message) for message in batch)
        # One request deletes the messages that need no further try, and one delays the others.
        self.outcome.queue_requests += (waiting < len(batch)) + (waiting > 0)
        self._pollers.release()

    def _deliver(self, message: Message) -> bool:
        """Try or look at an event that came from the queue; return whether it has to wait."""
        outcome, configuration = self.outcome, self._configuration
        now, has_waited = self._agenda.now, message.is_forwarded or message.received > 1
        is_last = now - message.sent > configuration.longest or message.received >= configuration.tries
        self._begin(message)
        line = self._not_yet(message) if has_waited and configuration.wakes and not is_last else None
        is_look = line is not None
        if line is None:
            line = self._try(message)
        if line is None:
            if has_waited:
                outcome.spend(costs.NOTE)
                self._wake(self._builder, 1)
            return False
        if is_last:
            self._fail()
            return False
        outcome.spend(costs.NOTE)
        self._pollers.hide(message, until=now + configuration.wait(message.received))
        if configuration.wakes:
            self._join(message, line, is_look=is_look)
        return True

    # What the package does with an event

    def _begin(self, message: Message) -> None:
        if self._agenda.now - message.came >= BEFORE_FIRST_RETRY.total_seconds():
            self.outcome.spend(costs.MAY_BE_REPEAT)

    def _not_yet(self, message: Message) -> Line | None:
        """Return what an event waits for that nobody woke, if it should not be tried; see `WaitingLine.check_turn`."""
        outcome, entry = self.outcome, self._items.get(message.number)
        outcome.spend(costs.LOOK_UP)
        if entry is None:
            return None
        line = entry.line
        outcome.spend(costs.LOOK_AT_GATE)
        self._read_runs(line)
        if not line.may_try(self._agenda.now):
            outcome.looks += 1
            outcome.spend(costs.SAVE)
            return line
        self._take(entry)
        return None

    def _try(self, message: Message) -> Line | None:
        """Try an event; return what it has to wait for, or `None` if its job was started."""
        now, outcome, has_slot = self._agenda.now, self.outcome, message.has_slot
        outcome.tries += 1
        outcome.spend(costs.SAVE)
        outcome.spend(costs.CLAIM[has_slot])
        if not self._tried[message.number]:
            self._tried[message.number] = True
            outcome.first_tries.append(now)
        if has_slot:
            if not self._slot.room:
                self._read_runs(self._slot)
                return self._slot
            self._slot.runs += 1
            outcome.most_in_slot = max(outcome.most_in_slot, self._slot.runs)
        outcome.requests += 1
        if not self._codebuild.start(partial(self._ended, message, now)):
            outcome.spend(costs.RELEASE[has_slot])
            if has_slot:
                self._leave()
            return self._builder
        outcome.spend(costs.SETTLE)
        outcome.started.append(now)
        outcome.waits.append(now - message.came)
        return None

    def _join(self, message: Message, line: Line, *, is_look: bool) -> None:
        now = self._agenda.now
        if not is_look:
            line.refused = now
        before = self._items.get(message.number)
        if before is not None:
            before.gone = now
        self.outcome.spend(costs.JOIN)
        entry = self._items[message.number] = line.join(message, now)
        if line.room:
            self._take(entry)
            self._pollers.hide(message, until=now + redelivery._SOON_SECONDS)

    def _take(self, entry: Entry) -> bool:
        self.outcome.spend(costs.TAKE)
        if entry.gone < math.inf:
            return False
        entry.gone = self._agenda.now
        del self._items[entry.message.number]
        return True

    def _read_runs(self, line: Line) -> None:
        self.outcome.spend(costs.READ_RUN, min(line.runs, gate._MOST_LOOKED_AT))

    def _wake(self, line: Line, most: int) -> None:
        self.outcome.spend(costs.FIND_NEXT)
        self._wake_some(line.first(most, self._agenda.now), most)

    def _wake_some(self, entries: Sequence[Entry], most: int) -> None:
        now, woken = self._agenda.now, 0
        for entry in entries:
            if woken == most:
                return
            message = entry.message
            self.outcome.queue_requests += now < entry.until
            # A message that is being handled or is visible already cannot be shown, nor by an old receipt handle.
            is_hidden = now < entry.until == message.visible
            if is_hidden:
                self._pollers.show(message)
            if self._take(entry) and is_hidden:
                woken += 1
                self.outcome.wakes += 1

    def _leave(self) -> None:
        self._slot.runs -= 1
        if self._slot.is_awaited:
            self._wake(self._slot, 1)

    def _ended(self, message: Message, started: float) -> None:
        self._agenda.at(self._agenda.now + self._burst.ending_seconds, self._handle_ending, message, started)

    def _handle_ending(self, message: Message, started: float) -> None:
        now, outcome = self._agenda.now, self.outcome
        # Sweeps have checked the run meanwhile; see `Record.pause`.
        check = started + FIRST_CHECK.total_seconds()
        while check < now:
            outcome.spend(costs.POSTPONE)
            check += min(max(FIRST_CHECK.total_seconds(), (check - message.came) / 4), LONGEST_PAUSE.total_seconds())
        for _ in range(costs.INVOCATIONS_PER_ENDING):
            outcome.run(self._burst.invocation_seconds)
        outcome.spend(costs.ENDING[message.has_slot])
        outcome.published += costs.PUBLISHED_PER_ENDING
        self._open -= 1
        if message.has_slot:
            self._leave()

    def _fail(self) -> None:
        self._open -= 1
        self.outcome.failed.append(self._agenda.now)
        self.outcome.queue_requests += 1

    def _sweep(self) -> None:
        """Wake as many events as there is room for; see `WaitingLine.sweep`."""
        if not self._open:
            return
        outcome, now = self.outcome, self._agenda.now
        self._agenda.at(now + self._quotas.sweep, self._sweep)
        outcome.sweeps += 1
        outcome.run(self._burst.sweep_seconds)
        outcome.spend(costs.SWEEP)
        for line in (self._builder, self._slot):
            if not line.is_awaited:
                continue
            outcome.spend(costs.SWEEP_GATE)
            self._read_runs(line)
            most = waiting_line._TRIED_AT_ONCE if line.room is None else line.room
            first = line.first(most, now)
            if line.room is None:
                first = [one for one in first if one.has_slept(now)]
            self._wake_some(first, most)


def direct(quotas: Quotas, burst: Burst, configuration: Queue) -> Outcome:
    """Simulate direct mode: the rule invokes the function, which sends the events that CodeBuild refuses to a queue."""
    simulation = Simulation(quotas, burst, configuration)
    simulation.publish_directly()
    return simulation.run()


def buffered(quotas: Quotas, burst: Burst, configuration: Queue) -> Outcome:
    """Simulate buffered mode: the rule sends all events to the queue, from which the function takes batches."""
    simulation = Simulation(quotas, burst, configuration)
    simulation.publish_to_queue()
    return simulation.run()
