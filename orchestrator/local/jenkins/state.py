"""The jobs, queue and builds of a Jenkins controller, whose clock moves only when `advance` is called."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

QUIET_PERIOD = 5.0
"""Seconds that a new item stays in the queue; a newly installed Jenkins has the same default."""

EPOCH = 1_767_225_600.0
"""Default time of a new controller, in seconds since 1970."""


@dataclass(frozen=True)
class Parameter:
    """A parameter that a job declares; a `secret` one is a password parameter, whose values Jenkins never shows."""

    name: str
    secret: bool = False


@dataclass
class Job:
    """A job.

    `parameters` is `None` if the job is not parameterised. A request to build a `refusing` job adds nothing to the
    queue. `builds` is ordered by number. A test may delete some, as a job that discards old builds does.
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
    """A build; it is running while `result` is None."""

    job: Job
    number: int
    values: Mapping[str, str]
    queue_id: int
    started: float
    result: str | None = None


@dataclass(eq=False)
class QueueItem:
    """A queue item, which waits, has become a build, or was cancelled."""

    id: int
    job: Job
    values: Mapping[str, str]
    since: float
    build: Build | None = None
    cancelled: bool = False


class Controller:
    """Holds the jobs, the queue and the builds, which one lock protects."""

    def __init__(self, *, auto_start: bool = False, now: float = EPOCH) -> None:
        """Create a controller without jobs.

        Args:
            auto_start: Whether an item becomes a build as soon as it is scheduled.
            now: The time, in seconds since 1970.
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
        """Add a job and the folders above it. If the path already has a job, replace that job.

        Args:
            path: Full name, such as `tenants/scale-down` or `shop/feature%2Flogin`.
            parameters: The declared parameters; a plain name declares a string parameter.
            disabled: Whether the job is disabled, so that it cannot be built.
            parameterised: Whether the job declares parameters at all.
            hidden_from: Users who get a 404 for the job.
        """
        declared = tuple(p if isinstance(p, Parameter) else Parameter(p) for p in parameters)
        job = Job(path, declared if parameterised else None, disabled, frozenset(hidden_from))
        with self.lock:
            self.jobs[path] = job
        return job

    def enqueue(self, path: str, values: Mapping[str, str]) -> QueueItem:
        """Put a job in the queue directly, without an HTTP request."""
        item, _ = self.schedule(self.jobs[path], values)
        return item

    def schedule(self, job: Job, values: Mapping[str, str]) -> tuple[QueueItem, bool]:
        """Return the job's waiting item that has the same values, or else a new item; and whether the item is new."""
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
        """Start every waiting item, even if its quiet period has not ended."""
        with self.lock:
            return [self._start(item) for item in self.waiting()]

    def advance(self, seconds: float) -> None:
        """Move the clock forward, and start the items whose quiet period has then ended."""
        with self.lock:
            self.now += seconds
            for item in self.waiting():
                if self.now - item.since >= QUIET_PERIOD:
                    self._start(item)

    def finish(self, path: str, number: int, result: str = "SUCCESS") -> None:
        """End a running build with one of Jenkins' results, such as `UNSTABLE` or `ABORTED`."""
        with self.lock:
            build = next(build for build in self.jobs[path].builds if build.number == number)
            build.result = result

    def cancel(self, item: QueueItem) -> None:
        """Remove an item from the queue. An item that has already left the queue is not changed."""
        with self.lock:
            if item in self._waiting:
                self._waiting.remove(item)
                item.cancelled = True

    def builds(self, path: str) -> list[Build]:
        """Return the builds of a job, newest first."""
        with self.lock:
            return self.jobs[path].builds[::-1]

    def waiting(self) -> list[QueueItem]:
        """Return the items in the queue, oldest first."""
        with self.lock:
            return list(self._waiting)

    def item(self, id_: int) -> QueueItem | None:
        """Return the item with this id, whether or not it is still in the queue."""
        return self._items.get(id_)

    def children(self, folder: str) -> list[str]:
        """Return the paths of the jobs and folders directly in a folder; the root's path is empty."""
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
    """Return the part of a URL that names a job or folder, ending in a slash."""
    return "".join(f"job/{quote(name, safe='!$&()*+,=@')}/" for name in path.split("/"))
