"""The sweep: finds runs that have ended although no event said so. Events can get lost, and Jenkins sends none."""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from orchestrator import telemetry
from orchestrator.action import Outcome, OutcomeStatus, SweepRuns
from orchestrator.builders.systems import BuildSystems
from orchestrator.endings.publisher import NO_RECORDS, EndingPublisher
from orchestrator.errors import JobRejected, OrchestratorError, Unavailable, shown
from orchestrator.job import Ending, Job
from orchestrator.ledger.ledger import Claim, Prepared, Records
from orchestrator.ledger.record import Record, milliseconds
from orchestrator.performers.start_job import started
from orchestrator.run import Origin
from orchestrator.timing import clock, deadline

# One request to a build system covers so many runs as can be postponed and published in the time that is left.
_MOST_RUNS = 100
_RUNS_PER_SECOND = 7
# Longer than any build that CodeBuild starts with its own limits (8 hours in the queue, then 8 hours by default).
_OVERDUE = timedelta(hours=24)
# Long after the last retry of an event that failed: what was not started until then was not started at all.
_END_OF_DOUBT = timedelta(hours=1)


class Sweep:
    """Checks the runs that are followed, and publishes the endings of those that have ended; performs `SweepRuns`."""

    def __init__(self, publisher: EndingPublisher, systems: BuildSystems, records: Records) -> None:
        self._publisher = publisher
        self._systems = systems
        self._records = records
        self._has_warned = False

    def prepare(self, action: SweepRuns, origin: Origin) -> Prepared:
        """Prepare a sweep; see `Performer`."""
        return Prepared(perform=self._perform)

    def _perform(self, claim: Claim) -> Outcome:
        """Go through the runs that are due, those first that have waited longest, for as long as there is time.

        A build system that cannot be reached does not keep others from being checked: a failure is logged, and the
        next sweep tries again. It is not raised, because a failed event of a schedule would be of no use to anybody.
        Two sweeps at once do the same work and publish each ending once.
        """
        if self._records.memory is None:
            return self._skip()
        swept = Outcome(action="SweepRuns", status=OutcomeStatus.SWEPT, checked=0, published=0)
        overdue = 0
        try:
            for step in self._steps():
                # Before anything is checked: what takes too long, or fails, must not stand first in each sweep to come.
                for record in step:
                    _has_done(self._records.postpone, record)
                ended = self._check(step)
                overdue += sum(record.age > _OVERDUE for record in step if record.id not in ended)
                swept["checked"] += len(step)
                swept["published"] += len(ended)
        except OrchestratorError as error:
            _log(error)
            swept["reason"] = str(error)
        telemetry.count("RunsWithoutEnding", value=overdue)
        return swept

    def _steps(self) -> Iterable[Sequence[Record]]:
        """Divide the runs that are due into what one request to a build system covers."""
        for page in self._records.due():
            by_job = sorted(page, key=_group)
            for _, group in itertools.groupby(by_job, key=_group):
                waiting = list(group)
                while waiting:
                    if not deadline.has_time():
                        telemetry.logger.info("sweep stops here, for the time is up; the next one goes on")
                        return
                    size = math.ceil(min(deadline.seconds_left() * _RUNS_PER_SECOND, _MOST_RUNS))
                    yield waiting[:size]
                    waiting = waiting[size:]

    def _check(self, step: Sequence[Record]) -> set[str]:
        """Publish the endings of runs of one job; returns the ids of those that have ended."""
        if step[0].is_in_doubt:
            for record in step:
                _has_done(self._find, record)
            return set()
        endings = self._endings(step)
        return {
            record.id
            for record in step
            if record.id in endings and _has_done(self._publish, record, endings[record.id])
        }

    def _endings(self, step: Sequence[Record]) -> Mapping[str, Ending]:
        jobs = [record.started_job for record in step]
        try:
            found = self._systems.get(jobs[0].builder, jobs[0].name).endings(jobs)
        except JobRejected as error:  # the job itself was deleted, and its runs with it
            _log(error)
            found = {job.run_id: Ending(succeeded=False, reason=str(error), is_gone=True) for job in jobs}
        except OrchestratorError as error:
            _log(error)
            found = {}
        ages = {record.id: record.age for record in step}
        return {run_id: ending for run_id, ending in found.items() if not ending.is_gone or ages[run_id] > _OVERDUE}

    def _publish(self, record: Record, ending: Ending) -> None:
        self._publisher.publish(record.started_job, ending, clock.now())

    def _find(self, record: Record) -> None:
        """Look for a run whose start had no outcome: the next sweep checks whether it has ended."""
        job = record.started_job
        system = self._systems.get(job.builder, job.name)
        run = system.find(Job(name=job.name, run_id=job.run_id, since=job.since, variables={}))
        if run is not None:
            self._records.adopt(record, started(job.builder, job.name, run))
        elif milliseconds(clock.now() - _END_OF_DOUBT) > record.locked_until:
            self._records.unfollow(record.id)
            telemetry.logger.warning(
                f"run {record.id} of job {shown(job.name)} was never started; its event "
                f"{shown(job.event_id)} is to be found in the failure queue"
            )

    def _skip(self) -> Outcome:
        if not self._has_warned:
            self._has_warned = True
            telemetry.logger.warning(f"no sweep: {NO_RECORDS}; runs whose ending no event brings stay open")
        return Outcome(action="SweepRuns", status=OutcomeStatus.SKIPPED, reason=NO_RECORDS)


def _group(record: Record) -> tuple[bool, str, str]:
    # What is in doubt comes last: looking for it can take long.
    job = record.started_job
    return record.is_in_doubt, job.builder, job.name


def _has_done(act: Callable[..., None], *arguments: Any) -> bool:
    """Call `act`; log a failure and return False."""
    try:
        act(*arguments)
    except Unavailable as error:  # another sweep may be at it
        telemetry.logger.info(str(error))
        return False
    except OrchestratorError as error:
        _log(error)
        return False
    return True


def _log(error: OrchestratorError) -> None:
    telemetry.logger.error(str(error), error=type(error).__name__)
    telemetry.count("SweepFailed")  # without a dimension: CloudWatch alarms cannot search for those
