"""The Lambda function; samconfig.toml names it as the template's Handler."""

from orchestrator import create_handler

from consumers import registry

lambda_handler = create_handler(registry)
