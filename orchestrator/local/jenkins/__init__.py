"""An emulated Jenkins, which keeps its data in memory. Clients can start, look up and cancel builds over HTTP."""

from orchestrator.local.jenkins.server import JenkinsServer
from orchestrator.local.jenkins.state import EPOCH, Build, Job, Parameter, QueueItem

__all__ = ["EPOCH", "Build", "JenkinsServer", "Job", "Parameter", "QueueItem"]
