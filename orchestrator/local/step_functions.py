"""An emulated Step Functions.

In contrast to moto's emulation, state machines can belong to any account. An execution runs until
`StepFunctionsServer.finish` ends it.
"""

import json
import threading
import uuid
from collections.abc import Collection
from typing import Any, Self

from orchestrator.endings.publisher import bare_name
from orchestrator.local.http_server import Answer, LocalServer, Request

EXPRESS, STANDARD = "EXPRESS", "STANDARD"
RUNNING = "RUNNING"


class StepFunctionsServer:
    """Serves, on a loopback port, the Step Functions operations that this package uses.

    The server's clock moves only when `advance` is called. The clock only gives executions their start and stop
    dates.

    Attributes:
        url: The server's URL, for the environment variable `AWS_ENDPOINT_URL_SFN`.
        machines: The type of each state machine, `STANDARD` or `EXPRESS`, by its ARN.
        executions: Every execution, oldest first, in the form that DescribeExecution returns.
        now: The clock's time, in seconds since 1970.
        requests: Every request received, in order.
        next: The `http_server.Script` whose methods make the next requests fail.
    """

    def __init__(self, machines: Collection[str] = (), *, now: float = 0.0) -> None:
        """Bind a free port; a `with` block starts and stops the server.

        Args:
            machines: The ARNs of the state machines that exist at first. All of them have the type `STANDARD`.
            now: The time to which the clock is set at first, in seconds since 1970.
        """
        self.machines = dict.fromkeys(machines, STANDARD)
        self.executions: list[dict[str, Any]] = []
        self.now = now
        self._lock = threading.Lock()
        self._http = LocalServer(self._respond)
        self.url = f"{self._http.scheme}://{self._http.address}"
        self.requests = self._http.requests
        self.next = self._http.script

    def __enter__(self) -> Self:
        self._http.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.stop()

    def advance(self, seconds: float) -> None:
        """Move this server's clock forward."""
        self.now += seconds

    def variables(self, execution: dict[str, Any]) -> dict[str, str]:
        """Return the variables in an execution's input, by name."""
        variables: dict[str, str] = json.loads(execution["input"])
        return variables

    def finish(
        self,
        execution: dict[str, Any],
        status: str = "SUCCEEDED",
        *,
        output: Any = None,
        error: str | None = None,
        cause: str | None = None,
    ) -> None:
        """End an execution.

        Args:
            execution: The execution, one of `executions`.
            status: One of Step Functions' statuses, such as `TIMED_OUT`.
            output: The output, which is stored as JSON; `None` stands for the input. Not used unless `status` is
                `SUCCEEDED`.
            error: The name of the error that ended the execution.
            cause: A text that explains the error.
        """
        with self._lock:
            execution["status"] = status
            execution["stopDate"] = self.now
            if status == "SUCCEEDED":
                execution["output"] = execution["input"] if output is None else json.dumps(output)
            given = {"error": error, "cause": cause}
            execution.update((name, value) for name, value in given.items() if value is not None)

    def _respond(self, request: Request) -> Answer:
        operation = request.headers["X-Amz-Target"].partition(".")[2]
        body = json.loads(request.body)
        with self._lock:
            match operation:
                case "DescribeStateMachine":
                    return self._describe_machine(body["stateMachineArn"])
                case "StartExecution":
                    return self._start(body)
                case "DescribeExecution":
                    return self._describe(body)
        return _error("ValidationException")

    def _describe_machine(self, arn: str) -> Answer:
        if arn not in self.machines:
            return _error("StateMachineDoesNotExist")
        name = arn.rpartition(":")[2]
        return _json({"stateMachineArn": arn, "name": name, "type": self.machines[arn], "status": "ACTIVE"})

    def _start(self, body: dict[str, Any]) -> Answer:
        machine, name = bare_name(body["stateMachineArn"]), body.get("name") or str(uuid.uuid4())
        sent = body.get("input", "{}")
        if machine not in self.machines:
            return _error("StateMachineDoesNotExist")
        is_standard = self.machines[machine] == STANDARD
        arn = f"{machine.replace(':stateMachine:', ':execution:' if is_standard else ':express:')}:{name}"
        known = next((one for one in self.executions if one["executionArn"] == arn), None)
        if known is not None and is_standard:
            if known["status"] != RUNNING or known["input"] != sent:
                return _error("ExecutionAlreadyExists")
            return _json({"executionArn": arn, "startDate": known["startDate"]})
        execution = {
            "executionArn": arn,
            "stateMachineArn": machine,
            "name": name,
            "status": RUNNING,
            "startDate": self.now,
            "input": sent,
            "inputDetails": {"included": True},
        }
        self.executions.append(execution)
        return _json({"executionArn": arn, "startDate": self.now})

    def _describe(self, body: dict[str, Any]) -> Answer:
        found = next((one for one in self.executions if one["executionArn"] == body["executionArn"]), None)
        if found is None:
            return _error("ExecutionDoesNotExist")
        if body.get("includedData") == "METADATA_ONLY":
            found = {name: value for name, value in found.items() if name not in ("input", "output")}
        return _json(found)


def _json(body: dict[str, Any], status: int = 200) -> Answer:
    return Answer(status, json.dumps(body), {"Content-Type": "application/x-amz-json-1.0"})


def _error(code: str) -> Answer:
    return _json({"__type": code, "message": "refused"}, 400)
