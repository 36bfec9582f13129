"""Serves the control plane of AWS SaaS Builder Toolkit (SBT) in the place of SBT's own `ScriptJob`; to opt in to.

`registry` has the consumers for jobs that need no names of their own; `script_jobs` makes others. Include one of them
beside `orchestrator.lifecycle.registry`, which has the consumers that find out how jobs ended.

https://github.com/awslabs/sbt-aws
"""

from orchestrator.sbt.consumers import script_jobs
from orchestrator.sbt.script_job import ScriptJob

__all__ = ["ScriptJob", "registry", "script_jobs"]

registry = script_jobs()
