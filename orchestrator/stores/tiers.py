"""Reads tier details: which jobs run for the tenants of a tier, on which build system, and with which variables."""

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
"""By event type, the attribute of a tier that contains the name of the job for events of that type."""

DOES_BOTH = "jobDeprovisions"
"""Attribute of a tier: true if the job that `jobName` names both provisions and deprovisions tenants.

The job distinguishes the two cases by its variable `ORCHESTRATOR_EVENT_TYPE`.
"""

ALLOWED_VARIABLES = "allowedVariables"
"""Attribute of a tier: names of the only job variables that events may set.

An entry such as `APP_*` allows all names that begin with `APP_`. Without this attribute, the tier sets no limit.
"""

MAX_CONCURRENT = "maxConcurrent"
"""Attribute of a tier: how many jobs of the tier may run at the same time."""

MAX_CONCURRENT_BY_TYPE = "maxConcurrentByType"
"""Attribute of a tier: how many jobs for one event type may run at the same time, by event type.

The jobs for these types do not count towards `maxConcurrent`.
"""

_NO_VARIABLES = frozenset({ALLOWED_VARIABLES, MAX_CONCURRENT, MAX_CONCURRENT_BY_TYPE})
_COUNT = re.compile(r"[1-9][0-9]{0,8}")
_PATTERN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\*?")


def job_name(tier: Mapping[str, Any], event_type: str) -> str:
    """Read the name of the job that a tier has for an event type.

    `JOB_ATTRIBUTES` lists the tier's attribute for each type. For TENANT_DEPROVISIONING, if the tier has no
    `deprovisioningJobName`, but `jobDeprovisions` is true, the name is read from `jobName`.

    Raises:
        ConfigurationError: The tier names no job for the event type, or the type is not a key of `JOB_ATTRIBUTES`.
    """
    attribute = JOB_ATTRIBUTES.get(event_type)
    if attribute is None:
        known = ", ".join(JOB_ATTRIBUTES)
        raise ConfigurationError(f"a tier has no job for events of type {shown(event_type)}; use one of {known}")
    hint = ""
    if event_type == EventType.TENANT_DEPROVISIONING and tier.get(attribute) is None:
        if tier.get(DOES_BOTH) in (True, "true"):
            attribute = JOB_ATTRIBUTES[EventType.TENANT_PROVISIONING]
        hint = f", or set {DOES_BOTH} to true if the job in jobName does both"
    return _text(tier, attribute, f"the job of {event_type}", hint)


def has_job(tier: Mapping[str, Any], event_type: str) -> bool:
    """Whether a tier has the attribute that names the job for an event type.

    The attribute may still be invalid; `job_name` checks its value. Unlike `job_name`, this function ignores
    `jobDeprovisions`.

    Args:
        tier: The tier's details.
        event_type: A key of `JOB_ATTRIBUTES`.
    """
    return tier.get(JOB_ATTRIBUTES[EventType(event_type)]) is not None


def builder_name(tier: Mapping[str, Any]) -> str | None:
    """Read the name of a tier's build system; `None` means the build system in the setting `DEFAULT_BUILDER`.

    Raises:
        ConfigurationError: The attribute `builder` is not a text, or is empty.
    """
    return None if tier.get("builder") is None else _text(tier, "builder", "its build system")


def slot_of(tier: Mapping[str, Any], event_type: str) -> tuple[str, int] | None:
    """Read a tier's limit on concurrent runs of its jobs for an event type.

    The limit is the event type's entry in `maxConcurrentByType`. If there is no such entry, it is `maxConcurrent`, a
    limit that all event types without an entry share.

    Returns:
        The values for `StartJob.slot` and `StartJob.slots`; `None` if the tier sets no limit.

    Raises:
        ConfigurationError: The limit is malformed.
    """
    name, limit, by_type = f"tier {tier.get('tier')}", tier.get(MAX_CONCURRENT), tier.get(MAX_CONCURRENT_BY_TYPE)
    if isinstance(by_type, Mapping) and event_type in by_type:
        name, limit = f"{name} {event_type}", by_type[event_type]
    if (by_type is None or isinstance(by_type, Mapping)) and (limit is None or _COUNT.fullmatch(str(limit))):
        return None if limit is None else (name, int(limit))
    raise ConfigurationError(
        f"{name} has a malformed limit; make {MAX_CONCURRENT} a whole number, and {MAX_CONCURRENT_BY_TYPE} a map from "
        "event types to whole numbers"
    )


def variables_of(tier: Mapping[str, Any]) -> dict[str, Any]:
    """Return the variables that a tier's jobs get: all attributes of the tier except those in `_NO_VARIABLES`."""
    return {name: value for name, value in tier.items() if name not in _NO_VARIABLES}


def allowed_variables(tier: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Read the names of the variables that an event may set for a tier's jobs.

    Returns:
        Names of variables, and patterns. A pattern such as `APP_*` allows all names that begin with `APP_`. `None` if
        the tier sets no limit.

    Raises:
        ConfigurationError: The attribute `allowedVariables` is not a list, a set or a comma-separated text of names and
            patterns.
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
        "comma-separated text of variable names, or of prefixes that end in *, such as APP_*"
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
    """A source of tier details."""

    def get(self, tier: str) -> Mapping[str, Any]:
        """Look a tier up by its name, for example `PREMIUM`.

        Returns:
            The tier's attributes: its name in `tier`, the names of its jobs in attributes such as `jobName`, and any
            other attributes. Nearly all of them become variables of the tier's jobs (see `variables_of`).

        Raises:
            ConfigurationError: There is no such tier, or the source does not exist or may not be read.
            InvalidEvent: The name is too long for the key of a DynamoDB table.
            Unavailable: The source could not be reached.
        """
        ...


class StaticTierDetails:
    """Provides tier details that are given in code, by tier name.

    If `tiers` is `None`, every tier name is valid. A tier then has only the attributes `tier` and `jobName`, which is
    `{tier}-job`.
    """

    def __init__(self, tiers: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self._tiers = tiers

    def get(self, tier: str) -> Mapping[str, Any]:
        """Look a tier up by its name; see `TierDetails.get`."""
        if self._tiers is None:
            return {"tier": tier, "jobName": f"{tier}-job"}
        if tier not in self._tiers:
            known = ", ".join(self._tiers) or "none"
            raise ConfigurationError(
                f"tier {shown(tier)} is unknown (known: {known}); add it, or correct the plan's tier"
            )
        return {"tier": tier, **self._tiers[tier]}


class DynamoDBTierDetails:
    """Reads tier details from a DynamoDB table with the key `tier`, and caches them."""

    def __init__(
        self,
        table: str,
        client: "Callable[[], DynamoDBClient]",
        max_age: float = 300.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Store the arguments; the table is read later, by `get`.

        Args:
            table: The table's name.
            client: Returns the DynamoDB client. It is called for each request.
            max_age: How long the details of a tier are cached, in seconds.
            clock: Returns the current time in seconds, like `time.monotonic`.
        """
        self._table = table
        self._client = client
        self._max_age = max_age
        self._clock = clock
        self._cache: dict[str, tuple[float, Mapping[str, Any]]] = {}

    def get(self, tier: str) -> Mapping[str, Any]:
        """Look a tier up by its name; see `TierDetails.get`."""
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
