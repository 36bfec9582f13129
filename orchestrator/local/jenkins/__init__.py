"""An emulated Jenkins, which keeps its data in memory. Over HTTP, clients can start, follow and cancel builds on it."""

from orchestrator.local.jenkins.server import JenkinsServer
from orchestrator.local.jenkins.state import EPOCH, Build, Job, Parameter, QueueItem

__all__ = ["EPOCH", "Build", "JenkinsServer", "Job", "Parameter", "QueueItem"]
