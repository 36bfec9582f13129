"""The build systems that a function knows by name."""

import threading
from collections.abc import Callable, Mapping

from orchestrator.errors import ConfigurationError, shown
from orchestrator.job import Builder


class KnownBuilders:
    """Makes each build system when the first job asks for it, and keeps it."""

    def __init__(self, factories: Mapping[str, Callable[[], Builder]], default: str) -> None:
        """Keep what makes the build systems.

        Args:
            factories: What makes each build system, by its name.
            default: Name of the one that starts the jobs that name none.
        """
        self.default = default
        self._factories = factories
        self._builders: dict[str, Builder] = {}
        self._lock = threading.Lock()

    def get(self, name: str, job: str) -> Builder:
        """Give a build system.

        Args:
            name: Its name.
            job: The job that it is wanted for.

        Returns:
            The build system.

        Raises:
            ConfigurationError: There is none of that name, or its settings are missing.
        """
        with self._lock:
            builder = self._builders.get(name)
            if builder is None:
                factory = self._factories.get(name)
                if factory is None:
                    known = ", ".join(self._factories)
                    raise ConfigurationError(
                        f"builder {shown(name)} of job {shown(job)} is not known (known: {known}); correct "
                        "builderConfig.type, the tier's builder or DEFAULT_BUILDER, or register the builder"
                    )
                builder = self._builders[name] = factory()
            return builder
