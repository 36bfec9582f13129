"""Builds AWS clients, each only once, and limits how long their requests may take."""

import os
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from botocore import exceptions

from orchestrator import telemetry
from orchestrator.aws.errors import aws_errors, is_temporary, is_throttled
from orchestrator.errors import ConfigurationError
from orchestrator.timing import deadline

if TYPE_CHECKING:
    from botocore.session import Session

CONNECT_TIMEOUT_SECONDS = 2
READ_TIMEOUT_SECONDS = 5
MAX_ATTEMPTS = 3


class Clients:
    """Builds each AWS client on first use, and keeps the client so that its connections stay open between events."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._session: Session | None = None
        self._clients: dict[tuple[str, str | None], Any] = {}

    def get(self, service: str, region: str | None) -> Any:
        """Return the client of an AWS service.

        The client allows 2 s for connecting and 5 s for the answer, or less if the invocation ends sooner. It tries
        each request up to three times, with random pauses between the tries. If the environment variable
        `AWS_ENDPOINT_URL` or the SDK's own variable for the service is set, such as `AWS_ENDPOINT_URL_SFN` for
        `stepfunctions`, the client sends its requests to that URL.

        Args:
            service: The name that the SDK gives the service, such as `dynamodb`.
            region: The client's region; `None` uses the region from the SDK's own configuration.

        Raises:
            ConfigurationError: No region is set, an endpoint URL is malformed, or the SDK does not know the service.
            Unavailable: The source of the credentials was not reached.
        """
        with self._lock:  # a session may build only one client at a time
            client = self._clients.get((service, region))
            if client is None:
                failure = f"the AWS client for {service} was not created"
                with aws_errors(failure):
                    try:
                        client = self._build(service, region)
                    except ValueError:
                        raise ConfigurationError(
                            f"{failure}: its endpoint is not an http(s) URL; correct AWS_ENDPOINT_URL or the service's "
                            "AWS_ENDPOINT_URL_…"
                        ) from None
                self._clients[service, region] = client
            return client

    def _build(self, service: str, region: str | None) -> Any:
        from orchestrator.timing.http import limit_time

        if self._session is None:
            self._session = _session()
        client: Any = self._session.create_client(service, region_name=region)
        limit_time(client._endpoint.http_session)
        client.meta.events.register("before-send", _refuse_late_try)
        client.meta.events.register_first("needs-retry", _end_tries_in_time)
        telemetry.quiet_new_loggers()  # a new client imports more modules of the SDK
        return client


def _session() -> "Session":
    # boto3's session would only wrap this one, and importing boto3 is a twentieth of a cold start.
    from botocore import __version__
    from botocore.config import Config
    from botocore.session import Session
    from botocore.useragent import sanitize_user_agent_string_component

    session = Session()
    app_id = session.get_config_variable("user_agent_appid") or "orchestrator"
    app_id = sanitize_user_agent_string_component(app_id, allow_hash=True)
    session.set_default_client_config(
        Config(
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            read_timeout=READ_TIMEOUT_SECONDS,
            retries={"mode": "standard", "total_max_attempts": MAX_ATTEMPTS},
            tcp_keepalive=True,
            parameter_validation=False,  # AWS checks each request itself, and answers what is wrong
            # Without this, the SDK composes the header twice for each request, which takes a tenth of the request's
            # processor time. `AWS_SDK_UA_APP_ID` is the SDK's own variable.
            user_agent=f"Botocore/{__version__} app/{app_id}",
        )
    )
    if "AWS_CONTAINER_CREDENTIALS_FULL_URI" in os.environ:  # Lambda sets this with SnapStart
        from orchestrator.aws.container_credentials import DeferredContainerProvider

        credentials: Any = session.get_component("credential_provider")
        credentials.insert_before("container-role", DeferredContainerProvider())
    telemetry.quiet_new_loggers()  # this function imports the SDK
    return session


def _refuse_late_try(**_: Any) -> None:
    # This may be a second try, and AWS may have carried out the first one.
    deadline.require("no request was sent to AWS", ambiguous=True)


def _end_tries_in_time(
    *,
    operation: Any,
    attempts: int,
    response: tuple[Any, Mapping[str, Any]] | None,
    caught_exception: Exception | None,
    **_: Any,
) -> None:
    """End a request after a failed try if there is no time for another try.

    The SDK calls this function after each try, and pauses before the next try. If the pause could leave too little time
    for the next try, this function raises the error of the failed try, which ends the request.
    """
    # botocore.retries.standard.ExponentialBackoff: the first pause is at most 1 s after throttling and 50 ms after any
    # other failure; it doubles each time. A retry-after header adds up to 5 s.
    longest_pause = (1.0 if response is not None and is_throttled(response[1]) else 0.05) * 2 ** (attempts - 1)
    if response is not None and "x-amz-retry-after" in response[0].headers:
        longest_pause += 5
    if deadline.has_time(longest_pause):
        return
    if caught_exception is not None:
        raise caught_exception
    if response is not None and is_temporary(response[1]):
        raise exceptions.ClientError(response[1], operation.name)  # type: ignore[arg-type]  # as botocore parsed it
