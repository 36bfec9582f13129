from orchestrator import Event, Registry, StartJob, create_handler
from orchestrator.lifecycle import registry as lifecycle

from .own_builder import StepFunctions

MACHINE = "arn:aws:states:eu-west-1:123456789012:stateMachine:suspend-tenant"

registry = Registry()
registry.include(lifecycle)


@registry.consumer("TENANT_SUSPENDED")
def suspend(event: Event) -> StartJob:
    return StartJob(builder="STEP_FUNCTIONS", name=MACHINE, variables={"tenant": event.detail["tenantId"]})


lambda_handler = create_handler(registry, builders={"STEP_FUNCTIONS": StepFunctions()})
