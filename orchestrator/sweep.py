"""Looks after jobs of whose end nobody told: a state change can get lost, and Jenkins sends none."""

import itertools
from collections.abc import Iterable, Sequence
from datetime import timedelta

from orchestrator import deadline, open_jobs, telemetry
from orchestrator.errors import OrchestratorError, Unavailable
from orchestrator.open_jobs import OpenJob, OpenJobs
from orchestrator.outcome import Outcome
from orchestrator.reporter import Reporter

# A step asks one build system after at most a hundred jobs; each of its requests is bounded, too.
_SECONDS_FOR_A_STEP = 15.0
# Longer than any build that CodeBuild starts with its own limits (8 hours in the queue, then 8 hours by default).
_OVERDUE = timedelta(hours=24)


class Sweep:
    """Asks build systems after the jobs that are open for a while, and reports those that have ended."""

    def __init__(self, reporter: Reporter, jobs: OpenJobs) -> None:
        self._reporter = reporter
        self._open_jobs = jobs
        self._has_told = False

    def run(self) -> Outcome:
        """Go through the open jobs, those first that have waited longest, for as long as there is time.

        A build system that cannot be asked keeps no other from being asked: the log tells, and the next sweep
        tries again. Two sweeps at once do the same work and publish each end once.

        Returns:
            How many jobs were asked after and reported; or why there is no sweep.

        Raises:
            ConfigurationError: The open jobs cannot be read.
            Unavailable: They cannot be read just now.
        """
        checked = reported = overdue = 0
        for step in self._steps():
            done = self._reported(step)
            for open_job in step:
                if open_job.job.run_id not in done:
                    self._open_jobs.postpone(open_job)
                    overdue += open_jobs.now() - open_job.job.since > _OVERDUE
            checked, reported = checked + len(step), reported + len(done)
        off = self._open_jobs.off()
        if off is not None:
            return self._is_off(off)
        telemetry.count("JobsWithoutOutcome", value=overdue)
        return Outcome(action="SweepJobs", status="swept", checked=checked, reported=reported)

    def _steps(self) -> Iterable[Sequence[OpenJob]]:
        for page in self._open_jobs.due():
            by_job = sorted(page, key=_kind)  # what one build system can be asked at once, and fails at once
            for _, group in itertools.groupby(by_job, key=_kind):
                if deadline.seconds_left() < _SECONDS_FOR_A_STEP:
                    telemetry.logger.info("sweep stops here, for the time is up; the next one goes on")
                    return
                yield list(group)

    def _reported(self, step: Sequence[OpenJob]) -> set[str]:
        jobs = {open_job.job.run_id: open_job.job for open_job in step}
        done: set[str] = set()
        try:
            results = self._reporter.results(step[0].job.builder, list(jobs.values()))
        except OrchestratorError as error:
            _tell(error)
            return done
        for run_id, result in results.items():
            try:
                self._reporter.publish(jobs[run_id], result)
                done.add(run_id)
            except Unavailable as error:  # another sweep may be at it
                telemetry.logger.info(str(error))
            except OrchestratorError as error:
                _tell(error)
        return done

    def _is_off(self, reason: str) -> Outcome:
        if not self._has_told:
            self._has_told = True
            telemetry.logger.warning(f"no sweep: {reason}; jobs whose end nobody tells stay open")
        return Outcome(action="SweepJobs", status="skipped", reason=reason)


def _kind(open_job: OpenJob) -> tuple[str, str]:
    return open_job.job.builder, open_job.job.name


def _tell(error: OrchestratorError) -> None:
    telemetry.logger.error(str(error), error=type(error).__name__)
    telemetry.count("SweepFailed")  # without a dimension: CloudWatch alarms cannot search for those
