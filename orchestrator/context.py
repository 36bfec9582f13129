"""What a consumer may look at besides its event."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aws_lambda_powertools import Logger

    from orchestrator.settings import Settings
    from orchestrator.stores.tenants import TenantRecords
    from orchestrator.stores.tiers import TierDetails


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The second argument of a consumer that asks for one.

    Attributes:
        settings: The function's settings.
        tiers: Details of the tiers.
        tenants: Stored tenant records.
        logger: The function's logger; its lines carry the event's id.
        lambda_context: What Lambda passed as context, for example to ask for the remaining time.
    """

    settings: "Settings"
    tiers: "TierDetails"
    tenants: "TenantRecords"
    logger: "Logger"
    lambda_context: Any
