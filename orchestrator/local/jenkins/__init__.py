"""A Jenkins server in this process, over HTTP, in memory: a client can start, follow, cancel and read builds on it."""

from orchestrator.local.jenkins.server import JenkinsServer
from orchestrator.local.jenkins.state import EPOCH, Build, Job, Parameter, QueueItem

__all__ = ["EPOCH", "Build", "JenkinsServer", "Job", "Parameter", "QueueItem"]
