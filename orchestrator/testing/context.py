"""A consumer's context, whose tiers and tenant records a test gives."""

from collections.abc import Mapping
from typing import Any

from orchestrator import telemetry
from orchestrator.consumer import Context
from orchestrator.local.lambda_context import LocalContext
from orchestrator.settings import Settings
from orchestrator.stores.tiers import StaticTierDetails


class MemoryTenants:
    """Tenant records in memory, which consumers read."""

    def __init__(self, records: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self._records = records or {}

    def get(self, tenant_id: str) -> Mapping[str, Any] | None:
        """Read a tenant record; `None` where there is none."""
        return self._records.get(tenant_id)


def make_context(
    *,
    tiers: Mapping[str, Mapping[str, Any]] | None = None,
    tenants: Mapping[str, Mapping[str, Any]] | None = None,
    settings: Settings | None = None,
) -> Context:
    """Make the second argument of a consumer.

    Args:
        tiers: Tier details by name; without any, every tier has the job `{tier}-job`.
        tenants: Tenant records by tenant id.
        settings: The settings; by default what a function without any variables has.

    Returns:
        The context. Its logger is the package's own, which writes to standard output.
    """
    return Context(
        settings=settings or Settings(),
        tiers=StaticTierDetails(tiers),
        tenants=MemoryTenants(tenants),
        logger=telemetry.logger,
        lambda_context=LocalContext(),
    )
