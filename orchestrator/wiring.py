"""Builds the application, with its AWS clients, stores and builders, from its settings."""

import importlib
import os
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from functools import cache, partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import BaseModel

from orchestrator import telemetry
from orchestrator.action import (
    PublishEnding,
    PublishEvent,
    SaveTenant,
    SendCallback,
    StartJob,
    SweepRuns,
    UpdateTenant,
)
from orchestrator.application import Application, Ports
from orchestrator.aws.clients import Clients
from orchestrator.builders.codebuild import CodeBuild
from orchestrator.builders.systems import BuildSystems
from orchestrator.dispatch.dispatcher import Dispatcher
from orchestrator.endings.admission import Admission
from orchestrator.endings.publisher import EndingPublisher
from orchestrator.endings.sweep import Sweep
from orchestrator.errors import ConfigurationError
from orchestrator.job import Builder
from orchestrator.ledger.changes import Table
from orchestrator.ledger.dynamodb import DynamoDBRecords
from orchestrator.ledger.ledger import Ledger, Records
from orchestrator.ledger.memory import MemoryRecords
from orchestrator.ledger.waiting_line import WaitingLine
from orchestrator.performers.performer import Performers
from orchestrator.performers.publish_event import EventBus
from orchestrator.performers.send_callback import CallbackSender
from orchestrator.performers.start_job import JobStarter
from orchestrator.performers.write_tenant import TenantWriter
from orchestrator.registry import Registry
from orchestrator.settings import Settings
from orchestrator.stores.tenants import DynamoDBTenantRecords, NoTenantRecords, TenantRecords
from orchestrator.stores.tiers import DynamoDBTierDetails, StaticTierDetails, TierDetails
from orchestrator.timing.deadline import TimeLimit

if TYPE_CHECKING:
    from orchestrator.intake.batch import Batches
    from orchestrator.intake.message import Queue
    from orchestrator.intake.waiting import Waiting
    from orchestrator.performers.callbacks import Callbacks

# The longest time that one call may take, including connecting. The modules that make the calls have the same limits,
# but they are imported only when they are needed.
AWS_CALL_SECONDS = 7.0
JENKINS_CALL_SECONDS = 12.0


def create_handler(
    registry: Registry,
    *,
    settings: Settings | None = None,
    builders: Mapping[str, Builder] | None = None,
    tiers: TierDetails | None = None,
    tenants: TenantRecords | None = None,
) -> Application:
    """Create a Lambda handler.

    Args:
        registry: The registry of the consumers. Further consumers can be registered later, too.
        settings: The settings; by default, they are read from environment variables.
        builders: Further builders by name. A builder with the name `CODE_BUILD`, `JENKINS` or `STEP_FUNCTIONS` replaces
            the built-in builder of that name.
        tiers: The source of tier details; by default, the DynamoDB table in `settings.tier_details_table`, or
            `StaticTierDetails()` if that is not set.
        tenants: The store of tenant records; by default, the DynamoDB table in `settings.data_store_table`. If that
            is not set, no tenant record is stored.

    Raises:
        ConfigurationError: An environment variable is invalid, a builder lacks a method, or `DEFAULT_BUILDER` is not
            the name of a builder.
    """
    settings = settings or Settings.from_environment()
    clients = Clients()
    dynamodb = partial(clients.get, "dynamodb", settings.dynamo_db_region or settings.aws_region)
    codebuild = partial(clients.get, "codebuild", settings.code_build_region or settings.aws_region)
    sqs = partial(clients.get, "sqs", settings.aws_region)
    line = _waiting_line(settings, dynamodb, sqs)
    ports = Ports(
        settings=settings,
        tiers=tiers or _tier_details(settings, dynamodb),
        tenants=tenants or _tenant_records(settings, dynamodb),
        records=_records(settings, dynamodb, line),
        line=line,
        built_in={
            "CODE_BUILD": partial(CodeBuild, codebuild),
            "JENKINS": partial(_jenkins, settings, clients),
            "STEP_FUNCTIONS": partial(_step_functions, clients),
        },
        builders=builders or {},
        events=partial(clients.get, "events", settings.event_bus_aws_region or settings.aws_region),
        sqs=sqs,
        callbacks=cache(partial(_callbacks, settings)),
    )
    application = assemble(registry, ports)
    if "AWS_LAMBDA_INITIALIZATION_TYPE" in os.environ:
        _prepare_first_event(registry, _first_clients(ports, dynamodb, codebuild))
    return application


def assemble(registry: Registry, ports: Ports) -> Application:
    """Build an application that uses the given settings, stores, builders and clients.

    Raises:
        ConfigurationError: A builder lacks a method, or `DEFAULT_BUILDER` is not the name of a builder.
    """
    settings, records, tenants = ports["settings"], ports["records"], ports["tenants"]
    ledger = Ledger(records)
    bus = EventBus(settings.event_bus_name, ports["events"])
    systems = BuildSystems(ports["built_in"], ports["builders"], settings.default_builder)
    publisher = EndingPublisher(systems, bus, ledger, records, registry)
    writer = TenantWriter(tenants)
    performers: Performers = {
        StartJob: JobStarter(systems, records.memory),
        SaveTenant: writer,
        UpdateTenant: writer,
        PublishEvent: bus,
        SendCallback: CallbackSender(ports["callbacks"], tenants),
        PublishEnding: publisher,
        SweepRuns: Sweep(publisher, systems, records),
    }
    return Application(
        registry,
        ports,
        dispatcher=Dispatcher(performers, ledger, records),
        admission=Admission(records, registry, require_run_id=settings.require_run_id),
        batches=cache(partial(_batches, ports)),
        waiting=cache(partial(_waiting, ports)),
        time_limit=TimeLimit(JENKINS_CALL_SECONDS if settings.jenkins_url else AWS_CALL_SECONDS),
    )


def _jenkins(settings: Settings, clients: Clients) -> Builder:
    if settings.jenkins_url is None or settings.jenkins_credentials_secret is None:
        raise ConfigurationError("no Jenkins is set up; set JENKINS_URL and JENKINS_CREDENTIALS_SECRET")
    from orchestrator.builders.jenkins import Jenkins
    from orchestrator.builders.jenkins.connection import Connection
    from orchestrator.builders.jenkins.credentials import Credentials

    secrets_manager = partial(clients.get, "secretsmanager", settings.aws_region)
    credentials = Credentials(settings.jenkins_credentials_secret, secrets_manager)
    connection = Connection(settings.jenkins_url, credentials, settings.jenkins_ca_bundle)
    return Jenkins(connection, telemetry.logger.warning, build_lookup=settings.jenkins_build_lookup)


def _step_functions(clients: Clients) -> Builder:
    from orchestrator.builders.step_functions import StepFunctions

    return StepFunctions(partial(clients.get, "stepfunctions"))  # a state machine's ARN has the region


def _tier_details(settings: Settings, dynamodb: Any) -> TierDetails:
    if settings.tier_details_table is None:
        return StaticTierDetails()
    return DynamoDBTierDetails(settings.tier_details_table, dynamodb, settings.tier_details_max_age)


def _tenant_records(settings: Settings, dynamodb: Any) -> TenantRecords:
    if settings.data_store_table is None:
        return NoTenantRecords()
    return DynamoDBTenantRecords(settings.data_store_table, dynamodb)


def _waiting_line(settings: Settings, dynamodb: Any, sqs: Any) -> WaitingLine | None:
    if settings.idempotency_table is None:
        return None
    return WaitingLine(Table(settings.idempotency_table, dynamodb), _memory(settings), sqs)


def _records(settings: Settings, dynamodb: Any, line: WaitingLine | None) -> Records:
    if settings.idempotency_table is None:
        return MemoryRecords(warn=telemetry.logger.warning)
    return DynamoDBRecords(
        settings.idempotency_table,
        dynamodb,
        _memory(settings),
        locks_tenants=settings.tenant_serialization,
        line=line,
    )


def _memory(settings: Settings) -> timedelta:
    return timedelta(seconds=settings.idempotency_record_max_age)


def _callbacks(settings: Settings) -> "Callbacks":
    from orchestrator.performers.address import AllowedHosts
    from orchestrator.performers.callbacks import Callbacks

    own_host = urlsplit(settings.callback_url or "").hostname
    return Callbacks(AllowedHosts(settings.callback_allowed_hosts, own_host))


def _batches(ports: Ports) -> "Batches":
    from orchestrator.intake.batch import Batches
    from orchestrator.intake.redelivery import Redelivery

    failure_queue = _queue("FAILURE_QUEUE_URL", ports["settings"].failure_queue_url, ports)
    redelivery = None if failure_queue is None else Redelivery(failure_queue, ports["line"])
    return Batches(ports["settings"].sqs_parallel_records, redelivery)


def _waiting(ports: Ports) -> "Waiting":
    from orchestrator.intake.waiting import Waiting

    queue = _queue("WAITING_QUEUE_URL", ports["settings"].waiting_queue_url, ports)
    return Waiting(queue, ports["tenants"], ports["line"])


def _queue(setting: str, url: str | None, ports: Ports) -> "Queue | None":
    from orchestrator.intake.message import Queue

    return None if url is None else Queue(setting, url.rstrip("/"), ports["sqs"])


def _first_clients(ports: Ports, dynamodb: Any, codebuild: Any) -> Iterator[Callable[[], object]]:
    """Yield the functions that build the clients that the first event most probably needs."""
    settings = ports["settings"]
    if settings.idempotency_table or settings.data_store_table or settings.tier_details_table:
        yield dynamodb
    if settings.default_builder == "CODE_BUILD" and "CODE_BUILD" not in ports["builders"]:
        yield codebuild


def _prepare_first_event(registry: Registry, clients: Iterable[Callable[[], object]]) -> None:
    """Build clients and import modules while the function starts, so that the first event need not wait for them.

    Building a client sends no request. AWS recommends to build clients at this time:
    https://docs.aws.amazon.com/lambda/latest/dg/best-practices.html#function-code

    With provisioned concurrency and with SnapStart, a function starts before there is an event. With SnapStart, hooks
    are registered, too (see `_prepare_for_snapshot`).
    """
    for client in clients:
        with suppress(ConfigurationError):  # each event that needs the client will fail with this error
            client()
    importlib.import_module("encodings.idna")  # the first request would import it, to encode the host's name
    if os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"] == "snap-start":
        _prepare_for_snapshot(registry)


def _prepare_for_snapshot(registry: Registry) -> None:
    """Register a hook that runs before SnapStart takes its snapshot, and a hook that runs after each restore.

    https://docs.aws.amazon.com/lambda/latest/dg/snapstart-runtime-hooks-python.html

    The first hook builds the consumers' pydantic models. The second hook gives the random number generator a new seed.
    The generator determines the pauses between retries. With the new seed, environments that are restored from the same
    snapshot make different pauses.

    The snapshot contains clients, but neither connections nor credentials, because the first request opens the
    connections and fetches the credentials (see `DeferredContainerProvider`).
    """
    from snapshot_restore_py import register_after_restore, register_before_snapshot

    register_before_snapshot(partial(_build_models, registry))
    register_after_restore(random.seed)


def _build_models(registry: Registry) -> None:
    # Otherwise pydantic builds a model's schema when the model is first used.
    for consumer in registry:
        if isinstance(consumer.model, type) and issubclass(consumer.model, BaseModel):
            consumer.model.model_rebuild()
