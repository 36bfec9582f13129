from functools import cached_property
from typing import Any

import boto3
from botocore.exceptions import ClientError

from orchestrator import Job, Registry, Run, create_handler
from orchestrator.lifecycle import registry as lifecycle


class CloudFormation:
    """Creates a stack from the template at the URL that is the job's name. A stack is named after its run."""

    @cached_property
    def client(self) -> Any:
        return boto3.client("cloudformation")

    def start(self, job: Job) -> Run:
        # A parameter has no underscore in its name, so this leaves out the ORCHESTRATOR_… variables.
        given = {name: value for name, value in job.variables.items() if name.isalnum()}
        try:
            stack = self.client.create_stack(
                StackName=f"run-{job.run_id}",
                TemplateURL=job.name,
                Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in given.items()],
            )
        except self.client.exceptions.AlreadyExistsException:
            return Run(id=f"run-{job.run_id}", already_started=True)
        return Run(id=stack["StackId"])

    def find(self, job: Job) -> Run | None:
        try:
            (stack,) = self.client.describe_stacks(StackName=f"run-{job.run_id}")["Stacks"]
        except ClientError as error:
            if error.response["Error"]["Code"] == "ValidationError":  # there is no such stack
                return None
            raise
        return Run(id=stack["StackId"], already_started=True)


registry = Registry()
registry.include(lifecycle)
lambda_handler = create_handler(registry, builders={"CLOUD_FORMATION": CloudFormation()})
