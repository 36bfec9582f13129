"""Handles the requests of AWS SaaS Builder Toolkit's (SBT's) control plane, in place of SBT's own `ScriptJob`.

This package is optional. `registry` has the consumers for jobs with the default input and output variables of
`script_jobs`. For jobs with other variables, `script_jobs` creates another registry. Include one of these two
registries in the function's registry, together with `orchestrator.lifecycle.registry`, whose consumers find out how
jobs ended.

https://github.com/awslabs/sbt-aws
"""

from orchestrator.sbt.consumers import script_jobs
from orchestrator.sbt.script_job import ScriptJob

__all__ = ["ScriptJob", "registry", "script_jobs"]

registry = script_jobs()
