"""Reads a deployed stack: its parameters and outputs, and the settings of its function."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator.aws.errors import aws_errors
from orchestrator.errors import ConfigurationError, shown
from orchestrator.settings import Settings

if TYPE_CHECKING:
    from orchestrator.aws.clients import Clients

YOUR_ROLE = "your role"
"""For error messages: commands use the permissions of the person who runs them, not those of the function."""

# https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_CreateStack.html
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,127}|arn:[a-z-]+:cloudformation:[a-z0-9-]+:\d{12}:stack/[^\s]+")
_FUNCTION = "FunctionArn"
# Variables of a function that mean nothing on another machine, or would change how this process runs.
_FOREIGN = ("AWS_", "LD_", "PYTHON")
_FOREIGN_NAMES = ("PATH", "RES_OPTIONS", "JENKINS_CA_BUNDLE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A stack as CloudFormation describes it."""

    name: str
    parameters: Mapping[str, str]
    outputs: Mapping[str, str]

    @property
    def function(self) -> str:
        """ARN of the stack's function or, with SnapStart, of the function's alias."""
        return self.outputs[_FUNCTION]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """The function of a deployed stack, and the function's settings.

    Attributes:
        name: The stack's name.
        function: The ARN of the function or, with SnapStart, of its alias.
        environment: The function's environment variables, without those that have no meaning on another machine or
            would change how this process runs, such as `PATH`. Values may be secret and are not in `repr`.
        timeout: How long an invocation may take, in seconds.
    """

    name: str
    function: str
    region: str
    timeout: int
    environment: Mapping[str, str] = field(repr=False)

    @property
    def settings(self) -> Settings:
        """The function's settings, with the function's region as `AWS_REGION`.

        Raises:
            ConfigurationError: A setting is invalid.
        """
        return Settings.from_environment({**self.environment, "AWS_REGION": self.region})


def describe(cloudformation: Any, name: str) -> Description:
    """Read a stack's description.

    Args:
        cloudformation: The CloudFormation client.
        name: The stack's name or ARN.

    Raises:
        ConfigurationError: The stack does not exist, or has no output with the function's ARN.
        ClientError: AWS refused the request for another reason.
        BotoCoreError: The request could not be sent, or got no answer.
    """
    from botocore.exceptions import ClientError

    try:
        (found,) = cloudformation.describe_stacks(StackName=name)["Stacks"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "ValidationError":
            raise
        raise ConfigurationError(
            f"stack {shown(name)} does not exist; set AWS_PROFILE and AWS_REGION to where it is deployed"
        ) from None
    outputs = {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])}
    if _FUNCTION not in outputs:
        raise ConfigurationError(
            f"stack {shown(name)} is {found['StackStatus']}, without the output {_FUNCTION}; deploy it first"
        )
    parameters = {given["ParameterKey"]: given["ParameterValue"] for given in found.get("Parameters", [])}
    return Description(name=found["StackName"], parameters=parameters, outputs=outputs)


def deployed(clients: "Clients", name: str, region: str | None) -> Deployed:
    """Read a stack, and the configuration of its function.

    Args:
        clients: The AWS clients.
        name: The stack's name or ARN. The region in an ARN takes precedence over `region`.
        region: The stack's region; `None` uses the SDK's own configuration.

    Raises:
        ConfigurationError: `name` is malformed, or the stack does not exist, is not deployed, or may not be read.
        Unavailable: AWS was not reached, failed or throttled a request.
    """
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"--stack {shown(name)} is neither a stack's name, which has letters, digits and hyphens, nor its ARN"
        )
    region = name.split(":")[3] if name.startswith("arn:") else region
    with aws_errors(f"stack {shown(name)} could not be read", role=YOUR_ROLE):
        found = describe(clients.get("cloudformation", region), name)
        region = found.function.split(":")[3]
        function = clients.get("lambda", region).get_function_configuration(FunctionName=found.function)
    return Deployed(
        name=found.name,
        function=found.function,
        region=region,
        timeout=function.get("Timeout", 60),
        environment=_portable(function.get("Environment", {}).get("Variables", {})),
    )


def _portable(variables: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value for name, value in variables.items() if not name.startswith(_FOREIGN) and name not in _FOREIGN_NAMES
    }
