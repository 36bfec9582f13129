"""The interface of performers, and the search for the performer of an action."""

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias, TypeVar

from orchestrator.ledger.ledger import Prepared
from orchestrator.run import Origin

ActionT_contra = TypeVar("ActionT_contra", contravariant=True)


class Performer(Protocol[ActionT_contra]):
    """Performs one class of actions."""

    def prepare(self, action: ActionT_contra, origin: Origin) -> Prepared:
        """Check an action and prepare it to be performed later.

        Raises:
            ConfigurationError: Something that the action needs is missing or set up wrongly.
            InvalidEvent: The action holds an invalid value.
        """
        ...


Performers: TypeAlias = Mapping[type, Performer[Any]]
"""The performer of each class of actions."""


def is_action(decided: object, performers: Performers) -> bool:
    """Whether there is a performer for an object's class, or for one of its base classes."""
    return any(cls in performers for cls in type(decided).__mro__)


def performer_of(action: object, performers: Performers) -> Performer[Any]:
    """Find the performer for an action's class, or else for one of its base classes."""
    return next(performers[cls] for cls in type(action).__mro__ if cls in performers)
