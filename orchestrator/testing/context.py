"""Creates a context for a consumer from the tiers and tenant records that a test passes."""

from collections.abc import Mapping
from typing import Any

from orchestrator import telemetry
from orchestrator.consumer import Context
from orchestrator.local.lambda_context import LocalContext
from orchestrator.settings import Settings
from orchestrator.stores.tiers import StaticTierDetails


class MemoryTenants:
    """Holds tenant records in memory, for consumers to read."""

    def __init__(self, records: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self._records = records or {}

    def get(self, tenant_id: str) -> Mapping[str, Any] | None:
        """Return the tenant's record, or `None` if there is none."""
        return self._records.get(tenant_id)


def make_context(
    *,
    tiers: Mapping[str, Mapping[str, Any]] | None = None,
    tenants: Mapping[str, Mapping[str, Any]] | None = None,
    settings: Settings | None = None,
) -> Context:
    """Create the context that a consumer receives as its second argument.

    Args:
        tiers: Tier details by tier name. If it is `None`, every name is that of a tier with the job `{tier}-job`.
        tenants: Tenant records by tenant id.
        settings: The settings; the default is that of a function without any environment variables.

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
