"""Looks up builders by name, and wraps the exceptions that builders raise."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeGuard

from orchestrator.errors import (
    ConfigurationError,
    ConsumerFailed,
    JobRejected,
    OrchestratorError,
    Unavailable,
    WaitReason,
    shown,
    wrapped,
)
from orchestrator.job import (
    Builder,
    ChecksNames,
    Ending,
    Job,
    KnowsEndings,
    RecognisesRepeats,
    Run,
    StartedJob,
    Untraceable,
)
from orchestrator.run import BEFORE_FIRST_RETRY
from orchestrator.timing import deadline

# Builders are checked by their attributes, not by `isinstance`. From Python 3.12 on, `isinstance` with a
# runtime-checkable protocol ignores `__getattr__`, so it would refuse a builder that delegates to another one.


def _has_method(builder: object, name: str) -> bool:
    return callable(getattr(builder, name, None))


def _recognises_repeats(builder: object) -> TypeGuard[RecognisesRepeats]:
    return hasattr(builder, "covers")


def _checks_names(builder: object) -> TypeGuard[ChecksNames]:
    return _has_method(builder, "check")


def _knows_endings(builder: object) -> TypeGuard[KnowsEndings]:
    return _has_method(builder, "endings")


class BuildSystem:
    """Calls one builder, and wraps the exceptions that the builder raises.

    An exception that is not an `OrchestratorError` is wrapped in an `OrchestratorError`. The builder's methods `check`
    and `endings` and its attribute `covers` are optional.

    Attributes:
        name: The builder's name.
        covers: How long after `Job.since` a job can be started without a search for an earlier run, because the builder
            recognizes a repeated `start` (see `RecognisesRepeats`). If the builder has no attribute `covers`, this is
            30 seconds, because no event is retried sooner.
        can_be_followed: Whether the builder has a method `endings`. Without it, nobody can look up how a run ended.
    """

    def __init__(self, name: str, builder: Builder) -> None:
        self.name = name
        self.covers = builder.covers if _recognises_repeats(builder) else BEFORE_FIRST_RETRY
        self._builder = builder
        self._names = builder if _checks_names(builder) else None
        self._endings = builder if _knows_endings(builder) else None
        self.can_be_followed = self._endings is not None

    def check(self, job: str) -> None:
        """Check a job's name; see `ChecksNames.check`. If the builder has no method `check`, do nothing."""
        if self._names is not None:
            with self._wrapped_errors():
                self._names.check(job)

    def start(self, job: Job) -> Run:
        """Start a job; see `Builder.start`.

        Raises:
            ConsumerFailed: The builder returned something other than a `Run`. The job may have been started.
            Unavailable: The builder raised this exception. If the exception's `waits_for` is set, the event can wait
                until the job can be started.
        """
        with _waiting(), self._wrapped_errors():
            run = self._builder.start(job)
        if not isinstance(run, Run):
            # The builder may have started the job, so this must not be a permanent error: that would say it did not.
            raise ConsumerFailed(f"builder {shown(self.name)} did not return a Run from start; correct the builder")
        return run

    def find(self, job: Job) -> Run | None:
        """Search for an earlier run of a job; see `Builder.find`.

        Return `None` if the builder raises `JobRejected`: a job that does not exist has no runs.
        """
        try:
            with _waiting(), self._wrapped_errors():
                run = self._builder.find(job)
        except JobRejected:
            return None
        except Unavailable as error:
            error.ambiguous = True  # the search may have been for a run that exists
            raise
        if run is not None and not isinstance(run, Run):
            # This must not count as no run: the job would be started again.
            raise ConsumerFailed(
                f"builder {shown(self.name)} returned neither a Run nor None from find; correct the builder"
            )
        return run

    def endings(self, jobs: Sequence[StartedJob]) -> Mapping[str, Ending]:
        """Look up how runs of one job ended; see `KnowsEndings.endings`.

        Endings of runs that are not in `jobs` are left out.

        Raises:
            ConfigurationError: The builder has no method `endings`.
        """
        if self._endings is None:
            raise ConfigurationError(
                f"builder {shown(self.name)} cannot look up how its runs ended; give it a method endings (KnowsEndings)"
            )
        with self._wrapped_errors():
            found = dict(self._endings.endings(jobs))
        wanted = {job.run_id for job in jobs}
        return {run_id: ending for run_id, ending in found.items() if run_id in wanted and isinstance(ending, Ending)}

    @contextmanager
    def _wrapped_errors(self) -> Iterator[None]:
        try:
            yield
        except OrchestratorError:
            raise
        except Exception as error:
            raise wrapped(f"builder {shown(self.name)}", type(self._builder).__module__, error) from error


@contextmanager
def _waiting() -> Iterator[None]:
    """Let the event wait for the build system if the `with` block raises `Unavailable`.

    Set the error's `waits_for` to `BUILD_SYSTEM_DOWN`, except in these cases:

    - `waits_for` already has a value.
    - The error is an `Untraceable`: a person must look for the run.
    - The invocation has no time left, which may be the cause of the error.
    """
    try:
        yield
    except Untraceable:
        raise
    except Unavailable as error:
        if error.waits_for is None and deadline.has_time():
            error.waits_for = WaitReason.BUILD_SYSTEM_DOWN
        raise


class BuildSystems:
    """Holds the built-in builders and the registered ones. A built-in builder is created when it is first used."""

    def __init__(
        self, factories: Mapping[str, Callable[[], Builder]], builders: Mapping[str, Builder], default: str
    ) -> None:
        """Check and store the builders.

        Args:
            factories: Functions that create the built-in builders, by the builder's name.
            builders: The registered builders, by name. A registered builder replaces a built-in one of the same name.
            default: The name of the builder for jobs that name none.

        Raises:
            ConfigurationError: A registered builder has no method `start` or `find`, or there is no builder with the
                name `default`.
        """
        for name, builder in builders.items():
            if not _has_method(builder, "start") or not _has_method(builder, "find"):
                raise ConfigurationError(f"builder {shown(name)} lacks a method start or find; add it, see Builder")
        self._systems = {name: BuildSystem(name, builder) for name, builder in builders.items()}
        self._factories = factories
        self._known = ", ".join(dict.fromkeys((*factories, *builders)))
        if default not in factories and default not in builders:
            raise ConfigurationError(
                f"DEFAULT_BUILDER {shown(default)} is not registered (registered: {self._known}); correct it, or "
                "register the builder"
            )
        self._default = default
        self._lock = threading.Lock()

    def get(self, name: str | None, job: str) -> BuildSystem:
        """Return the builder with a given name, as a `BuildSystem`.

        Args:
            name: The builder's name; `None` selects the default builder.
            job: The name of the job that needs the builder. Only the error message uses it.

        Raises:
            ConfigurationError: No builder has this name, or a setting that the builder needs is missing.
        """
        name = name or self._default
        with self._lock:
            system = self._systems.get(name)
            if system is None:
                if name not in self._factories:
                    raise ConfigurationError(
                        f"builder {shown(name)} of job {shown(job)} is not registered (registered: {self._known}); "
                        "correct builderConfig.type, the tier's builder or DEFAULT_BUILDER, or register the builder"
                    )
                system = self._systems[name] = BuildSystem(name, self._factories[name]())
            return system
