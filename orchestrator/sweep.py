"""Looks after jobs of whose end nobody told: a state change can get lost, and Jenkins sends none."""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial

from orchestrator import deadline, telemetry
from orchestrator.builders import Result
from orchestrator.errors import JobRejected, OrchestratorError, Unavailable, shown
from orchestrator.open_jobs import OpenJob, OpenJobs
from orchestrator.outcome import Outcome
from orchestrator.reporter import Reporter

# A step asks one build system after so many jobs as can be postponed and reported in the time that is left.
_MOST_JOBS = 100
_JOBS_PER_SECOND = 7
# Longer than any build that CodeBuild starts with its own limits (8 hours in the queue, then 8 hours by default).
_OVERDUE = timedelta(hours=24)
# Long after the last retry of an event that failed: what was not started until then was not started at all.
_END_OF_DOUBT = timedelta(hours=1)


class Sweep:
    """Asks build systems after the jobs that are open for a while, and reports those that have ended."""

    def __init__(self, reporter: Reporter, jobs: OpenJobs) -> None:
        self._reporter = reporter
        self._open_jobs = jobs
        self._has_told = False

    def run(self) -> Outcome:
        """Go through the open jobs, those first that have waited longest, for as long as there is time.

        A build system that cannot be asked keeps no other from being asked: the log tells, and a later sweep
        tries again. Two sweeps at once do the same work and publish each end once.

        Returns:
            How many jobs were asked after and reported; or why there is no sweep. It raises nothing: what it
            could not do, the next one does, and a failed event of a schedule would be of no use to anybody.
        """
        checked = reported = overdue = 0
        try:
            for step in self._steps():
                # Before anything is asked: what takes too long, or fails, must not stand first in each sweep to come.
                for open_job in step:
                    _tried(partial(self._open_jobs.postpone, open_job))
                done = self._swept(step)
                overdue += sum(open_job.age > _OVERDUE for open_job in step if open_job.job.run_id not in done)
                checked, reported = checked + len(step), reported + len(done)
        except OrchestratorError as error:
            _tell(error)
        off = self._open_jobs.off()
        if off is not None:
            return self._is_off(off)
        telemetry.count("JobsWithoutOutcome", value=overdue)
        return Outcome(action="SweepJobs", status="swept", checked=checked, reported=reported)

    def _steps(self) -> Iterable[Sequence[OpenJob]]:
        for page in self._open_jobs.due():
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

    def _swept(self, step: Sequence[OpenJob]) -> set[str]:
        if not step[0].job.id:
            for open_job in step:
                _tried(partial(self._search, open_job))
            return set()
        results = self._results(step)
        return {
            open_job.job.run_id
            for open_job in step
            if open_job.job.run_id in results and _tried(partial(self._report, open_job, results[open_job.job.run_id]))
        }

    def _results(self, step: Sequence[OpenJob]) -> Mapping[str, Result]:
        jobs = [open_job.job for open_job in step]
        try:
            found = self._reporter.results(jobs[0].builder, jobs)
        except JobRejected as error:  # the job itself was deleted, and its runs with it
            _tell(error)
            found = {job.run_id: Result(succeeded=False, reason=str(error), is_gone=True) for job in jobs}
        except OrchestratorError as error:
            _tell(error)
            found = {}
        ages = {open_job.job.run_id: open_job.age for open_job in step}
        return {run_id: result for run_id, result in found.items() if not result.is_gone or ages[run_id] > _OVERDUE}

    def _report(self, open_job: OpenJob, result: Result) -> None:
        self._reporter.publish(open_job.job, result)

    def _search(self, open_job: OpenJob) -> None:
        """Find a run whose start ended in doubt: the next sweep asks how it ended."""
        run = self._reporter.find(open_job.job)
        if run is not None:
            self._open_jobs.remember(open_job, run.id)
        elif open_job.age > _END_OF_DOUBT:
            self._open_jobs.close(open_job.job.run_id)
            telemetry.logger.warning(
                f"run {open_job.job.run_id} of job {shown(open_job.job.name)} was never started; its event "
                f"{shown(open_job.job.event_id)} is to be found in the failure queue"
            )

    def _is_off(self, reason: str) -> Outcome:
        if not self._has_told:
            self._has_told = True
            telemetry.logger.warning(f"no sweep: {reason}; jobs whose end nobody tells stay open")
        return Outcome(action="SweepJobs", status="skipped", reason=reason)


def _kind(open_job: OpenJob) -> tuple[bool, str, str]:
    # What ended in doubt comes last: looking for it can take long.
    return not open_job.job.id, open_job.job.builder, open_job.job.name


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
