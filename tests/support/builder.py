"""A builder that records the jobs it starts."""

from orchestrator import Job, Run


class Recorder:
    """Records each job; jobs in `failing` raise the exception given there instead."""

    def __init__(self, failing: dict[str, Exception] | None = None) -> None:
        self.jobs: list[Job] = []
        self.failing = failing or {}

    def start(self, job: Job) -> Run:
        if job.name in self.failing:
            raise self.failing[job.name]
        self.jobs.append(job)
        return Run(id=f"{job.name}#1")

    def find(self, job: Job) -> Run | None:
        return next((Run(id=f"{known.name}#1") for known in self.jobs if known.run_id == job.run_id), None)
