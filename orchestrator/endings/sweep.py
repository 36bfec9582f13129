"""Looks after jobs of whose end nobody told: a state change can get lost, and Jenkins sends none."""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial

from orchestrator import telemetry
from orchestrator.action import Outcome
from orchestrator.endings.endings import Endings
from orchestrator.errors import JobRejected, OrchestratorError, Unavailable, shown
from orchestrator.job import Result
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.record import Record, milliseconds
from orchestrator.timing import clock, deadline

# A step asks one build system after so many jobs as can be postponed and reported in the time that is left.
_MOST_JOBS = 100
_JOBS_PER_SECOND = 7
# Longer than any build that CodeBuild starts with its own limits (8 hours in the queue, then 8 hours by default).
_OVERDUE = timedelta(hours=24)
# Long after the last retry of an event that failed: what was not started until then was not started at all.
_END_OF_DOUBT = timedelta(hours=1)


class Sweep:
    """Asks build systems after the jobs that are open for a while, and reports those that have ended."""

    def __init__(self, endings: Endings, ledger: Ledger) -> None:
        self._endings = endings
        self._ledger = ledger
        self._has_told = False

    def run(self) -> Outcome:
        """Go through the open jobs, those first that have waited longest, for as long as there is time.

        A build system that cannot be asked keeps no other from being asked: the log tells, and a later sweep
        tries again. Two sweeps at once do the same work and publish each end once.

        Returns:
            How many jobs were asked after and reported, and what kept it from going on; or why there is no sweep. It
            raises nothing: what it could not do, the next one does, and a failed event of a schedule would be of no use
            to anybody.
        """
        cannot_know = self._endings.cannot_know
        if cannot_know:
            return self._is_off(cannot_know)
        swept = Outcome(action="SweepJobs", status="swept", checked=0, reported=0)
        overdue = 0
        try:
            for step in self._steps():
                # Before anything is asked: what takes too long, or fails, must not stand first in each sweep to come.
                for record in step:
                    _tried(partial(self._ledger.postpone, record))
                done = self._swept(step)
                overdue += sum(record.age > _OVERDUE for record in step if record.id not in done)
                swept["checked"] += len(step)
                swept["reported"] += len(done)
        except OrchestratorError as error:
            _tell(error)
            swept["reason"] = str(error)
        telemetry.count("JobsWithoutOutcome", value=overdue)
        return swept

    def _steps(self) -> Iterable[Sequence[Record]]:
        for page in self._ledger.due():
            by_job = sorted(page, key=_kind)  # what one build system can be asked at once, and fails at once
            for _, group in itertools.groupby(by_job, key=_kind):
                waiting = list(group)
                while waiting:
                    if not deadline.has_time():
                        telemetry.logger.info("sweep stops here, for the time is up; the next one goes on")
                        return
                    size = math.ceil(min(deadline.seconds_left() * _JOBS_PER_SECOND, _MOST_JOBS))
                    yield waiting[:size]
                    waiting = waiting[size:]

    def _swept(self, step: Sequence[Record]) -> set[str]:
        if not step[0].started_job.id:
            for record in step:
                _tried(partial(self._search, record))
            return set()
        results = self._results(step)
        return {
            record.id
            for record in step
            if record.id in results and _tried(partial(self._report, record, results[record.id]))
        }

    def _results(self, step: Sequence[Record]) -> Mapping[str, Result]:
        jobs = [record.started_job for record in step]
        try:
            found = self._endings.results(jobs[0].builder, jobs)
        except JobRejected as error:  # the job itself was deleted, and its runs with it
            _tell(error)
            found = {job.run_id: Result(succeeded=False, reason=str(error), is_gone=True) for job in jobs}
        except OrchestratorError as error:
            _tell(error)
            found = {}
        ages = {record.id: record.age for record in step}
        return {run_id: result for run_id, result in found.items() if not result.is_gone or ages[run_id] > _OVERDUE}

    def _report(self, record: Record, result: Result) -> None:
        self._endings.publish(record.started_job, result, clock.now())

    def _search(self, record: Record) -> None:
        """Find a run whose start ended in doubt: the next sweep asks how it ended."""
        job = record.started_job
        run = self._endings.find(job)
        if run is not None:
            self._ledger.adopt(record, run.id)
        elif milliseconds(clock.now() - _END_OF_DOUBT) > record.locked_until:
            self._ledger.unfollow(record.id)
            telemetry.logger.warning(
                f"run {record.id} of job {shown(job.name)} was never started; its event "
                f"{shown(job.event_id)} is to be found in the failure queue"
            )

    def _is_off(self, reason: str) -> Outcome:
        if not self._has_told:
            self._has_told = True
            telemetry.logger.warning(f"no sweep: {reason}; jobs whose end nobody tells stay open")
        return Outcome(action="SweepJobs", status="skipped", reason=reason)


def _kind(record: Record) -> tuple[bool, str, str]:
    # What ended in doubt comes last: looking for it can take long.
    job = record.started_job
    return not job.id, job.builder, job.name


def _tried(act: Callable[[], None]) -> bool:
    """Do something that one job is in need of, and keep its failure from the others."""
    try:
        act()
    except Unavailable as error:  # another sweep may be at it
        telemetry.logger.info(str(error))
        return False
    except OrchestratorError as error:
        _tell(error)
        return False
    return True


def _tell(error: OrchestratorError) -> None:
    telemetry.logger.error(str(error), error=type(error).__name__)
    telemetry.count("SweepFailed")  # without a dimension: CloudWatch alarms cannot search for those
