"""Emulates the services that the function calls: AWS, Jenkins and the control plane.

Jenkins and the control plane always run in this process. AWS runs in this process or in a separate emulator.
"""

import contextlib
import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from orchestrator.errors import ConfigurationError, Unavailable
from orchestrator.local import sandbox
from orchestrator.local.codebuild import CodeBuildServer
from orchestrator.local.control_plane import ControlPlane, standing_in
from orchestrator.local.dynamodb import one_request_at_a_time
from orchestrator.local.jenkins import JenkinsServer
from orchestrator.local.step_functions import StepFunctionsServer
from orchestrator.timing import clock

if TYPE_CHECKING:
    from moto.server import ThreadedMotoServer

REGION = "us-east-1"
TABLES = {
    "DATA_STORE_TABLE": "tenant-records",
    "IDEMPOTENCY_TABLE": "idempotency-records",
    "TIER_DETAILS_TABLE": "tier-details",
}
_QUEUES = {
    "FAILURE_QUEUE_URL": f"https://sqs.{REGION}.amazonaws.com/123456789012/orchestrator-failures",
    "WAITING_QUEUE_URL": f"https://sqs.{REGION}.amazonaws.com/123456789012/orchestrator-waiting",
}
_DEFAULTS = {**TABLES, "CALLBACK_ALLOWED_HOSTS": ".example.com"}
_CALLBACK_URL = "https://control-plane.example.com/webhook"
_INSTALL_MOTO = "needs moto; install this package with its extra: pip install 'tenant-orchestrator[local]'"
_ALL_ADDRESSES = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (only compared with, never bound)
_NO_REAL_ACCOUNT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}
# These environment variables are removed, because each could send a call past the emulator or make the call fail.
_LEADING_AWAY = (
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_SESSION_TOKEN",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "JENKINS_CA_BUNDLE",
    "FAILURE_QUEUE_URL",
    "WAITING_QUEUE_URL",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """The emulated Jenkins and the emulated control plane.

    The control plane receives every callback that the function sends, whatever host the callback's URL names.
    """

    jenkins: JenkinsServer
    control_plane: ControlPlane


@contextmanager
def embedded(jobs: Sequence[str] = ()) -> Iterator[Surroundings]:
    """Emulate AWS, Jenkins and the control plane in this process, for the duration of the `with` block.

    The module `sandbox` fills AWS and Jenkins with the data and the jobs that the sample events need, including two
    unfinished runs (see `sandbox.leave_jobs_open`). Until the block ends, this process's environment variables are
    changed so that the function uses the emulated servers.

    Args:
        jobs: Names of jobs to create besides those of the sample tiers. For the ARN of a state machine, a state machine
            is created. For any other name, a Jenkins job is created; if the name has no slash, a CodeBuild project is
            created, too. (CodeBuild allows no slash in a project's name.)

    Raises:
        ConfigurationError: moto is not installed, or a setting in the environment is invalid.
    """
    with (
        _moto(),
        _step_functions(jobs) as machines,
        _sandbox({"AWS_ENDPOINT_URL_SFN": machines.url}, jobs) as surroundings,
    ):
        yield surroundings


@contextmanager
def with_build_systems(
    jobs: Sequence[str] = (),
) -> Iterator[tuple[Surroundings, CodeBuildServer, StepFunctionsServer]]:
    """Emulate AWS, Jenkins and the control plane as `embedded` does, but use `CodeBuildServer` for CodeBuild.

    In `embedded`, moto emulates CodeBuild: its builds end by themselves, and do not keep their variables. The builds of
    `CodeBuildServer` keep their variables, and run until the caller ends them.

    There are two more differences from `embedded`. There are no unfinished runs at the beginning. If `CALLBACK_URL` is
    not set, it is set to an example address, so that status webhooks are sent even if no event names an address.

    Args:
        jobs: Names of jobs to create besides those of the sample tiers; see `embedded`.

    Yields:
        The emulated Jenkins and control plane, the emulated CodeBuild, and the emulated Step Functions.

    Raises:
        ConfigurationError: moto is not installed, or a setting in the environment is invalid.
    """
    region = os.environ.get("CODE_BUILD_REGION") or _region()
    callback_url = os.environ.get("CALLBACK_URL") or _CALLBACK_URL
    now = clock.now().timestamp()
    with _moto(), CodeBuildServer(now=now, region=region) as codebuild, _step_functions(jobs) as machines:
        urls = {"AWS_ENDPOINT_URL_CODEBUILD": codebuild.url, "AWS_ENDPOINT_URL_SFN": machines.url}
        with _sandbox({**urls, "CALLBACK_URL": callback_url}, jobs, leaves_jobs_open=False) as surroundings:
            yield surroundings, codebuild, machines


@contextmanager
def emulator(endpoint_url: str, jobs: Sequence[str] = ()) -> Iterator[Surroundings]:
    """Use a running AWS emulator, and emulate Jenkins and the control plane in this process.

    The module `sandbox` fills the AWS emulator and Jenkins with the data and the jobs that the sample events need.
    Until the `with` block ends, this process's environment variables are changed so that the function uses the
    emulators. What was created in the AWS emulator is not deleted afterwards.

    Args:
        endpoint_url: The URL of the AWS emulator.
        jobs: Names of jobs to create besides those of the sample tiers; see `embedded`.

    Raises:
        ConfigurationError: `endpoint_url` is malformed, a setting in the environment is invalid, or the emulator
            refused a request.
        Unavailable: No emulator answers at `endpoint_url`.
    """
    if not _is_address(endpoint_url):
        raise ConfigurationError(f"--endpoint-url {endpoint_url!a} is not an http(s) URL; write it as http://HOST:PORT")
    with contextlib.ExitStack() as stack:
        try:
            surroundings = stack.enter_context(_sandbox({"AWS_ENDPOINT_URL": endpoint_url}, jobs))
            sandbox.create_state_machines(jobs)
        except Unavailable:
            raise Unavailable(f"no AWS emulator answers at {endpoint_url}; start it there first") from None
        yield surroundings


@contextmanager
def running_emulator(host: str, port: int, jobs: Sequence[str] = ()) -> Iterator[str]:
    """Run an AWS emulator for functions that run outside this process, such as in a container.

    The module `sandbox` fills the emulator with the data and the jobs that the sample events need. The region is always
    `REGION`, and the tables always have the names in `TABLES`. Neither depends on this process's environment variables,
    because a function outside this process does not see these variables.

    Args:
        host: The address to listen on; `0.0.0.0` is every IPv4 address of this machine, and `::` is every
            IPv6 address.
        port: The port to listen on; 0 picks a free one.
        jobs: Names of CodeBuild projects and ARNs of state machines to create besides those of the sample tiers. Names
            with a slash are ignored, because CodeBuild allows no slash in a project's name.

    Yields:
        The URL at which clients on this machine reach the emulator.

    Raises:
        ConfigurationError: moto is not installed, a setting in the environment is invalid, or the emulator cannot
            listen on this host and port.
    """
    try:
        from moto.server import ThreadedMotoServer
    except ImportError:
        raise ConfigurationError(f"the emulator {_INSTALL_MOTO}") from None
    _check_free(host, port)
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # it logs every request at INFO
    server = ThreadedMotoServer(host, port, verbose=False)
    with one_request_at_a_time(), _started(server):
        url = f"http://{_in_url(_ALL_ADDRESSES.get(host, host))}:{server.get_host_and_port()[1]}"
        same_for_all = {**TABLES, "DYNAMO_DB_REGION": "", "CODE_BUILD_REGION": ""}
        with _environment({**_NO_REAL_ACCOUNT, **same_for_all, "AWS_ENDPOINT_URL": url}, region=REGION):
            sandbox.fill(jobs)
            sandbox.create_state_machines(jobs)
            sandbox.leave_jobs_open()
        yield url


@contextmanager
def _started(server: "ThreadedMotoServer") -> Iterator[None]:
    server.start()
    try:
        yield
    finally:
        server.stop()


def _step_functions(jobs: Sequence[str]) -> StepFunctionsServer:
    return StepFunctionsServer(sandbox.state_machines(jobs), now=clock.now().timestamp())


@contextmanager
def _moto() -> Iterator[None]:
    try:
        from moto import mock_aws
    except ImportError:
        raise ConfigurationError(f"the embedded AWS {_INSTALL_MOTO} (or use --endpoint-url or --aws)") from None
    with mock_aws(), one_request_at_a_time():
        yield


def _check_free(host: str, port: int) -> None:
    # moto listens in a thread of its own. If that thread cannot listen, moto's `start` waits forever.
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigurationError(
                f"cannot listen on {_in_url(host)}:{port} ({error.strerror}); choose another --port or --host"
            ) from None


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


@contextmanager
def _sandbox(changes: dict[str, str], jobs: Sequence[str], *, leaves_jobs_open: bool = True) -> Iterator[Surroundings]:
    with sandbox.jenkins(jobs) as jenkins, sandbox.control_plane() as plane, standing_in(plane):
        reach_jenkins = {"JENKINS_URL": jenkins.url, "JENKINS_CREDENTIALS_SECRET": sandbox.JENKINS_SECRET}
        with _environment({**_NO_REAL_ACCOUNT, **_QUEUES, **reach_jenkins, **changes}):
            sandbox.fill(jobs)
            if leaves_jobs_open:
                sandbox.leave_jobs_open()
            yield Surroundings(jenkins=jenkins, control_plane=plane)


@contextmanager
def _environment(changes: dict[str, str], region: str | None = None) -> Iterator[None]:
    before = dict(os.environ)
    try:
        for name in list(os.environ):
            if name in _LEADING_AWAY or name.startswith("AWS_ENDPOINT_URL"):
                del os.environ[name]
        region = region or _region()
        os.environ.update(changes, AWS_REGION=region, AWS_DEFAULT_REGION=region)
        for name, value in _DEFAULTS.items():
            if not os.environ.get(name):
                os.environ[name] = value
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _region() -> str:
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or REGION
