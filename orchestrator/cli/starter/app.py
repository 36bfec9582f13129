"""The Lambda function's handler. In samconfig.toml, the parameter `Handler` names `lambda_handler` of this module."""

from orchestrator import create_handler

from consumers import registry

lambda_handler = create_handler(registry)
