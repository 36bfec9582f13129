"""Defines the interface of performers, and finds the performer of an action."""

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias, TypeVar

from orchestrator.ledger.ledger import Prepared
from orchestrator.run import Origin

ActionT_contra = TypeVar("ActionT_contra", contravariant=True)


class Performer(Protocol[ActionT_contra]):
    """Performs the actions of one class, such as `StartJob`."""

    def prepare(self, action: ActionT_contra, origin: Origin) -> Prepared:
        """Check an action, and return an object whose method `perform` performs the action.

        Args:
            action: The action.
            origin: The event and the consumer that the action comes from.

        Raises:
            ConfigurationError: Something that the action needs is missing or set up wrongly.
            InvalidEvent: The action holds an invalid value.
            JobRejected: The action starts a job whose name is malformed.
        """
        ...


Performers: TypeAlias = Mapping[type, Performer[Any]]
"""A performer for each class of actions."""


def is_action(decided: object, performers: Performers) -> bool:
    """Whether a value that a consumer returned is an action.

    The value is an action if `performers` has a performer for its class, or for a base class of its class.
    """
    return any(cls in performers for cls in type(decided).__mro__)


def performer_of(action: object, performers: Performers) -> Performer[Any]:
    """Find the performer for an action's class, or else for a base class of that class.

    The caller must have checked with `is_action` that there is such a performer.
    """
    return next(performers[cls] for cls in type(action).__mro__ if cls in performers)
