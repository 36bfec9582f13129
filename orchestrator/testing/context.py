"""Creates the context that a consumer receives in a test, from the test's own tiers and tenant records."""

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
        """Return a tenant's record, or `None` if the tenant has no record."""
        return self._records.get(tenant_id)


def make_context(
    *,
    tiers: Mapping[str, Mapping[str, Any]] | None = None,
    tenants: Mapping[str, Mapping[str, Any]] | None = None,
    settings: Settings | None = None,
) -> Context:
    """Create the context that a consumer receives as its second argument.

    Args:
        tiers: Tier details by tier name. If this is `None`, any tier name is valid, and the tier's job has the name
            `{tier}-job`.
        tenants: Tenant records by tenant id. If this is `None`, no tenant has a tenant record.
        settings: By default, each setting has its default value; environment variables are not read.

    Returns:
        The context. Its logger is this package's logger, which writes to standard output.
    """
    return Context(
        settings=settings or Settings(),
        tiers=StaticTierDetails(tiers),
        tenants=MemoryTenants(tenants),
        logger=telemetry.logger,
        lambda_context=LocalContext(),
    )
