"""Puts the pieces together into the function that Lambda calls."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Protocol, cast
from urllib.parse import urlsplit

from orchestrator import snapshot, telemetry
from orchestrator.aws.clients import Clients
from orchestrator.builders.codebuild import CodeBuild
from orchestrator.builders.known import KnownBuilders
from orchestrator.consumer import Context
from orchestrator.dispatch.dispatcher import Dispatcher, Report
from orchestrator.endings.endings import Endings, NotOurs
from orchestrator.errors import ConfigurationError, OrchestratorError, shown
from orchestrator.event import Event
from orchestrator.intake import eventbridge
from orchestrator.job import Builder
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.memory import MemoryLedger
from orchestrator.performers.performer import Performer
from orchestrator.performers.publish_event import EventBus
from orchestrator.performers.start_job import Jobs
from orchestrator.registry import Registry
from orchestrator.settings import Settings
from orchestrator.stores.tenants import DynamoDBTenantRecords, NoTenantRecords, TenantRecords
from orchestrator.stores.tiers import DynamoDBTierDetails, StaticTierDetails, TierDetails
from orchestrator.timing import deadline

if TYPE_CHECKING:
    from orchestrator.intake.redelivery import Redelivery
    from orchestrator.performers.send_callback import Callbacks


# Connecting and the answer, as the modules that make the calls have it; they are imported late.
AWS_CALL_SECONDS = 7.0
JENKINS_CALL_SECONDS = 12.0


class Handler(Protocol):
    """What `create_handler` returns: a function for Lambda that also shows its registry."""

    registry: Registry

    def __call__(self, event: Any, context: Any) -> dict[str, Any]:
        """Handle one invocation; see `create_handler`."""
        ...


def create_handler(
    registry: Registry,
    *,
    settings: Settings | None = None,
    builders: Mapping[str, Builder] | None = None,
    tiers: TierDetails | None = None,
    tenants: TenantRecords | None = None,
) -> Handler:
    """Make the function that Lambda calls.

    Args:
        registry: The consumers; those that are registered later are found, too.
        settings: The settings; by default those of the environment.
        builders: Build systems by name, besides the built-in `CODE_BUILD` and `JENKINS`, or in their place.
        tiers: Where tier details come from; by default the table of the settings.
        tenants: Where tenant records are kept; by default the table of the settings.

    Returns:
        A function of `(event, context)`. For an EventBridge event it returns a JSON-like document: `eventId`,
        `eventType`, and under `consumers` the `name` of each that took the event with its `outcomes`. Where
        consumers failed, it raises their error when all the others are through, or an `ExceptionGroup` of
        several, so that Lambda tries the event again and then sends it to the failure destination. For a batch
        of SQS messages it returns `batchItemFailures` and raises nothing.

    Raises:
        ConfigurationError: A setting in the environment is not valid, or a build system is none.
    """
    settings = settings or Settings.from_environment()
    clients = Clients()
    dynamodb = partial(clients.get, "dynamodb", settings.dynamo_db_region or settings.aws_region)
    event_bus = EventBus(
        settings.event_bus_name,
        lambda: clients.get("events", settings.event_bus_aws_region or settings.aws_region),
    )
    tiers = tiers or _tier_details(settings, dynamodb)
    tenants = tenants or _tenant_records(settings, dynamodb)
    ledger = _ledger(settings, dynamodb)
    known = KnownBuilders(_builders(settings, clients, builders or {}), settings.default_builder)
    endings = Endings(known, event_bus, ledger, require_run_id=settings.require_run_id)
    dispatcher = Dispatcher(
        Performer(
            jobs=Jobs(known, ledger.memory),
            tenants=tenants,
            bus=event_bus,
            callbacks=cache(partial(_callbacks, settings)),
            ledger=ledger,
            endings=endings,
        )
    )

    redelivery = cache(partial(_redelivery, settings, clients))

    def handle(parse: Callable[[], Event[Mapping[str, Any]]], lambda_context: Any) -> dict[str, Any]:
        with _telling_failures():
            event = parse()
        if event.redrive == "record":  # the same in what Lambda repeats of this invocation, and another in the next
            event = replace(event, redrive=f"record {getattr(lambda_context, 'aws_request_id', '')}")
        with telemetry.log_keys(event, lambda_context):
            try:
                with _telling_failures():
                    event = endings.admit(event)
            except NotOurs as doubt:
                telemetry.logger.warning(f"{event.type} is ignored: {doubt}", event_source=event.source)
                telemetry.count("ReportIgnored")
                return {"eventId": event.id, "eventType": event.type, "consumers": []}
            context = Context(
                settings=settings,
                tiers=tiers,
                tenants=tenants,
                logger=telemetry.logger,
                lambda_context=lambda_context,
            )
            reports = dispatcher.dispatch(event, registry.consumers_of(event.type), context)
            _tell(event, reports)
        _raise_failures(event, reports)
        endings.finish(event)
        return {
            "eventId": event.id,
            "eventType": event.type,
            "consumers": [{"name": report.consumer, "outcomes": list(report.outcomes)} for report in reports],
        }

    longest_call = JENKINS_CALL_SECONDS if settings.jenkins_url else AWS_CALL_SECONDS
    check_time_limit = deadline.LimitCheck(longest_call, telemetry.logger.warning)

    def lambda_handler(event: Any, context: Any) -> dict[str, Any]:
        check_time_limit(context)
        with deadline.of_invocation(context), telemetry.quiet_libraries():
            if not eventbridge.is_sqs_batch(event):
                return handle(partial(eventbridge.parse, event), context)
            from orchestrator.intake import batch  # only functions behind a queue pay for what this imports

            return batch.process(
                event, lambda parse: handle(parse, context), settings.sqs_parallel_records, redelivery()
            )

    snapshot.prepare()
    handler = cast(Handler, lambda_handler)
    handler.registry = registry
    return handler


def _builders(
    settings: Settings, clients: Clients, given: Mapping[str, Builder]
) -> Mapping[str, Callable[[], Builder]]:
    """Say how each build system is made, by its name; those that are given are made already."""
    codebuild = partial(clients.get, "codebuild", settings.code_build_region or settings.aws_region)
    factories: dict[str, Callable[[], Builder]] = {
        "CODE_BUILD": lambda: CodeBuild(codebuild),
        "JENKINS": lambda: _jenkins(settings, clients),
    }
    for name, builder in given.items():
        if not callable(getattr(builder, "start", None)) or not callable(getattr(builder, "find", None)):
            raise ConfigurationError(f"builder {shown(name)} has not both methods, start and find; see Builder")
        factories[name] = partial(_given, builder)
    if settings.default_builder not in factories:
        raise ConfigurationError(
            f"DEFAULT_BUILDER {shown(settings.default_builder)} is not known (known: {', '.join(factories)}); correct "
            "it, or register the builder"
        )
    return factories


def _given(builder: Builder) -> Builder:
    return builder


def _jenkins(settings: Settings, clients: Clients) -> Builder:
    if settings.jenkins_url is None or settings.jenkins_credentials_secret is None:
        raise ConfigurationError("a job is to be started on Jenkins: set JENKINS_URL and JENKINS_CREDENTIALS_SECRET")
    # Only functions that start Jenkins jobs pay for what this imports.
    from orchestrator.builders.jenkins import Jenkins
    from orchestrator.builders.jenkins.connection import Connection
    from orchestrator.builders.jenkins.credentials import Credentials

    credentials = Credentials(
        settings.jenkins_credentials_secret, lambda: clients.get("secretsmanager", settings.aws_region)
    )
    connection = Connection(settings.jenkins_url, credentials, settings.jenkins_ca_bundle)
    return Jenkins(connection, telemetry.logger.warning, build_lookup=settings.jenkins_build_lookup)


def _tier_details(settings: Settings, dynamodb: Any) -> TierDetails:
    if settings.tier_details_table is None:
        return StaticTierDetails()
    return DynamoDBTierDetails(settings.tier_details_table, dynamodb, settings.tier_details_max_age)


def _tenant_records(settings: Settings, dynamodb: Any) -> TenantRecords:
    if settings.data_store_table is None:
        return NoTenantRecords()
    return DynamoDBTenantRecords(settings.data_store_table, dynamodb)


def _callbacks(settings: Settings) -> "Callbacks":
    from orchestrator.performers.send_callback import Callbacks

    return Callbacks(settings.callback_allowed_hosts, urlsplit(settings.callback_url or "").hostname)


def _redelivery(settings: Settings, clients: Clients) -> "Redelivery | None":
    if settings.failure_queue_url is None:
        return None
    from orchestrator.intake.redelivery import Redelivery

    return Redelivery(lambda: clients.get("sqs", settings.aws_region), settings.failure_queue_url)


def _ledger(settings: Settings, dynamodb: Any) -> Ledger:
    if settings.idempotency_table is None:
        return MemoryLedger(warn=telemetry.logger.warning)
    return Ledger(settings.idempotency_table, dynamodb, timedelta(seconds=settings.idempotency_record_max_age))


@contextmanager
def _telling_failures() -> Iterator[None]:
    """Log and count what keeps an event from the consumers."""
    try:
        yield
    except OrchestratorError as error:
        kind = type(error).__name__
        telemetry.logger.error(str(error), error=kind)
        telemetry.count("EventFailed", {"error": kind})
        telemetry.count("FailedEvents")
        raise


def _tell(event: Event[Any], reports: Sequence[Report]) -> None:
    """Write one log line for the event and one for each failure, and count both."""
    if not reports:
        telemetry.logger.warning("no consumer takes this event", event_source=event.source)
        telemetry.count("EventUnhandled")
        return
    for report in reports:
        for outcome in report.outcomes:
            if outcome["status"] == "started":
                telemetry.count("JobStarted", {"builder": outcome["builder"]})
            if outcome["status"] == "refused":
                telemetry.logger.warning(f"callback to {outcome['name']} was refused: {outcome['reason']}")
                telemetry.count("CallbackRefused")
            if outcome["status"] == "superseded":
                telemetry.logger.info(f"superseded: {outcome['reason']}", consumer=report.consumer)
                telemetry.count("EventSuperseded")
            if outcome["status"] == "ignored":
                telemetry.logger.warning(f"{event.type} is ignored: {outcome['reason']}")
                telemetry.count("ReportIgnored")
            if outcome["action"] == "SendCallback" and outcome["status"] == "skipped":
                telemetry.logger.warning(f"tenant {shown(outcome['name'])}: the callback was {outcome['reason']}")
        if report.error is not None:
            kind = type(report.error).__name__
            telemetry.logger.error(str(report.error), error=kind, consumer=report.consumer)
            telemetry.count("ConsumerFailed", {"error": kind})
    if any(report.error is not None for report in reports):
        telemetry.count("FailedEvents")  # without a dimension: CloudWatch alarms cannot search for those
    has_failed = all(report.error is not None for report in reports)
    telemetry.logger.info(
        "event failed" if has_failed else "event handled",
        consumers=[
            {"name": report.consumer, "outcomes": list(report.outcomes), "failed": report.error is not None}
            for report in reports
        ],
    )
    if not has_failed:
        telemetry.count("EventHandled", {"event_type": event.type})


def _raise_failures(event: Event[Any], reports: Sequence[Report]) -> None:
    errors: list[OrchestratorError] = [report.error for report in reports if report.error is not None]
    if not errors:
        return
    if len(errors) == 1:
        raise errors[0]
    told = "; ".join(f"{type(error).__name__}: {error}" for error in errors)
    raise ExceptionGroup(f"{len(errors)} consumers of {event.type} event {event.id} failed: {told}", errors)
