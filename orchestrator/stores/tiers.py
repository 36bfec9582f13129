"""Details of the tiers: which jobs a tier's tenants get, on which build system, and with which variables."""

import re
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.aws import items
from orchestrator.aws.errors import aws_errors
from orchestrator.errors import ConfigurationError, shown
from orchestrator.event import EventType

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

JOB_ATTRIBUTES: Mapping[str, str] = MappingProxyType(
    {
        EventType.TENANT_PROVISIONING: "jobName",
        EventType.TENANT_DEPROVISIONING: "deprovisioningJobName",
        EventType.TENANT_DEPLOYMENT: "deploymentJobName",
    }
)
"""Which attribute of a tier names the job of an event type."""

DOES_BOTH = "jobDeprovisions"
"""Attribute (true) of a tier whose `jobName` deprovisions, too; the job tells by `ORCHESTRATOR_EVENT_TYPE`."""

ALLOWED_VARIABLES = "allowedVariables"
"""Attribute of a tier: the only names that events may set as variables of its jobs; `APP_*` stands for a prefix."""

_PATTERN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\*?")


def job_name(tier: Mapping[str, Any], event_type: str) -> str:
    """Read which job a tier has for an event type.

    Args:
        tier: The tier's details.
        event_type: One of `JOB_ATTRIBUTES`.

    Returns:
        The job's name.

    Raises:
        ConfigurationError: The tier names none, or tiers have none for that type.
    """
    attribute = JOB_ATTRIBUTES.get(event_type)
    if attribute is None:
        known = ", ".join(JOB_ATTRIBUTES)
        raise ConfigurationError(f"a tier has no job for events of type {shown(event_type)} (it has for: {known})")
    hint = ""
    if event_type == EventType.TENANT_DEPROVISIONING and tier.get(attribute) is None:
        if tier.get(DOES_BOTH) in (True, "true"):
            attribute = JOB_ATTRIBUTES[EventType.TENANT_PROVISIONING]
        hint = f", or {DOES_BOTH} (true) where its jobName does both"
    return _text(tier, attribute, f"the job of {event_type}", hint)


def has_job(tier: Mapping[str, Any], event_type: str) -> bool:
    """Say whether a tier has a job for an event type.

    Args:
        tier: The tier's details.
        event_type: One of `JOB_ATTRIBUTES`.

    Returns:
        Whether the attribute is there; `job_name` says whether it is a name.
    """
    return tier.get(JOB_ATTRIBUTES[EventType(event_type)]) is not None


def builder_name(tier: Mapping[str, Any]) -> str | None:
    """Read which build system a tier's jobs are on.

    Args:
        tier: The tier's details.

    Returns:
        Its name, or `None` where the tier leaves that to `DEFAULT_BUILDER`.

    Raises:
        ConfigurationError: The attribute `builder` is there and no name.
    """
    return None if tier.get("builder") is None else _text(tier, "builder", "its build system")


def variables_of(tier: Mapping[str, Any]) -> dict[str, Any]:
    """Read which variables a tier's jobs get.

    Args:
        tier: The tier's details.

    Returns:
        All of its attributes but `allowedVariables`.
    """
    return {name: value for name, value in tier.items() if name != ALLOWED_VARIABLES}


def allowed_variables(tier: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Read which variables events may set for a tier's jobs.

    Args:
        tier: The tier's details.

    Returns:
        The names, prefixes with `*` at their end; `None` where the tier does not limit them.

    Raises:
        ConfigurationError: The attribute is no list, set or comma-separated text of such names.
    """
    value = tier.get(ALLOWED_VARIABLES)
    if value is None:
        return None
    names = value.split(",") if isinstance(value, str) else value
    if isinstance(names, list | tuple | set | frozenset) and all(isinstance(name, str) for name in names):
        patterns = [stripped for name in names if (stripped := name.strip())]
        if all(map(_PATTERN.fullmatch, patterns)):
            return tuple(patterns)
    raise ConfigurationError(
        f"tier {shown(tier.get('tier'))} has a malformed attribute {ALLOWED_VARIABLES}; make it a list, a set or a "
        "comma-separated text of names of variables, a prefix with * at its end, as in APP_*"
    )


def _text(tier: Mapping[str, Any], attribute: str, meaning: str, hint: str = "") -> str:
    value = tier.get(attribute)
    if not isinstance(value, str) or not value:
        raise ConfigurationError(
            f"tier {shown(tier.get('tier'))} does not name {meaning}; give its item an attribute {attribute} (text)"
            f"{hint}"
        )
    return value


class TierDetails(Protocol):
    """Where the details of a tier come from."""

    def get(self, tier: str) -> Mapping[str, Any]:
        """Look a tier up.

        Args:
            tier: Its name, for example `PREMIUM`.

        Returns:
            Its details: `tier`, `jobName`, and whatever else the job is to have as variables.

        Raises:
            ConfigurationError: The tier is not known.
            InvalidEvent: Its name is too long for one.
            Unavailable: It could not be looked up just now.
        """
        ...


class StaticTierDetails:
    """Tier details given in code; without any, every tier has the job `{tier}-job` (the seed's convention)."""

    def __init__(self, tiers: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self._tiers = tiers

    def get(self, tier: str) -> Mapping[str, Any]:
        """Look a tier up; see `TierDetails.get`."""
        if self._tiers is None:
            return {"tier": tier, "jobName": f"{tier}-job"}
        if tier not in self._tiers:
            known = ", ".join(self._tiers) or "none"
            raise ConfigurationError(
                f"tier {shown(tier)} is not known (known: {known}); add it or correct the plan's tier"
            )
        return {"tier": tier, **self._tiers[tier]}


class DynamoDBTierDetails:
    """Tier details kept in a DynamoDB table with the key `tier`, cached for a while."""

    def __init__(
        self,
        table: str,
        client: "Callable[[], DynamoDBClient]",
        max_age: float = 300.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep what is needed for the first look-up; nothing is read yet.

        Args:
            table: The table's name.
            client: Gives the DynamoDB client.
            max_age: Seconds for which details are kept before they are read again.
            clock: Seconds from any fixed point on.
        """
        self._table = table
        self._client = client
        self._max_age = max_age
        self._clock = clock
        self._cache: dict[str, tuple[float, Mapping[str, Any]]] = {}

    def get(self, tier: str) -> Mapping[str, Any]:
        """Look a tier up; see `TierDetails.get`."""
        cached = self._cache.get(tier)
        if cached is not None and self._clock() - cached[0] < self._max_age:
            return cached[1]
        items.check_key(f"the tier's name {shown(tier)}", tier)
        with aws_errors(f"tier {shown(tier)} could not be read from table {self._table}"):
            item = self._client().get_item(TableName=self._table, Key={"tier": {"S": tier}}).get("Item")
        if item is None:
            raise ConfigurationError(
                f"tier {shown(tier)} is not in table {self._table}; add an item with that key, "
                "or correct the plan's tier"
            )
        details = MappingProxyType(items.from_item(item))
        self._cache[tier] = (self._clock(), details)
        return details
