"""Starts executions of AWS Step Functions state machines, and looks up how they ended.

The section "Facts about Step Functions" in orchestrator/builders/README.md lists what this module relies on.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from orchestrator.aws.console import console
from orchestrator.aws.errors import aws_errors, code_of, raise_in_doubt
from orchestrator.builders.variables import is_name
from orchestrator.errors import ConfigurationError, InvalidEvent, JobRejected, Unavailable, WaitReason, shown
from orchestrator.job import Ending, Job, Run, StartedJob
from orchestrator.timing import deadline
from orchestrator.values.limits import read_json
from orchestrator.values.text import to_json, to_text

if TYPE_CHECKING:
    from types_boto3_stepfunctions import SFNClient

# An ARN of a state machine, of one of its versions or of one of its aliases. A state machine's name may have all
# characters but these: https://docs.aws.amazon.com/step-functions/latest/apireference/API_CreateStateMachine.html
_MACHINE = re.compile(
    r"(?P<arn>arn:[a-z-]+:states:(?P<region>[a-z0-9-]+):\d{12}:stateMachine:"
    r"(?P<name>[^\s<>{}\[\]?*\"#%\\^|~`$&,;:/\x00-\x1f\x7f-\x9f]{1,80}))(:[A-Za-z0-9_.-]{1,80})?"
)
_SUCCEEDED = "SUCCEEDED"
_ENDED = (_SUCCEEDED, "FAILED", "TIMED_OUT", "ABORTED")
# https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html
_MAX_INPUT_BYTES = 262_144


@dataclass(frozen=True, slots=True, kw_only=True)
class _Machine:
    """A state machine.

    Attributes:
        arn: The ARN without a version or alias.
        region: The region.
        name: The name, for error messages.
    """

    arn: str
    region: str
    name: str

    def execution(self, run_id: str) -> str:
        """Return the ARN of the execution with the name `run_id`."""
        return f"{self.arn.replace(':stateMachine:', ':execution:', 1)}:{run_id}"


class StepFunctions:
    """Implements `Builder` for Step Functions. A job is a state machine, and a run is one of its executions.

    The run id becomes the execution's name. Until at least 30 days after an execution has ended, Step Functions starts
    no second execution with its name. The execution's ARN can be computed from its name.
    """

    # A name stays in use for 90 days after the execution has ended, or for 30 days if the account wants less history.
    covers = timedelta(days=30)

    def __init__(self, client: "Callable[[str], SFNClient]") -> None:
        """Store the function that returns the client for a region."""
        self._client = client
        self._standard: set[str] = set()

    def check(self, name: str) -> None:
        """Raise `JobRejected` if a name is not the ARN of a state machine, or of one of its versions or aliases.

        See `ChecksNames.check`.
        """
        _machine(name)

    def start(self, job: Job) -> Run:
        """Start an execution; see `Builder.start`.

        The input is a JSON object with the job's variables. If the execution exists already, Step Functions starts no
        second one, and this method returns the existing execution.

        Raises:
            JobRejected: See `Builder.start`. Or the state machine is an Express one.
            InvalidEvent: The job's variables are larger than the input of an execution may be.
        """
        machine = _machine(job.name)
        failure = f"state machine {shown(machine.name)} was not started"
        text = _input(job.variables, failure)
        self._require_standard(machine, failure)
        arn = machine.execution(job.run_id)
        with aws_errors(failure, rejected=JobRejected):
            try:
                self._client(machine.region).start_execution(stateMachineArn=job.name, name=job.run_id, input=text)
            except ClientError as error:
                if code_of(error) == "ExecutionAlreadyExists":
                    return Run(id=arn, link=console_link(arn), already_started=True)
                raise_in_doubt(error, failure)
                _raise_known(error, failure)
                raise
        return Run(id=arn, link=console_link(arn))

    def find(self, job: Job) -> Run | None:
        """Look the execution up by its name, which is the run id; see `Builder.find`.

        Step Functions may not find an execution that it has just started. The next `start` then recognizes the
        execution by its name.
        """
        machine = _machine(job.name)
        arn = machine.execution(job.run_id)
        failure = f"state machine {shown(machine.name)} could not be searched for run {job.run_id}"
        with aws_errors(failure, rejected=JobRejected):
            try:
                self._client(machine.region).describe_execution(executionArn=arn, includedData="METADATA_ONLY")
            except ClientError as error:
                if code_of(error) == "ExecutionDoesNotExist":
                    return None
                _raise_known(error, failure)
                raise
        return Run(id=arn, link=console_link(arn), already_started=True)

    def endings(self, jobs: Sequence[StartedJob]) -> dict[str, Ending]:
        """Look up how executions of one state machine ended; see `KnowsEndings.endings`.

        Each execution is looked up in a separate request. If the invocation's time runs out, the remaining executions
        get no ending. An execution that no longer exists gets a failure with `Ending.is_gone`.
        """
        machine = _machine(jobs[0].name)
        endings: dict[str, Ending] = {}
        for number, job in enumerate(jobs):
            if number and not deadline.has_time():
                break
            ending = self._ending(machine, job.run_id)
            if ending is not None:
                endings[job.run_id] = ending
        return endings

    def _ending(self, machine: _Machine, run_id: str) -> Ending | None:
        arn = machine.execution(run_id)
        failure = f"executions of state machine {shown(machine.name)} could not be looked up"
        with aws_errors(failure):
            try:
                found = self._client(machine.region).describe_execution(executionArn=arn)
            except ClientError as error:
                if code_of(error) == "ExecutionDoesNotExist":
                    return Ending(succeeded=False, reason=f"{_shown(arn)} no longer exists", is_gone=True)
                _raise_known(error, failure)
                raise
        return ending_of(arn, found["status"], found.get("input"), found.get("output"), found.get("error"))

    def _require_standard(self, machine: _Machine, failure: str) -> None:
        """Raise `JobRejected` for an Express state machine.

        Express executions cannot be looked up, and a repeated request would start a second execution. The type of a
        state machine never changes, so a state machine that was found to be a Standard one is not looked up again.
        """
        if machine.arn in self._standard:
            return
        with aws_errors(failure, rejected=JobRejected):
            try:
                found = self._client(machine.region).describe_state_machine(
                    stateMachineArn=machine.arn, includedData="METADATA_ONLY"
                )
            except ClientError as error:
                _raise_known(error, failure)
                raise
        if found["type"] != "STANDARD":
            raise JobRejected(
                f"{failure}: it is an Express state machine, whose executions cannot be found again or followed; name "
                "a Standard one in the tier's item (jobName) or in the consumer"
            )
        self._standard.add(machine.arn)


def ending_of(arn: str, status: str, sent: str | None, output: str | None, error: str | None) -> Ending | None:
    """Return how an execution ended; `None` if it has not ended.

    `Ending.variables` has the scalar members of the input and the output (see `variables_in`), and as `BUILD_URL` the
    link to the execution, if there is one (see `console_link`). If the input and the output have a member of the same
    name, the output's member is used.

    Args:
        arn: The execution's ARN.
        status: The execution's status, such as `FAILED`.
        sent: The execution's input, as JSON.
        output: The execution's output, as JSON.
        error: The name of the error that ended the execution, if any. It becomes part of `Ending.reason`. The error's
            cause does not, because it may be secret.
    """
    if status not in _ENDED:
        return None
    link = console_link(arn)
    return Ending(
        succeeded=status == _SUCCEEDED,
        reason=f"{_shown(arn)} ended {status}" + (f" with error {shown(error)}" if error else ""),
        variables={**variables_in(sent), **variables_in(output), **({} if link is None else {"BUILD_URL": link})},
    )


def variables_in(text: str | None) -> dict[str, str]:
    """Return the scalar members of a JSON object as texts, by name.

    A member is left out if its name or value is not possible for a job variable (see `is_name` and `to_text`).

    Args:
        text: The input or the output of an execution. If it is not a JSON object, the result is empty.
    """
    try:
        members = read_json(text or "null")
    except (ValueError, RecursionError):
        return {}
    found: dict[str, str] = {}
    for name, value in members.items() if isinstance(members, dict) else ():
        if is_name(name) and not isinstance(value, dict | list):
            with suppress(ValueError):  # a text or a number that no variable can have
                found[name] = to_text(value)
    return found


def console_link(arn: str) -> str | None:
    """Return the link to an execution's page in the AWS console; `None` if the console's host is not known."""
    address = console(arn)
    return None if address is None else f"{address}/states/home?region={arn.split(':')[3]}#/v2/executions/details/{arn}"


def _machine(name: str) -> _Machine:
    found = _MACHINE.fullmatch(name)
    if found is None:
        raise JobRejected(
            f"{shown(name)} is not a state machine's ARN (arn:aws:states:REGION:ACCOUNT:stateMachine:NAME); correct it "
            "in the tier's item (jobName) or in the consumer"
        )
    return _Machine(arn=found["arn"], region=found["region"], name=found["name"])


def _input(variables: Mapping[str, str], failure: str) -> str:
    text = to_json(dict(sorted(variables.items())))
    size = len(text.encode())
    if size > _MAX_INPUT_BYTES:
        largest = max(variables, key=lambda name: len(variables[name].encode()))
        raise InvalidEvent(
            f"{failure}: its {len(variables)} variables have {size:,} bytes as JSON, and Step Functions takes at most "
            f"{_MAX_INPUT_BYTES:,}; shorten them (the largest is {shown(largest)})"
        )
    return text


def _shown(arn: str) -> str:
    return f"Step Functions execution {arn.partition(':execution:')[2]}"


def _raise_known(error: ClientError, failure: str) -> None:
    match code_of(error):
        case "StateMachineDoesNotExist" | "StateMachineDeleting" as code:
            state = "does not exist" if code == "StateMachineDoesNotExist" else "is being deleted"
            raise JobRejected(
                f"{failure}: the state machine {state}; create it, or correct its ARN in the tier's item (jobName) or "
                "in the consumer"
            ) from None
        case "ExecutionLimitExceeded":
            raise Unavailable(
                f"{failure}: as many executions are running as the account may have; a retry may succeed",
                ambiguous=False,
                waits_for=WaitReason.BUILD_QUEUE_FULL,
            ) from None
        case "KmsAccessDeniedException" | "KmsInvalidStateException" as code:
            raise ConfigurationError(
                f"{failure}: AWS answered {code}; enable the state machine's KMS key, and allow kms:Decrypt and "
                "kms:GenerateDataKey on it to the function's role"
            ) from None
