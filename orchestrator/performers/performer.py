"""What every performer has in common."""

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias, TypeVar

from orchestrator.ledger.ledger import Prepared
from orchestrator.run import Origin

ActionT_contra = TypeVar("ActionT_contra", contravariant=True)


class Performer(Protocol[ActionT_contra]):
    """Performs one class of actions."""

    def prepare(self, action: ActionT_contra, origin: Origin) -> Prepared:
        """Check an action before anything is performed.

        Args:
            action: The action.
            origin: Where it comes from.

        Returns:
            The action, ready to be performed.

        Raises:
            ConfigurationError: Something that the action needs is not set up.
            InvalidEvent: The action holds what it may not.
        """
        ...


Performers: TypeAlias = Mapping[type, Performer[Any]]
"""The performer of each class of actions."""
