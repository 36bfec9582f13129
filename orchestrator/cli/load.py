"""Imports the handler or registry that the option `--handler` names."""

import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ConfigurationError, OrchestratorError
from orchestrator.registry import Registry

if TYPE_CHECKING:
    from orchestrator.application import Application


def load(place: str) -> Any:
    """Import a module, and return one of its attributes, such as a Lambda handler.

    Modules are searched in the current folder first.

    Args:
        place: The module and the attribute, separated by a colon, as in `orchestrator.handler:lambda_handler`.

    Raises:
        ConfigurationError: `place` is malformed, the module or attribute does not exist, or the import failed.
        OrchestratorError: The module itself raised this error during the import.
    """
    module_name, _, name = place.partition(":")
    if not name or not module_name or module_name.endswith(".py"):
        raise ConfigurationError(f"--handler {place}: write it as module:name, without .py")
    sys.path.insert(0, str(Path.cwd()))  # like `python -m`; never removed, as a handler may import more later
    try:
        return getattr(importlib.import_module(module_name), name)
    except OrchestratorError:
        raise
    except ModuleNotFoundError as error:
        needed_by = "" if error.name == module_name else f", which {module_name} needs,"
        raise ConfigurationError(f"--handler {place}: module {error.name}{needed_by} does not exist") from error
    except AttributeError as error:
        raise ConfigurationError(f"--handler {place}: {error}") from error
    except Exception as error:
        raise ConfigurationError(f"--handler {place}: importing it raised {type(error).__name__}: {error}") from error


def load_registry(place: str) -> Registry:
    """Import a registry, or a handler that has a registry, and return the registry.

    Args:
        place: See `load`.

    Raises:
        ConfigurationError: `load` raised this error, or `place` names neither a registry nor a handler that has one.
    """
    loaded = load(place)
    registry = loaded if isinstance(loaded, Registry) else getattr(loaded, "registry", None)
    if not isinstance(registry, Registry):
        raise ConfigurationError(
            f"--handler {place}: has no registry; create the handler with create_handler(registry)"
        )
    return registry


def load_application(place: str) -> "Application":
    """Import a handler, and return it without the decorators around it.

    If `place` names a registry, or any other object with an attribute `registry`, a handler for that registry is
    created. The handler's settings are read from environment variables.

    Args:
        place: See `load`.

    Raises:
        ConfigurationError: `load` raised this error, `place` names nothing that has a registry, or a setting is
            invalid.
    """
    from orchestrator.application import Application
    from orchestrator.wiring import create_handler

    loaded = load(place)
    inner = inspect.unwrap(loaded) if callable(loaded) else loaded
    return inner if isinstance(inner, Application) else create_handler(load_registry(place))


def load_handler(place: str) -> Callable[[Any, Any], Any]:
    """Import a Lambda handler; see `load`.

    Raises:
        ConfigurationError: `load` raised this error, or the attribute is not callable.
    """
    handler = load(place)
    if not callable(handler):
        raise ConfigurationError(f"--handler {place}: is not a function; name a result of create_handler")
    found: Callable[[Any, Any], Any] = handler
    return found
