"""Starts jobs in build systems when tenant lifecycle events arrive from EventBridge, in one AWS Lambda function."""

from orchestrator.action import (
    Action,
    Decision,
    FromAnswer,
    PublishEvent,
    SaveTenant,
    SendCallback,
    StartJob,
    UpdateTenant,
)
from orchestrator.application import Application
from orchestrator.consumer import Context
from orchestrator.ending_event import Ended, EndingEvent
from orchestrator.errors import (
    ConfigurationError,
    ConsumerFailed,
    InvalidEvent,
    JobRejected,
    OrchestratorError,
    Unavailable,
    UnknownTenant,
)
from orchestrator.event import Event, EventType
from orchestrator.job import Builder, Ending, Job, Run, StartedJob, Untraceable
from orchestrator.registry import Registry
from orchestrator.settings import Settings
from orchestrator.stores.tiers import DynamoDBTierDetails, StaticTierDetails, TierDetails
from orchestrator.wiring import create_handler

__all__ = [
    "Action",
    "Application",
    "Builder",
    "ConfigurationError",
    "ConsumerFailed",
    "Context",
    "Decision",
    "DynamoDBTierDetails",
    "Ended",
    "Ending",
    "EndingEvent",
    "Event",
    "EventType",
    "FromAnswer",
    "InvalidEvent",
    "Job",
    "JobRejected",
    "OrchestratorError",
    "PublishEvent",
    "Registry",
    "Run",
    "SaveTenant",
    "SendCallback",
    "Settings",
    "StartJob",
    "StartedJob",
    "StaticTierDetails",
    "TierDetails",
    "Unavailable",
    "UnknownTenant",
    "Untraceable",
    "UpdateTenant",
    "create_handler",
]
