"""Lets an event wait in a queue until its job can be started, and stores in the tenant record why the event waits."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator import telemetry
from orchestrator.action import UpdateTenant
from orchestrator.details import find_tenant_id
from orchestrator.errors import OrchestratorError, WaitReason
from orchestrator.event import Event
from orchestrator.intake import eventbridge, message
from orchestrator.intake.message import Queue
from orchestrator.intake.redelivery import wait_seconds
from orchestrator.ledger.gate import builder_key
from orchestrator.ledger.waiting_line import WaitingLine
from orchestrator.run import Origin
from orchestrator.stores.tenants import WAITING_FOR, TenantRecords


class Waiting:
    """Sends events to the waiting queue, and stores in the tenant record what an event waits for (`waitingFor`)."""

    def __init__(self, queue: Queue | None, tenants: TenantRecords, line: WaitingLine | None) -> None:
        """Store the arguments.

        Args:
            queue: The waiting queue, if there is one.
            tenants: The tenant records.
            line: Makes SQS deliver waiting events once there may be room for their jobs; `None` if the ledger has no
                table.
        """
        self._queue = queue
        self._tenants = tenants
        self._line = line

    def send(self, event: Event[Mapping[str, Any]], consumers: Sequence[str]) -> bool:
        """Send an event to the waiting queue, for the consumers whose jobs cannot be started yet.

        If Lambda delivers the event again, a second message is sent. The second message does no harm, because the
        ledger makes sure that the two messages start each job only once.

        Args:
            event: The event as it was received.
            consumers: Names of the consumers whose jobs cannot be started yet.

        Returns:
            True if the event was sent. False if there is no queue, or if the event could not be sent. The caller must
            then let the event fail.
        """
        if self._queue is None:
            return False
        attributes = {message.CONSUMERS_ATTRIBUTE: message.text(json.dumps(list(consumers)))}
        if event.redrive is not None:
            attributes[message.REDRIVE_ATTRIBUTE] = message.text(event.redrive)
        failure = f"event {event.id} was not sent to the waiting queue"
        try:
            body = message.body_of(eventbridge.as_json(event))
            self._queue.send(body, attributes, failure, DelaySeconds=wait_seconds(1))
        except OrchestratorError as error:
            telemetry.logger.error(str(error), error=type(error).__name__)
            return False
        except Exception as error:  # such as a detail that a consumer has changed to something that JSON lacks
            telemetry.logger.error(f"{failure} ({type(error).__name__})", error=type(error).__name__)
            return False
        return True

    def wake_next(self, builder: str) -> None:
        """Make SQS deliver one event that waits for a build system. If the ledger has no table, do nothing.

        This is called when an event that had waited has started its job, because the build system may then take another
        job.

        Args:
            builder: The build system's name.
        """
        if self._line is not None:
            self._line.wake(builder_key(builder), 1)

    def note(self, event: Event[Mapping[str, Any]], reason: WaitReason | None) -> None:
        """Store in the tenant record what the event waits for. A failure is only logged.

        If the event names no tenant, nothing is stored.

        Args:
            event: The event.
            reason: What the event waits for. `None` removes the attribute `waitingFor` from the tenant record.
        """
        tenant_id = find_tenant_id(event.detail)
        if tenant_id is None:
            return
        update = UpdateTenant(tenant_id=tenant_id, changes={WAITING_FOR: reason})
        try:
            self._tenants.update(update, Origin(event=event, consumer="", position=0))
        except OrchestratorError as error:
            telemetry.logger.info(f"{WAITING_FOR} was not stored: {error}")
        except Exception as error:  # a store of somebody's own may raise anything; the event waits all the same
            telemetry.logger.info(f"{WAITING_FOR} was not stored ({type(error).__name__})")
