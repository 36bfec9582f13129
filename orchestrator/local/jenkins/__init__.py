"""An emulated Jenkins, which keeps its data in memory.

Over HTTP, clients can put builds in the queue, cancel builds that wait there, and look up builds.
"""

from orchestrator.local.jenkins.server import JenkinsServer
from orchestrator.local.jenkins.state import EPOCH, Build, Job, Parameter, QueueItem

__all__ = ["EPOCH", "Build", "JenkinsServer", "Job", "Parameter", "QueueItem"]
