"""The state of an emulated Jenkins: jobs, a queue, builds, and a clock that moves only when `advance` is called."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

QUIET_PERIOD = 5.0
"""Seconds that an item waits in the queue before its build starts. A newly installed Jenkins has the same default."""

EPOCH = 1_767_225_600.0
"""The time to which the clock is set by default: 2026-01-01T00:00:00Z, in seconds since 1970."""


@dataclass(frozen=True)
class Parameter:
    """A parameter that a job declares.

    Attributes:
        secret: Whether this is a password parameter, whose value Jenkins never shows.
    """

    name: str
    secret: bool = False


@dataclass
class Job:
    """A job.

    Attributes:
        path: The job's full name, such as `tenants/scale-down`.
        parameters: The parameters that the job declares. `None` means that the job is not parameterized.
        disabled: Whether requests to build the job get the status 409.
        hidden_from: Names of the users who may not see the job. They get the status 404.
        refusing: If true, a request to build the job is answered with a redirect, but adds nothing to the queue. A
            plugin can make a real Jenkins behave in this way.
        builds: The job's builds, in the order of their numbers. A test may delete builds from the list, as a real
            Jenkins may discard old builds.
        next_number: The number of the next build.
    """

    path: str
    parameters: tuple[Parameter, ...] | None
    disabled: bool = False
    hidden_from: frozenset[str] = frozenset()
    refusing: bool = False
    builds: list[Build] = field(default_factory=list)
    next_number: int = 1


@dataclass
class Build:
    """A build.

    Attributes:
        values: The values of the job's parameters, by name.
        queue_id: The id of the queue item from which the build was started.
        started: When the build started, in seconds since 1970.
        result: One of Jenkins' results, such as `SUCCESS`. `None` means that the build is running.
    """

    job: Job
    number: int
    values: Mapping[str, str]
    queue_id: int
    started: float
    result: str | None = None


@dataclass(eq=False)
class QueueItem:
    """A request to build a job. It waits in the queue until its build starts or it is cancelled.

    Attributes:
        values: The values of the job's parameters, by name.
        since: When the item was put in the queue, in seconds since 1970.
        build: The build that was started from the item; `None` before the start.
    """

    id: int
    job: Job
    values: Mapping[str, str]
    since: float
    build: Build | None = None
    cancelled: bool = False


class Controller:
    """Holds the jobs, the queue and the builds of the emulated Jenkins.

    Attributes:
        lock: Protects the jobs, the queue and the builds, because several threads serve requests.
        jobs: Every job, by full name.
        now: The clock's time, in seconds since 1970.
    """

    def __init__(self, *, auto_start: bool = False, now: float = EPOCH) -> None:
        """Create a controller without jobs.

        Args:
            auto_start: Whether a build starts as soon as it is requested, without waiting in the queue.
            now: The time to which the clock is set at first, in seconds since 1970.
        """
        self.lock = threading.RLock()
        self.jobs: dict[str, Job] = {}
        self.now = now
        self._auto_start = auto_start
        self._items: dict[int, QueueItem] = {}
        self._waiting: list[QueueItem] = []

    def add_job(
        self,
        path: str,
        parameters: Iterable[str | Parameter] = (),
        *,
        disabled: bool = False,
        parameterised: bool = True,
        hidden_from: Collection[str] = (),
    ) -> Job:
        """Add a job and the folders that contain it. If a job with this full name exists, replace that job.

        Args:
            path: The job's full name, with its folders, such as `tenants/scale-down`. In a multibranch project, each
                branch has a job. Jenkins encodes the branch's name in the job's name: the branch `feature/login` of the
                project `shop` has the job `shop/feature%2Flogin`.
            parameters: The parameters that the job declares. A plain name declares a string parameter.
            disabled: Whether requests to build the job get the status 409.
            parameterised: If false, `parameters` is ignored, and the job is built by a request to `build` instead of
                `buildWithParameters`.
            hidden_from: Users who may not see the job. They get the status 404.
        """
        declared = tuple(p if isinstance(p, Parameter) else Parameter(p) for p in parameters)
        job = Job(path, declared if parameterised else None, disabled, frozenset(hidden_from))
        with self.lock:
            self.jobs[path] = job
        return job

    def enqueue(self, path: str, values: Mapping[str, str]) -> QueueItem:
        """Put a job in the queue without an HTTP request, and return its queue item.

        If the job already waits in the queue with the same values, return the item that waits.

        Args:
            path: The job's full name.
            values: The values of the job's parameters, by name.
        """
        item, _ = self.schedule(self.jobs[path], values)
        return item

    def schedule(self, job: Job, values: Mapping[str, str]) -> tuple[QueueItem, bool]:
        """Put a job in the queue. If the job already waits there with the same values, add no second item.

        Args:
            values: The values of the job's parameters, by name.

        Returns:
            The new item and `True`, or the item that already waits and `False`.
        """
        with self.lock:
            for waiting in self._waiting:
                if waiting.job is job and waiting.values == values:
                    return waiting, False
            item = QueueItem(len(self._items) + 1, job, values, self.now)
            self._items[item.id] = item
            self._waiting.append(item)
            if self._auto_start:
                self._start(item)
            return item, True

    def run_queue(self) -> list[Build]:
        """Start a build from every waiting queue item, and return the builds.

        A build is started even if the item's quiet period has not ended (see `QUIET_PERIOD`).
        """
        with self.lock:
            return [self._start(item) for item in self.waiting()]

    def advance(self, seconds: float) -> None:
        """Move the clock forward, and start a build for every queue item whose quiet period has ended."""
        with self.lock:
            self.now += seconds
            for item in self.waiting():
                if self.now - item.since >= QUIET_PERIOD:
                    self._start(item)

    def finish(self, path: str, number: int, result: str = "SUCCESS") -> None:
        """End a running build.

        Args:
            path: The job's full name.
            number: The build's number.
            result: One of Jenkins' results, such as `UNSTABLE` or `ABORTED`.
        """
        with self.lock:
            build = next(build for build in self.jobs[path].builds if build.number == number)
            build.result = result

    def cancel(self, item: QueueItem) -> None:
        """Remove an item from the queue, and mark it as cancelled. Do nothing if it has already left the queue."""
        with self.lock:
            if item in self._waiting:
                self._waiting.remove(item)
                item.cancelled = True

    def builds(self, path: str) -> list[Build]:
        """Return the builds of the job with this full name, newest first."""
        with self.lock:
            return self.jobs[path].builds[::-1]

    def waiting(self) -> list[QueueItem]:
        """Return the items that wait in the queue, oldest first."""
        with self.lock:
            return list(self._waiting)

    def item(self, id_: int) -> QueueItem | None:
        """Return the queue item with this id, even if it has left the queue. Return `None` if no item has this id."""
        return self._items.get(id_)

    def children(self, folder: str) -> list[str]:
        """Return the full names of the jobs and folders directly in a folder. An empty `folder` is the top level."""
        prefix = f"{folder}/" if folder else ""
        below = (path.removeprefix(prefix) for path in self.jobs if path.startswith(prefix))
        return list(dict.fromkeys(prefix + path.split("/")[0] for path in below))

    def _start(self, item: QueueItem) -> Build:
        job = item.job
        build = item.build = Build(job, job.next_number, item.values, item.id, self.now)
        job.next_number += 1
        job.builds.append(build)
        self._waiting.remove(item)
        return build


def url_path(path: str) -> str:
    """Return the URL path of a job or folder, such as `job/tenants/job/scale-down/` for `tenants/scale-down`."""
    return "".join(f"job/{quote(name, safe='!$&()*+,=@')}/" for name in path.split("/"))
