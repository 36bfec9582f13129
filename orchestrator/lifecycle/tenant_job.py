"""Builds the action that starts the job of a tenant's tier for an event type, and the job's variables."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.action import StartJob
from orchestrator.builders.refused_names import OWN_FAMILY, family_of
from orchestrator.builders.variables import event_text, is_name
from orchestrator.details import BuildDetail, ProvisioningDetail
from orchestrator.errors import InvalidEvent, shown
from orchestrator.stores.tiers import ALLOWED_VARIABLES, allowed_variables, builder_name, job_name, slot_of

IDENTITY_PROVIDER_FEATURE = "IdP"

# These variables are always allowed, because the reference service also puts them into every `environmentOverride`.
_NEVER_LIMITED = frozenset({"tenant", "secret", "context", "planConfig"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Requested:
    """The job variables that an event or a tenant record requests.

    Attributes:
        admitted: The variables that the tier's `allowedVariables` allows, with their values as text. They may have any
            well-formed name. If the tier has no `allowedVariables`, `admitted` is empty.
        others: The variables to which `allowedVariables` does not apply: `tenant`, `secret`, `context`, `planConfig`
            and `ORCHESTRATOR_…`. If the tier has no `allowedVariables`, `others` contains all variables. When the job
            is prepared, names that could change how the build runs, and `ORCHESTRATOR_…`, are refused (see
            `orchestrator.builders.refused_names`).
    """

    admitted: Mapping[str, str] = field(default_factory=dict, repr=False)
    others: Mapping[str, Any] = field(repr=False)


def tenant_job(event_type: str, detail: ProvisioningDetail, tier: Mapping[str, Any]) -> StartJob:
    """Build the action that starts the tier's job for an event type.

    Returns:
        The action, with the builder that the detail names, or else the builder that the tier names. The job's variables
        are the tier's attributes (see `variables_of`), the variables that the detail requests, and the variable
        `tenant`. If two of them have the same name, the one that comes later in this list is used.

    Raises:
        ConfigurationError: The tier names no job for the event type, or an attribute of the tier is malformed.
        InvalidEvent: The detail requests a variable that the tier does not allow.
    """
    requested = requested_variables(detail.model_dump(by_alias=True, exclude_unset=True), tier)
    slot, slots = slot_of(tier, event_type) or (None, None)
    return StartJob(
        name=job_name(tier, event_type),
        builder=(detail.builder_config and detail.builder_config.type) or builder_name(tier),
        trusted_variables={**tier, **requested.admitted},
        variables={**requested.others, "tenant": tenant_of(detail)},
        tenant_id=detail.tenant.id,
        slot=slot,
        slots=slots,
    )


def tier_name(detail: BuildDetail, record: Mapping[str, Any]) -> str | None:
    """Return the name of the tenant's tier, or `None` if neither argument has the name.

    The name is read from the event's detail. If the detail has none, the name is read from the tenant record.
    """
    plan = record.get("planConfig")
    name = detail.tier or (plan.get("tier") if isinstance(plan, Mapping) else None)
    return name if isinstance(name, str) and name else None


def tenant_of(detail: ProvisioningDetail) -> dict[str, Any]:
    """Build the job variable `tenant`: the detail's `tenant`, with the value of the plan's feature `IdP`.

    The member `identityProvider` contains this value. If the plan has no such feature, or the feature has no value, the
    member is as in the detail.
    """
    tenant = detail.tenant.model_dump(by_alias=True, exclude_unset=True)
    for feature in detail.plan_config.features or ():
        provider = feature.effective_value()
        if feature.key == IDENTITY_PROVIDER_FEATURE and provider is not None:
            tenant["identityProvider"] = provider
    return tenant


def requested_variables(detail: Mapping[str, Any], tier: Mapping[str, Any]) -> Requested:
    """Read the variables that a detail requests for the tenant's jobs.

    If the detail has `builderConfig` but no `subscription`, the variables are only the members of
    `builderConfig.config.environmentOverride`. Otherwise, they come from three places:

    1. the members of `planConfig.sizeConfig`
    2. the detail's own members `secret` and `context`, each as one variable
    3. the members of `builderConfig.config.environmentOverride`

    If a name occurs in several places, the value from the last place is used.

    Args:
        detail: A tenant record, or the detail of a TENANT_PROVISIONING event. If the event's detail has the form
            `{type, data}`, pass the value of `data`.
        tier: The tier's details. Their `allowedVariables` may limit which variables can be requested.

    Raises:
        InvalidEvent: A variable to which `allowedVariables` applies (see `Requested`) is not allowed.
        ConfigurationError: `allowedVariables` is malformed.
    """
    given = _given(detail)
    patterns = allowed_variables(tier)
    if patterns is None:
        return Requested(others=given)
    others = {name: value for name, value in given.items() if name in _NEVER_LIMITED or _is_own(name)}
    limited = {name: value for name, value in given.items() if name not in others}
    for name in limited:
        if not _is_admitted(name, patterns):
            raise InvalidEvent(
                f"job variable {shown(name)} is not among the {ALLOWED_VARIABLES} of tier {shown(tier.get('tier'))}; "
                "add it there, or correct the sender"
            )
    return Requested(admitted={name: event_text(name, value) for name, value in limited.items()}, others=others)


def _given(detail: Mapping[str, Any]) -> dict[str, Any]:
    builder: Mapping[str, Any] = detail.get("builderConfig") or {}
    override = (builder.get("config") or {}).get("environmentOverride") or {}
    if builder and detail.get("subscription") is None:
        return dict(override)
    given = {name: detail[name] for name in ("secret", "context") if detail.get(name) is not None}
    return {**((detail.get("planConfig") or {}).get("sizeConfig") or {}), **given, **override}


def _is_own(name: str) -> bool:
    return family_of(name) == OWN_FAMILY


def _is_admitted(name: str, patterns: tuple[str, ...]) -> bool:
    return is_name(name) and any(
        name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern for pattern in patterns
    )
