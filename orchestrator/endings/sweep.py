"""Finds and publishes endings that no event has reported, because events can get lost, and Jenkins sends none."""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from orchestrator import telemetry
from orchestrator.action import Outcome, OutcomeStatus, SweepRuns
from orchestrator.builders.systems import BuildSystems
from orchestrator.endings.publisher import NO_RECORDS, EndingPublisher
from orchestrator.errors import ConfigurationError, JobRejected, OrchestratorError, Unavailable, shown
from orchestrator.job import Ending, Job, Untraceable
from orchestrator.ledger.ledger import Claim, Prepared, Records
from orchestrator.ledger.record import Record, State, milliseconds
from orchestrator.performers.start_job import started
from orchestrator.run import Origin
from orchestrator.timing import clock, deadline

# Each request to a build system covers only as many runs as can be postponed and published in the remaining time.
_MOST_RUNS = 100
_RUNS_PER_SECOND = 7
OVERDUE = timedelta(hours=24)
"""A run older than this is overdue. CodeBuild's default limits end a build sooner, even after 8 hours in the queue."""

# This is long after the last retry of a failed event: a job that has not started by then will never start.
_END_OF_DOUBT = timedelta(hours=1)


class Sweep:
    """Performs `SweepRuns`: checks whether started runs have ended, and publishes their endings.

    It also makes SQS deliver events that wait for their jobs.
    """

    def __init__(self, publisher: EndingPublisher, systems: BuildSystems, records: Records) -> None:
        self._publisher = publisher
        self._systems = systems
        self._records = records
        self._has_warned = False

    def prepare(self, action: SweepRuns, origin: Origin) -> Prepared:
        """Prepare the sweep; see `Performer.prepare`."""
        return Prepared(perform=self._perform)

    def _perform(self, claim: Claim) -> Outcome:
        """Make SQS deliver waiting events for whose jobs there may be room. Then check the runs that are due.

        The first part takes at most half of the invocation's time. Then the runs are read in pages, those that have
        been due for longest first, and are checked until the time is up.

        If one build system fails, the error is logged, and the runs of the other build systems are still checked. The
        error is not raised, because no retry is needed: a later scheduled sweep checks the same runs again.

        It does no harm if two sweeps overlap: the ledger makes sure that each ending is published only once.

        Returns:
            How many runs were checked, and how many endings were published. If the ledger could not be read, the sweep
            ends early, and `reason` says why. If `IDEMPOTENCY_TABLE` is not set, the sweep is skipped.
        """
        if self._records.memory is None:
            return self._skip()
        swept = Outcome(action="SweepRuns", status=OutcomeStatus.SWEPT, checked=0, published=0)
        overdue = 0
        try:
            with deadline.within(deadline.seconds_left() / 2):
                self._records.wake()
            for step in self._steps():
                # Runs are postponed before the check. Otherwise, runs whose check takes too long or fails would come
                # first in every sweep.
                for record in step:
                    _tried(self._records.postpone, record)
                ended = self._check(step)
                overdue += sum(record.age > OVERDUE for record in step if record.id not in ended)
                swept["checked"] += len(step)
                swept["published"] += sum(outcome["status"] is OutcomeStatus.PUBLISHED for outcome in ended.values())
        except OrchestratorError as error:
            _log(error)
            swept["reason"] = str(error)
        telemetry.count("RunsWithoutEnding", value=overdue)
        return swept

    def _steps(self) -> Iterable[Sequence[Record]]:
        """Split the runs whose check is due into groups, each small enough for one request to a build system.

        All runs of a group have the same job, and either all or none of them are in doubt (see `Record.is_in_doubt`).
        No further group is returned once the invocation's time is up.
        """
        for page in self._records.due():
            by_job = sorted(page, key=_group)
            for _, group in itertools.groupby(by_job, key=_group):
                waiting = list(group)
                while waiting:
                    if not deadline.has_time():
                        telemetry.logger.info("sweep stopped because its time is up; the next one continues")
                        return
                    size = math.ceil(min(deadline.seconds_left() * _RUNS_PER_SECOND, _MOST_RUNS))
                    yield waiting[:size]
                    waiting = waiting[size:]

    def _check(self, step: Sequence[Record]) -> Mapping[str, Outcome]:
        """Look up in the build system which runs of a group have ended, and publish their endings.

        If the records of the group have no outcome (see `Record.is_in_doubt`), only search the build system for the
        runs, and publish nothing.

        Args:
            step: A group from `_steps`.

        Returns:
            The outcome of publishing each ending, by run id. Runs whose endings were not published are left out.
        """
        if step[0].is_in_doubt:
            for record in step:
                _tried(self._find, record)
            return {}
        endings = self._endings(step)
        outcomes = {
            record.id: _tried(self._publish, record, endings[record.id]) for record in step if record.id in endings
        }
        return {run_id: outcome for run_id, outcome in outcomes.items() if outcome is not None}

    def _endings(self, step: Sequence[Record]) -> Mapping[str, Ending]:
        jobs = [record.started_job for record in step]
        try:
            found = self._systems.get(jobs[0].builder, jobs[0].name).endings(jobs)
        except JobRejected as error:  # the job was deleted, and its runs with it
            _log(error)
            found = {job.run_id: Ending(succeeded=False, reason=str(error), is_gone=True) for job in jobs}
        except OrchestratorError as error:
            _log(error)
            found = {}
        return {
            record.id: found[record.id]
            for record in step
            if record.id in found and (not found[record.id].is_gone or self._may_be_guessed(record))
        }

    def _may_be_guessed(self, record: Record) -> bool:
        """Return whether an ending may be published for a run that the build system has deleted (see `Ending.is_gone`).

        The run must be more than a day old, or the ledger must already have the run's ending.
        """
        if record.age > OVERDUE:
            return True
        current = self._records.read(record.id)  # the index does not contain the ending
        return current is not None and current.ending is not None

    def _publish(self, record: Record, ending: Ending) -> Outcome | None:
        current = self._records.read(record.id)  # the index does not contain the ending, and may lag
        if current is None:
            return None
        outcome = self._publisher.publish(current, ending, clock.now())
        if outcome["status"] is OutcomeStatus.ALREADY_PUBLISHED:  # the published event got lost, or nobody handles it
            self._records.unfollow(record.id)
        return outcome

    def _find(self, record: Record) -> None:
        """Search for the run of a job whose record has no outcome.

        If the run is found, a later sweep checks whether it has ended. If the run is not found, later sweeps search
        again, until an hour after `Record.locked_until`, the time until which a delivery may have been starting the
        job. From then on, no sweep searches for the run. The job counts as never started, unless the run itself has
        reported its ending. If the builder cannot search for the run, for example because the build system stores no
        run ids for the job, the limit is a day instead of an hour.
        """
        job, run, patience = record.started_job, None, _END_OF_DOUBT
        system = self._systems.get(job.builder, job.name)
        try:
            run = system.find(Job(name=job.name, run_id=job.run_id, since=job.since, variables={}))
        except (ConfigurationError, Untraceable) as error:
            _log(error)
            patience = OVERDUE
        if run is not None:
            self._records.adopt(record, started(job.builder, job.name, run))
            return
        if milliseconds(clock.now() - patience) <= record.locked_until or not self._records.give_up(record):
            return
        if record.state is State.CLAIMED:  # otherwise, the run has itself reported how it ended
            telemetry.logger.warning(
                f"run {record.id} of job {shown(job.name)} was never started; unless its event "
                f"{shown(job.event_id)} waits, look for it in the failure queue"
            )

    def _skip(self) -> Outcome:
        if not self._has_warned:
            self._has_warned = True
            telemetry.logger.warning(f"no sweep: {NO_RECORDS}; set it to find runs that ended without an event")
        return Outcome(action="SweepRuns", status=OutcomeStatus.SKIPPED, reason=NO_RECORDS)


def _group(record: Record) -> tuple[bool, str, str]:
    # Runs in doubt come last, because searching for one can take long.
    job = record.started_job
    return record.is_in_doubt, job.builder, job.name


def _tried(act: Callable[..., Outcome | None], *arguments: Any) -> Outcome | None:
    """Call `act` with the arguments, and return its result.

    If `act` raises an `OrchestratorError`, log the error and return `None`.
    """
    try:
        return act(*arguments)
    except Unavailable as error:  # another sweep may be publishing the same ending
        telemetry.logger.info(str(error))
    except OrchestratorError as error:
        _log(error)
    return None


def _log(error: OrchestratorError) -> None:
    telemetry.logger.error(str(error), error=type(error).__name__)
    telemetry.count("SweepFailed")  # without dimensions: an alarm would have to name the value of each
