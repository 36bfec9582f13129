"""Loads what would delay a child's first delivery; imported by the process from which children are forked."""

import functools
import gc
import importlib

import botocore.hooks
import botocore.session
from pydantic import BaseModel

from orchestrator.lifecycle import registry

_MODULES = (
    "boto3",
    "encodings.idna",
    "orchestrator.builders.jenkins",
    "orchestrator.intake.batch",
    "orchestrator.intake.redelivery",
    "orchestrator.intake.waiting",
    "orchestrator.performers.callbacks",
    "orchestrator.wiring",
    "tests.chaos.worker",
)
_SERVICES = ("dynamodb", "codebuild", "secretsmanager", "events", "sqs")

for module in _MODULES:
    importlib.import_module(module)
for consumer in registry:
    if isinstance(consumer.model, type) and issubclass(consumer.model, BaseModel):
        consumer.model.model_rebuild()
_session = botocore.session.get_session()
_loader = _session.get_component("data_loader")
botocore.session.create_loader = lambda search_path_string=None: _loader
# A session inspects the signature of each of botocore's handlers.
botocore.hooks.accepts_kwargs = functools.cache(botocore.hooks.accepts_kwargs)
for service in _SERVICES:
    _session.create_client(
        service, region_name="eu-west-1", aws_access_key_id="of-no-worth", aws_secret_access_key="of-no-worth"
    )
# The children must not look through all of this for garbage.
gc.collect()
gc.freeze()
