"""AWS clients: built once, with time limits that end with the invocation."""

import os
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from botocore import exceptions

from orchestrator import telemetry
from orchestrator.aws.errors import aws_errors, is_throttled, may_pass
from orchestrator.errors import ConfigurationError, Unavailable
from orchestrator.timing import deadline

if TYPE_CHECKING:
    import boto3

CONNECT_TIMEOUT_SECONDS = 2
READ_TIMEOUT_SECONDS = 5
MAX_ATTEMPTS = 3


class Clients:
    """Builds each client on first use and keeps it, so that its connections stay open between events."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._session: boto3.Session | None = None
        self._clients: dict[tuple[str, str | None], Any] = {}

    def get(self, service: str, region: str | None) -> Any:
        """Give the client of a service.

        Args:
            service: The SDK's name of the service.
            region: Its region; `None` leaves it to the SDK's configuration.

        Returns:
            The client. It connects within 2 s and takes at most 5 s for an answer, and no longer than the invocation
            may act; tries three times with jittered pauses; and honours `AWS_ENDPOINT_URL` and
            `AWS_ENDPOINT_URL_<SERVICE>`.

        Raises:
            ConfigurationError: There is no region.
        """
        with self._lock:  # a session builds one client at a time
            client = self._clients.get((service, region))
            if client is None:
                failure = f"no client for {service} can be made"
                with aws_errors(failure):
                    try:
                        client = self._build(service, region)
                    except ValueError:
                        raise ConfigurationError(
                            f"{failure}: its endpoint is no http(s) address; correct AWS_ENDPOINT_URL or "
                            f"AWS_ENDPOINT_URL_{service.upper()}"
                        ) from None
                self._clients[service, region] = client
            return client

    def _build(self, service: str, region: str | None) -> Any:
        from botocore.config import Config

        if self._session is None:
            self._session = _session()
        config = Config(
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            read_timeout=READ_TIMEOUT_SECONDS,
            retries={"mode": "standard", "total_max_attempts": MAX_ATTEMPTS},
            tcp_keepalive=True,
        )
        client = self._session.client(service, region_name=region, config=config)  # type: ignore[call-overload]  # the service is a variable
        _keep_time(client._endpoint.http_session)
        client.meta.events.register("before-send", _refuse_late_try)
        client.meta.events.register_first("needs-retry", _end_tries_in_time)
        telemetry.quiet_new_loggers()  # of the SDK's modules that this client is the first to use
        return client


def _session() -> "boto3.Session":
    import boto3
    import botocore.session

    core = botocore.session.Session()
    if any(name.startswith("AWS_CONTAINER_CREDENTIALS_") for name in os.environ):  # so it is with SnapStart
        from botocore.credentials import ContainerProvider
        from botocore.httpsession import URLLib3Session
        from botocore.utils import ContainerMetadataFetcher

        http = URLLib3Session(timeout=ContainerMetadataFetcher.TIMEOUT_SECONDS)
        _keep_time(http)
        fetcher: Any = ContainerMetadataFetcher(session=http, sleep=_sleep_in_time)
        core.get_component("credential_provider").insert_before("container-role", ContainerProvider(fetcher=fetcher))
    telemetry.quiet_new_loggers()  # of the SDK, which is imported here
    return boto3.Session(botocore_session=core)


def _keep_time(http_session: Any) -> None:
    """Bound each try by the clock, and by what is left of the invocation."""
    from orchestrator.timing.http import timed

    # botocore has no setting for this: its own timeouts bound each wait for bytes, and stay as they are set here.
    pools = http_session._pool_classes_by_scheme
    pools.update({scheme: timed(pool) for scheme, pool in pools.items()})


def _sleep_in_time(seconds: float) -> None:
    if not deadline.has_time(seconds):
        raise Unavailable("the function's credentials could not be fetched in time; it will be retried")
    time.sleep(seconds)


def _refuse_late_try(**_: Any) -> None:
    # One of the SDK's earlier tries of the same request may have been acted upon.
    deadline.require("AWS was not asked", ambiguous=True)


def _end_tries_in_time(
    *,
    operation: Any,
    attempts: int,
    response: tuple[Any, Mapping[str, Any]] | None,
    caught_exception: Exception | None,
    **_: Any,
) -> None:
    """Raise the failure of a try where the SDK's pause before the next one could outlast the invocation."""
    # botocore.retries.standard.ExponentialBackoff: for a second at most after the first throttling, for 50 ms after any
    # other failure, and twice as long each time; what AWS asks for comes on top.
    longest_pause = (1.0 if response is not None and is_throttled(response[1]) else 0.05) * 2 ** (attempts - 1)
    if response is not None and "x-amz-retry-after" in response[0].headers:
        longest_pause += 5
    if deadline.has_time(longest_pause):
        return
    if caught_exception is not None:
        raise caught_exception
    if response is not None and may_pass(response[1]):
        raise exceptions.ClientError(response[1], operation.name)  # type: ignore[arg-type]  # as botocore parsed it
