"""Decides which AWS a local run speaks to: one emulated in this process, a running emulator, or the real one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.errors import ConfigurationError
from orchestrator.local import sandbox

_REGION = "us-east-1"
_DEFAULTS = {
    "DATA_STORE_TABLE": "tenant-records",
    "TIER_DETAILS_TABLE": "tier-details",
}
_NO_REAL_ACCOUNT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}
# Each of these could send a call that is meant for an emulator to a real account.
_LEADING_AWAY = (
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_SESSION_TOKEN",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
)


@contextmanager
def embedded() -> Iterator[None]:
    """Emulate AWS in this process, with the sandbox's tiers and projects in it.

    Yields:
        Nothing; every AWS call of the body is answered by the emulation.

    Raises:
        ConfigurationError: The emulation is not installed.
    """
    try:
        from moto import mock_aws
    except ImportError:
        raise ConfigurationError(
            "the embedded AWS needs moto; install it with: pip install 'orchestrator[local]' "
            "(or use --endpoint-url or --aws)"
        ) from None
    with _environment(_NO_REAL_ACCOUNT), mock_aws():
        sandbox.fill()
        yield


@contextmanager
def emulator(endpoint_url: str) -> Iterator[None]:
    """Use an emulator that is running already, and create what the sandbox has and it lacks.

    Args:
        endpoint_url: The emulator's address.

    Yields:
        Nothing; every AWS call of the body goes to that address.

    Raises:
        ConfigurationError: The address is none.
        Unavailable: Nothing answers there.
    """
    if not endpoint_url.startswith(("http://", "https://")):
        raise ConfigurationError(f"--endpoint-url {endpoint_url!a} is no http(s) address")
    with _environment({**_NO_REAL_ACCOUNT, "AWS_ENDPOINT_URL": endpoint_url}):
        sandbox.fill()
        yield


@contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    try:
        for name in list(os.environ):
            if name in _LEADING_AWAY or name.startswith("AWS_ENDPOINT_URL"):
                del os.environ[name]
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or _REGION
        os.environ.update(changes, AWS_REGION=region, AWS_DEFAULT_REGION=region)
        for name, value in _DEFAULTS.items():
            if not os.environ.get(name):
                os.environ[name] = value
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
