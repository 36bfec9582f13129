from orchestrator import Registry, create_handler
from orchestrator.lifecycle import registry as lifecycle
from orchestrator.sbt import ScriptJob, script_jobs

registry = Registry()
registry.include(lifecycle)
registry.include(
    script_jobs(
        onboarding=ScriptJob(
            string_variables=["tenantId", "tier", "tenantName", "email"],
            json_variables=["prices"],
            tenant_data=["tenantS3Bucket", "tenantConfig", "prices", "tenantName", "email"],
            tenant_registration_data=["registrationStatus"],
        ),
        offboarding=ScriptJob(
            string_variables=["tenantId"],
            tenant_registration_data=["registrationStatus"],
        ),
    )
)

lambda_handler = create_handler(registry)
