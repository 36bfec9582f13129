"""A deployed stack for the commands that operate one: real tables and queues, and a function that Lambda invokes."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import boto3
import pytest

from orchestrator.aws.items import to_item
from orchestrator.cli import failure_queue
from orchestrator.cli.main import main
from orchestrator.local import sandbox
from orchestrator.local.control_plane import ControlPlane
from tests.smoke.account import Account, client, deployed_account
from tests.support.events import sample
from tests.template.stack import STACK

TENANT_ID = sandbox.TENANT["tenantId"]
SECRETS = (sandbox.CALLBACK_SECRET, sandbox.CALLBACK_CONTEXT, "Acme Robotics")
_TIERS = ("PREMIUM", "STANDARD")


@dataclass(frozen=True, slots=True)
class Result:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def last_error(self) -> str:
        return self.err.splitlines()[-1]


Command = Callable[..., Result]


@dataclass(frozen=True, slots=True)
class Deployment:
    """A stack whose tiers have projects.

    Attributes:
        plane: The control plane that gets its webhooks.
    """

    account: Account
    plane: ControlPlane

    def send(self, event: Any) -> Any:
        """Invoke the function; return its answer, also if that is an error."""
        return json.loads(self.account.invoke(event)[0])

    def send_sample(self, name: str, **detail: Any) -> Any:
        """Send a sample event whose webhook goes to the control plane."""
        event = sample(name)
        return self.send({**event, "detail": {**event["detail"], "API_ENDPOINT": self.plane.url, **detail}})

    def put(self, table: str, item: Mapping[str, Any]) -> None:
        boto3.client("dynamodb").put_item(TableName=self.account.names[table], Item=to_item(item))

    def record(self, run_id: str, **attributes: Any) -> None:
        """Change attributes of a record of the ledger; `None` removes one."""
        dynamodb: Any = boto3.client("dynamodb")
        table = self.account.names["IdempotencyTable"]
        item = dynamodb.get_item(TableName=table, Key={"id": {"S": run_id}})["Item"]
        removed = [name for name, value in attributes.items() if value is None]
        changed = {name: value for name, value in attributes.items() if value is not None}
        kept = {name: value for name, value in item.items() if name not in removed}
        dynamodb.put_item(TableName=table, Item={**kept, **to_item(changed)})

    def runs(self) -> list[str]:
        """Return the ids of the runs that are followed."""
        table = self.account.names["IdempotencyTable"]
        found = boto3.client("dynamodb").scan(TableName=table, IndexName="open-jobs")["Items"]
        return [item["id"]["S"] for item in found]

    def build(self, run_id: str) -> str:
        """Return the id of a run's build."""
        table = self.account.names["IdempotencyTable"]
        item = boto3.client("dynamodb").get_item(TableName=table, Key={"id": {"S": run_id}})["Item"]
        return str(item["outcome"]["M"]["id"]["S"])

    def fail(self, body: Any, **attributes: str) -> str:
        """Put a message into the failure queue; return its id."""
        answer = boto3.client("sqs").send_message(
            QueueUrl=self.account.names["FailureQueue"],
            MessageBody=body if isinstance(body, str) else json.dumps(body),
            MessageAttributes={name: {"DataType": "String", "StringValue": text} for name, text in attributes.items()},
        )
        return answer["MessageId"]

    def failed(self) -> int:
        """Return how many messages of the failure queue are visible."""
        name: Any = "ApproximateNumberOfMessages"
        url = self.account.names["FailureQueue"]
        return int(boto3.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=[name])["Attributes"][name])


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch, control_plane: ControlPlane) -> Iterator[Deployment]:
    """Deploy the stack, with the sandbox's tiers and projects."""
    monkeypatch.delenv("CALLBACK_ALLOWED_HOSTS")
    monkeypatch.setattr(failure_queue, "_WAIT_SECONDS", 0)  # the emulated SQS has one server
    with deployed_account({"CallbackAllowedHosts": "127.0.0.1"}, monkeypatch, _prepare) as account:
        _create_projects()  # a test may have a CodeBuild of its own, of which no copy is made
        yield Deployment(account, control_plane)


def _prepare(names: Mapping[str, str]) -> None:
    for rule in ("StartRule", "EndingRule"):  # moto's rules cannot invoke functions
        _remove_targets(names[rule])
    for tier in _TIERS:
        details = sandbox.TIERS[tier]
        client("dynamodb").put_item(TableName=names["TierDetailsTable"], Item=to_item({"tier": tier, **details}))


def _create_projects() -> None:
    codebuild = client("codebuild")
    for tier in _TIERS:
        for attribute, name in sandbox.TIERS[tier].items():
            if attribute.lower().endswith("jobname"):
                sandbox.create_project(codebuild, name)


def _remove_targets(rule: str) -> None:
    events = client("events")
    targets = events.list_targets_by_rule(Rule=rule)["Targets"]
    events.remove_targets(Rule=rule, Ids=[target["Id"] for target in targets])


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run the command on no terminal."""

    def run(*arguments: str) -> Result:
        capsys.readouterr()
        code = main(arguments)
        output = capsys.readouterr()
        return Result(code, output.out, output.err)

    return run


@pytest.fixture
def on_stack(command: Command) -> Command:
    """Run a command with `--stack`."""

    def run(name: str, *arguments: str) -> Result:
        return command(name, "--stack", STACK, *arguments)

    return run


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a person at the terminal who gives this answer."""

    def answer(text: str) -> None:
        monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
        monkeypatch.setattr(sys.stdin, "readline", lambda: f"{text}\n", raising=False)

    return answer
