"""Loads what would delay a child's first delivery; imported by the process from which children are forked."""

import importlib

import botocore.session

_MODULES = (
    "orchestrator",
    "orchestrator.builders.jenkins",
    "orchestrator.performers.callbacks",
    "orchestrator.lifecycle",
    "tests.chaos.worker",
)
_SERVICES = ("dynamodb", "codebuild", "secretsmanager", "events")

for module in _MODULES:
    importlib.import_module(module)
_session = botocore.session.get_session()
_loader = _session.get_component("data_loader")
botocore.session.create_loader = lambda search_path_string=None: _loader
for service in _SERVICES:
    _session.create_client(
        service, region_name="eu-west-1", aws_access_key_id="of-no-worth", aws_secret_access_key="of-no-worth"
    )
