"""What a Jenkins controller remembers: its jobs, its queue and its builds, moved on only when told."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import quote

Values: TypeAlias = Mapping[str, "str | bool"]

QUIET_PERIOD = 5.0
"""Seconds that Jenkins keeps a new item before it looks for an executor."""

LEFT_ITEM_LIFETIME = 300.0
"""Seconds that Jenkins remembers an item after it left the queue."""

EPOCH = 1_767_225_600.0
"""The time at which a controller starts, in seconds since 1970, unless told otherwise."""


@dataclass(frozen=True)
class Parameter:
    """A parameter that a job declares; a `bool` default makes it a boolean, `secret` a password."""

    name: str
    default: str | bool = ""
    secret: bool = False

    def parse(self, text: str) -> str | bool:
        """Read a submitted value as Jenkins does for this kind of parameter."""
        return text.lower() == "true" if isinstance(self.default, bool) else text


@dataclass
class Job:
    """A job; `disabled` and `refusing` may be switched while the server runs."""

    path: str
    parameters: tuple[Parameter, ...] | None
    disabled: bool = False
    hidden_from: frozenset[str] = frozenset()
    refusing: bool = False
    builds: list[Build] = field(default_factory=list)
    next_number: int = 1


@dataclass
class Build:
    """A build; it is running for as long as it has no result."""

    job: Job
    number: int
    values: Values
    queue_id: int
    user: str
    started: float
    result: str | None = None
    finished: float | None = None


@dataclass
class QueueItem:
    """A request to build; it has left the queue once `left` is set, cancelled if it then has no build."""

    id: int
    job: Job
    values: Values
    user: str
    since: float
    left: float | None = None
    build: Build | None = None


class Controller:
    """Jobs, queue and builds behind one lock, with a clock that only `advance` moves."""

    def __init__(self, *, auto_start: bool = False, auto_result: str | None = None, now: float = EPOCH) -> None:
        """Start empty.

        Args:
            auto_start: An item becomes a build as soon as it is scheduled.
            auto_result: The result with which a build ends as soon as it starts.
            now: The time, in seconds since 1970.
        """
        self.lock = threading.RLock()
        self.jobs: dict[str, Job] = {}
        self.busy = False
        self.now = now
        self._auto_start = auto_start
        self._auto_result = auto_result
        self._items: dict[int, QueueItem] = {}
        self._last_id = 0

    def add_job(
        self,
        path: str,
        parameters: Iterable[str | Parameter] = (),
        *,
        disabled: bool = False,
        parameterised: bool = True,
        hidden_from: Collection[str] = (),
    ) -> Job:
        """Add a job, and the folders above it.

        Args:
            path: Full name, such as `tenants/scale-down` or `shop/feature%2Flogin`.
            parameters: Names, or `Parameter` where a default or another kind is wanted.
            disabled: The job takes no builds.
            parameterised: Whether the job declares parameters at all.
            hidden_from: Users who may not see the job.

        Returns:
            The job, whose `disabled` and `refusing` can be changed later.
        """
        declared = tuple(p if isinstance(p, Parameter) else Parameter(p) for p in parameters)
        job = Job(path, declared if parameterised else None, disabled, frozenset(hidden_from))
        with self.lock:
            self.jobs[path] = job
        return job

    def enqueue(self, path: str, values: Values | None = None, user: str = "anonymous") -> QueueItem:
        """Put a job in the queue as if another user had asked for it.

        Raises:
            RuntimeError: The job refuses builds.
        """
        item, _ = self.schedule(self.jobs[path], dict(values or {}), user)
        if item is None:
            message = f"{path} refuses builds"
            raise RuntimeError(message)
        return item

    def schedule(self, job: Job, values: Values, user: str) -> tuple[QueueItem | None, bool]:
        """Queue a build, or find the waiting item that asks for the same.

        Returns:
            The item (nothing if the queue refused it), and whether it is new.
        """
        with self.lock:
            if job.refusing:
                return None, False
            for waiting in self.waiting():
                if waiting.job is job and waiting.values == values:
                    return waiting, False
            self._last_id += 1
            item = self._items[self._last_id] = QueueItem(self._last_id, job, values, user, self.now)
            if self._auto_start and not self.busy:
                self._start(item)
            return item, True

    def run_queue(self) -> list[Build]:
        """Start every waiting item, quiet period or not, unless the executors are held."""
        with self.lock:
            return [] if self.busy else [self._start(item) for item in self.waiting()]

    def hold(self) -> None:
        """Keep every executor busy, so that items wait."""
        self.busy = True

    def release(self) -> list[Build]:
        """Free the executors and start what waited for them."""
        with self.lock:
            self.busy = False
            return self.run_queue()

    def advance(self, seconds: float) -> None:
        """Move the clock: items whose quiet period ends start, those that left long ago are forgotten."""
        with self.lock:
            self.now += seconds
            for item in self.waiting():
                if not self.busy and self.now - item.since >= QUIET_PERIOD:
                    self._start(item)
            self._items = {
                id_: item
                for id_, item in self._items.items()
                if item.left is None or self.now - item.left < LEFT_ITEM_LIFETIME
            }

    def finish(self, path: str, number: int, result: str = "SUCCESS") -> Build:
        """End a running build with a result, such as `SUCCESS`, `FAILURE` or `ABORTED`."""
        with self.lock:
            build = next(build for build in self.jobs[path].builds if build.number == number)
            build.result, build.finished = result, self.now
            return build

    def cancel(self, item: QueueItem) -> None:
        """Take an item out of the queue without a build, unless it has already left."""
        if item.left is None:
            item.left = self.now

    def builds(self, path: str) -> list[Build]:
        """The builds of a job, newest first."""
        with self.lock:
            return sorted(self.jobs[path].builds, key=lambda build: -build.number)

    def waiting(self) -> list[QueueItem]:
        """The items that have not left the queue, oldest first."""
        with self.lock:
            return [item for item in self._items.values() if item.left is None]

    def item(self, id_: int) -> QueueItem | None:
        """The item of this id, waiting or not yet forgotten."""
        return self._items.get(id_)

    def is_folder(self, path: str) -> bool:
        """Whether a job lies below this path."""
        return any(name.startswith(f"{path}/") for name in self.jobs)

    def children(self, folder: str) -> list[str]:
        """Paths of the jobs and folders directly inside a folder (the empty path is the root)."""
        prefix = f"{folder}/" if folder else ""
        below = (name for name in self.jobs if name.startswith(prefix))
        return list(dict.fromkeys(prefix + name[len(prefix) :].split("/")[0] for name in below))

    def _start(self, item: QueueItem) -> Build:
        job = item.job
        build = Build(job, job.next_number, item.values, item.id, item.user, self.now)
        job.next_number += 1
        job.builds.append(build)
        item.left, item.build = self.now, build
        if self._auto_result is not None:
            build.result, build.finished = self._auto_result, self.now
        return build


def url_path(path: str) -> str:
    """The part of a URL that names a job or folder, ending in a slash."""
    return "".join(f"job/{quote(name, safe='!$&()*+,=@')}/" for name in path.split("/"))
