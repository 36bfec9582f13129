import json
from functools import cached_property
from typing import Any

import boto3

from orchestrator import Job, Registry, Run, create_handler
from orchestrator.lifecycle import registry as lifecycle


class StepFunctions:
    """Starts executions of state machines, each named after its run, so that no run starts twice."""

    @cached_property
    def client(self) -> Any:
        return boto3.client("stepfunctions")

    def start(self, job: Job) -> Run:
        try:
            execution = self.client.start_execution(
                stateMachineArn=job.name, name=job.run_id, input=json.dumps(dict(job.variables))
            )
        except self.client.exceptions.ExecutionAlreadyExists:
            return Run(id=arn_of(job), already_started=True)
        return Run(id=execution["executionArn"])

    def find(self, job: Job) -> Run | None:
        try:
            self.client.describe_execution(executionArn=arn_of(job))
        except self.client.exceptions.ExecutionDoesNotExist:
            return None
        return Run(id=arn_of(job), already_started=True)


def arn_of(job: Job) -> str:
    return f"{job.name.replace(':stateMachine:', ':execution:')}:{job.run_id}"


registry = Registry()
registry.include(lifecycle)
lambda_handler = create_handler(registry, builders={"STEP_FUNCTIONS": StepFunctions()})
