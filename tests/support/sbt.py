"""A control plane of AWS SaaS Builder Toolkit: its registrations, its events, and what it makes of the answers.

It does what its functions `tenant-registrations` and `tenant-management` do, with requests to DynamoDB like theirs:
https://github.com/awslabs/sbt-aws/tree/main/resources/functions
"""

import itertools
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import boto3

from orchestrator.aws import items
from tests.support.aws import ACCOUNT_ID, REGION

TENANTS, REGISTRATIONS = "sbt-tenants", "sbt-registrations"
ANSWERS = ("provisionSuccess", "provisionFailure", "deprovisionSuccess", "deprovisionFailure")


class SbtControlPlane:
    """Registers tenants, requests their jobs, and takes the events that match its rules.

    Attributes:
        answers: The events that were taken, in order.
    """

    def __init__(
        self, prefix: str = "sbt_aws_", source: str = "sbt.control.plane", expects: str = "sbt.application.plane"
    ) -> None:
        self.answers: list[Mapping[str, Any]] = []
        self._prefix = prefix
        self._source = source
        self._expects = expects
        self._numbers = itertools.count(1)
        self._dynamodb = boto3.client("dynamodb")
        for table, key in ((TENANTS, "tenantId"), (REGISTRATIONS, "tenantRegistrationId")):
            self._dynamodb.create_table(
                TableName=table,
                KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
                AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"}],
                BillingMode="PAY_PER_REQUEST",
            )

    def register(self, **tenant_data: Any) -> dict[str, Any]:
        """Register a tenant, as by `POST /tenant-registrations`, and return the event that requests its onboarding."""
        number = next(self._numbers)
        registration_id, tenant_id = f"registration-{number}", f"tenant-{number}"
        registration = {"registrationStatus": "In progress"}
        data = {**tenant_data, "tenantRegistrationId": registration_id}
        self._put(TENANTS, {**data, "tenantId": tenant_id, "sbtaws_active": True})
        own = {"tenantRegistrationId": registration_id, "tenantId": tenant_id, "sbtaws_active": True}
        self._put(REGISTRATIONS, {**own, **registration})
        return self._event("onboardingRequest", {**registration, **data, "tenantId": tenant_id})

    def delete(self, registration_id: str) -> dict[str, Any]:
        """Delete a registration, and return the event that requests the tenant's off-boarding."""
        registration = self.registration(registration_id)
        self._update_tenant(registration["tenantId"], {"sbtaws_active": False})
        self._update_registration(registration_id, {"sbtaws_active": False})
        return self._event("offboardingRequest", {**self.tenant(registration["tenantId"]), **registration})

    def take(self, entry: Mapping[str, Any]) -> None:
        """Take a published event if it matches a rule. The target updates the registration by the event's output."""
        if entry["Source"] != self._expects or entry["DetailType"] not in [self._prefix + name for name in ANSWERS]:
            return
        self.answers.append(entry)
        detail = json.loads(entry["Detail"])
        self._patch(detail["tenantRegistrationId"], detail["jobOutput"])

    def registration(self, registration_id: str) -> dict[str, Any]:
        return self._get(REGISTRATIONS, {"tenantRegistrationId": registration_id})

    def tenant(self, tenant_id: str) -> dict[str, Any]:
        return self._get(TENANTS, {"tenantId": tenant_id})

    def _patch(self, registration_id: str, output: Mapping[str, Any]) -> None:
        if output.get("tenantRegistrationData", {}) != {}:
            self._update_registration(registration_id, output["tenantRegistrationData"])
        if output.get("tenantData", {}) != {}:
            self._update_tenant(self.registration(registration_id)["tenantId"], output["tenantData"])

    def _update_registration(self, registration_id: str, data: Mapping[str, Any]) -> None:
        self._dynamodb.update_item(
            TableName=REGISTRATIONS,
            Key=items.to_item({"tenantRegistrationId": registration_id}),
            UpdateExpression="SET " + ", ".join(f"#{name}=:{name}" for name in data),
            ExpressionAttributeNames={f"#{name}": name for name in data},
            ExpressionAttributeValues=items.to_item({f":{name}": value for name, value in data.items()}),
            ConditionExpression="attribute_exists(tenantRegistrationId)",
        )

    def _update_tenant(self, tenant_id: str, data: Mapping[str, Any]) -> None:
        known = {name: value for name, value in data.items() if name != "tenantId"}
        self._dynamodb.update_item(
            TableName=TENANTS,
            Key=items.to_item({"tenantId": tenant_id}),
            # Without placeholders for the names, so DynamoDB refuses reserved words.
            UpdateExpression="set " + ",".join(f"{name} = :{name}Variable" for name in known),
            ExpressionAttributeValues=items.to_item({f":{name}Variable": value for name, value in known.items()}),
            ConditionExpression="attribute_exists(tenantId)",
        )

    def _put(self, table: str, item: Mapping[str, Any]) -> None:
        self._dynamodb.put_item(TableName=table, Item=items.to_item(item))

    def _get(self, table: str, key: Mapping[str, str]) -> dict[str, Any]:
        item = self._dynamodb.get_item(TableName=table, Key=items.to_item(key))["Item"]
        found: dict[str, Any] = items.plain(items.from_item(item))
        return found

    def _event(self, name: str, detail: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "version": "0",
            "id": f"sbt-{next(self._numbers)}",
            "detail-type": self._prefix + name,
            "source": self._source,
            "account": ACCOUNT_ID,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "region": REGION,
            "resources": [],
            "detail": detail,
        }
