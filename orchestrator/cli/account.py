"""Finds the function's settings, tables and queues for a command: in a deployed stack or in the environment."""

import argparse
import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from orchestrator.aws.clients import Clients
from orchestrator.aws.errors import aws_errors
from orchestrator.cli import stack
from orchestrator.cli.stack import Deployed
from orchestrator.errors import ConfigurationError, shown
from orchestrator.settings import Settings

STACK_HELP = "take region, tables, bus, queues and settings from this deployed stack (its name or ARN)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The AWS account that a command works on, and the function's settings there.

    Attributes:
        deployed: The stack; `None` if the settings come from this shell's environment.
    """

    settings: Settings
    clients: Clients
    deployed: Deployed | None = None

    @property
    def place(self) -> str:
        """Where the settings come from, for messages: the stack and its region, or this shell."""
        if self.deployed is None:
            return "this shell's settings"
        return f"stack {self.deployed.name} in {self.deployed.region}"

    @property
    def dynamodb(self) -> Any:
        """The DynamoDB client for the function's tables."""
        return self.clients.get("dynamodb", self.settings.dynamo_db_region or self.settings.aws_region)

    @property
    def sqs(self) -> Any:
        """The SQS client for the function's queues."""
        return self.clients.get("sqs", self.settings.aws_region)

    def check_credentials(self) -> None:
        """Check that credentials can be loaded and a region is set.

        Loading credentials may send requests, for example to assume a role.

        Raises:
            ConfigurationError: Credentials or region are missing, or the credentials are incomplete, expired or denied.
            Unavailable: The source of the credentials failed or was not reached.
        """
        import boto3
        from botocore.exceptions import NoCredentialsError, NoRegionError

        with aws_errors("nothing was done", role=stack.YOUR_ROLE):
            session = boto3.Session()
            credentials = session.get_credentials()
            if credentials is None:
                raise NoCredentialsError
            credentials.get_frozen_credentials()
            if not (self.settings.aws_region or session.region_name):
                raise NoRegionError

    def needed(self, setting: str) -> str:
        """Return a setting that the command cannot work without.

        Args:
            setting: The environment variable's name.

        Raises:
            ConfigurationError: The setting has no value.
        """
        value = getattr(self.settings, setting.lower())
        if not value:
            raise ConfigurationError(
                f"{setting} is not set in {self.place}; name a deployed stack with --stack, or set it"
            )
        return str(value)

    def queue_url(self, setting: str) -> str:
        """Return the URL of a queue that the command cannot work without.

        Args:
            setting: The environment variable's name.

        Raises:
            ConfigurationError: The setting has no value, or its value cannot be a queue's URL.
        """
        url = self.needed(setting)
        try:
            parts = urlsplit(url)
            is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and bool(parts.path.strip("/"))
        except ValueError:
            is_url = False
        if not is_url:
            raise ConfigurationError(
                f"{setting} in {self.place} is {shown(url)}, which is not the URL of a queue; write it as "
                "https://sqs.REGION.amazonaws.com/ACCOUNT/NAME"
            )
        return url


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options `--stack` and `--aws` to a command that always works on AWS.

    `--aws` only names the default, which is to take the settings from this shell's environment.
    """
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--stack", metavar="NAME", help=STACK_HELP)
    where.add_argument(
        "--aws", action="store_true", help="take them from this shell's environment, which is the default"
    )


def opened(options: argparse.Namespace) -> Account:
    """Return the account, with the settings of the stack that `--stack` names.

    Without `--stack`, the settings come from this shell's environment.

    Raises:
        ConfigurationError: The stack does not exist or may not be read, or a setting is invalid.
        Unavailable: AWS was not reached.
    """
    clients = Clients()
    if options.stack is None:
        return Account(settings=Settings.from_environment(), clients=clients)
    found = stack.deployed(clients, options.stack, os.environ.get("AWS_REGION"))
    return Account(settings=found.settings, clients=clients, deployed=found)


@contextlib.contextmanager
def adopted(found: Deployed | None) -> Iterator[None]:
    """Within the `with` block, add `Deployed.environment` and the function's region to this process's environment.

    Settings that the function does not have are removed. `JENKINS_CA_BUNDLE` is kept, because the function's value is
    the path of a file in its artifact. After the block, the environment variables are as they were before.

    Args:
        found: The function's stack; `None` leaves the environment variables as they are.
    """
    before = dict(os.environ)
    try:
        if found is not None:
            for name in map(str.upper, Settings.model_fields):
                if name != "JENKINS_CA_BUNDLE":
                    os.environ.pop(name, None)
            os.environ.update(found.environment, AWS_REGION=found.region, AWS_DEFAULT_REGION=found.region)
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
