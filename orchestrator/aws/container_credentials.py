"""Fetches the credentials that Lambda serves over HTTP to functions with SnapStart.

https://docs.aws.amazon.com/lambda/latest/dg/snapstart-activate.html#snapstart-credentials
"""

import os
import time
from typing import Any

from botocore.credentials import ContainerProvider, DeferredRefreshableCredentials
from botocore.httpsession import URLLib3Session
from botocore.utils import ContainerMetadataFetcher

from orchestrator.errors import Unavailable
from orchestrator.timing import deadline
from orchestrator.timing.http import limit_time


class DeferredContainerProvider(ContainerProvider):
    """Fetches credentials for the first request; botocore's own provider fetches them when a client is built.

    So if a client is built before SnapStart takes its snapshot, the snapshot contains no credentials. A fetch takes no
    longer than the time that is left to the invocation.
    """

    def __init__(self) -> None:
        http = URLLib3Session(timeout=ContainerMetadataFetcher.TIMEOUT_SECONDS)
        limit_time(http)
        fetcher: Any = ContainerMetadataFetcher(session=http, sleep=_sleep_in_time)
        super().__init__(fetcher=fetcher)

    def load(self) -> DeferredRefreshableCredentials:
        """Return credentials that are fetched when they are first read, and again before they expire."""
        return DeferredRefreshableCredentials(self._fetch, self.METHOD)

    def _fetch(self) -> Any:
        fetch = self._create_fetcher(os.environ[self.ENV_VAR_FULL])  # type: ignore[attr-defined]  # it is private
        return fetch()


def _sleep_in_time(seconds: float) -> None:
    if not deadline.has_time(seconds):
        raise Unavailable("the function's credentials could not be fetched in time; a retry may succeed")
    time.sleep(seconds)
