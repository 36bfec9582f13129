"""An in-memory Jenkins over HTTP, on which a client can start, follow, cancel and read builds."""

from orchestrator.local.jenkins.server import JenkinsServer
from orchestrator.local.jenkins.state import EPOCH, Build, Job, Parameter, QueueItem

__all__ = ["EPOCH", "Build", "JenkinsServer", "Job", "Parameter", "QueueItem"]
