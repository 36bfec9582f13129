"""A Jenkins in this process: a small HTTP server that clients written for Jenkins can start and follow jobs on."""

from orchestrator.local.jenkins.server import Build, JenkinsServer, Job, Parameter, QueueItem

__all__ = ["Build", "JenkinsServer", "Job", "Parameter", "QueueItem"]
