"""Tenants in all the states that operators meet, in a deployed stack."""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.errors import OrchestratorError
from orchestrator.local import messages
from orchestrator.local.codebuild import CodeBuildServer
from orchestrator.local.lambda_context import LocalContext
from orchestrator.local.recorder import Recording
from orchestrator.run import TENANT_ID_VARIABLE
from tests.cli.conftest import Deployment
from tests.support.events import changed, sample

# For each ten tenants.
_SHARES: Mapping[str, int] = {
    "active": 2,
    "failed": 1,
    "running": 1,
    "waiting": 1,
    "in doubt": 1,
    "deprovisioned": 2,
    "rejected": 2,  # their tier does not exist, so their events are in the failure queue
}
NEW_TIER = "GOLD"
_REGION = "eu-west-1"


@dataclass(frozen=True, slots=True)
class Tenants:
    """The tenants of a stack, and what brings them into their states.

    Attributes:
        tens: A tenth of the number of tenants.
        events: The id of each tenant's provisioning event.
    """

    stack: Deployment
    codebuild: CodeBuildServer
    recording: Recording
    tens: int
    events: dict[str, str] = field(default_factory=dict)

    def of(self, state: str) -> list[str]:
        """Return the ids of the tenants in a state."""
        return [f"{state.replace(' ', '-')}-{number:02}" for number in range(_SHARES[state] * self.tens)]

    def states(self) -> list[str]:
        """Return the states that tenants are in."""
        return list(_SHARES)

    def fill(self) -> None:
        """Bring all tenants into their states."""
        for state in self.states():
            for tenant in self.of(state):
                self.events[tenant] = str(uuid.uuid4())
        for tenant in (*self.of("active"), *self.of("deprovisioned")):
            self.provision(tenant)
            self.end_job(tenant)
        for tenant in self.of("failed"):
            self.provision(tenant)
            self.end_job(tenant, "FAILED")
        for tenant in self.of("deprovisioned"):
            self.deprovision(tenant)
            self.end_job(tenant)
        for tenant in (*self.of("running"), *self.of("waiting")):
            self.provision(tenant)
        for tenant in self.of("waiting"):
            self.deprovision(tenant)
        for tenant in self.of("in doubt"):
            self._provision_without_an_answer(tenant)
        for tenant in self.of("rejected"):
            self._provision_in_vain(tenant)

    def provision(self, tenant: str, tier: str = "PREMIUM") -> None:
        self._send(self._provisioning(tenant, tier))

    def deprovision(self, tenant: str) -> None:
        self._send(self.deprovisioning(tenant))

    def deprovisioning(self, tenant: str) -> Any:
        """Create an event that deprovisions a tenant."""
        return self._event("tenant-deprovisioning", tenant, str(uuid.uuid4()))

    def end_job(self, tenant: str, status: str = "SUCCEEDED") -> None:
        """End the job that was started last for the tenant, and let all that follows happen."""
        build = next(build for build in reversed(self.codebuild.builds) if self._tenant(build) == tenant)
        self.codebuild.finish(build, status)
        self._send(messages.state_change(build))

    def _provision_without_an_answer(self, tenant: str) -> None:
        before = set(self.stack.runs())
        self.provision(tenant)
        (run_id,) = set(self.stack.runs()) - before
        self.stack.record(run_id, outcome=None, state="claimed", lockedUntil=1)

    def _provision_in_vain(self, tenant: str) -> None:
        event = self._provisioning(tenant, NEW_TIER)
        try:
            self._send(event)
        except OrchestratorError as error:  # Lambda puts its record into the failure queue
            answer = {"errorType": type(error).__name__, "errorMessage": str(error)}
            context = {"condition": "RetriesExhausted"}
            self.stack.fail({"requestContext": context, "requestPayload": event, "responsePayload": answer})
        self._deliver()

    def _provisioning(self, tenant: str, tier: str) -> Any:
        event = self._event("tenant-provisioning", tenant, self.events[tenant])
        return changed(event, "detail.planConfig.tier", tier)

    def _event(self, name: str, tenant: str, event_id: str) -> Any:
        return messages.sent_now(changed({**sample(name), "id": event_id}, "detail.tenant.id", tenant))

    def _send(self, event: Any) -> None:
        self.stack.account.handler(event, LocalContext())
        self._deliver()

    def _deliver(self) -> None:
        """Send the events that the function has published to it, as the bus does."""
        for entry in self._published():
            self.stack.account.handler(messages.from_bus(entry, _REGION), LocalContext())

    def _published(self) -> Iterator[Mapping[str, Any]]:
        while self.recording.published:
            yield self.recording.published.pop(0)

    def _tenant(self, build: dict[str, Any]) -> str | None:
        return self.codebuild.variables(build).get(TENANT_ID_VARIABLE)
