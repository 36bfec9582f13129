"""Builds the objects of Jenkins' remote API as `Bean` objects: folders, jobs, queue items, builds and executors.

`tree.export` selects which of a bean's properties a client gets, as JSON.
"""

from dataclasses import dataclass

from orchestrator.local.jenkins.state import QUIET_PERIOD, Build, Controller, Job, Parameter, QueueItem, url_path
from orchestrator.local.jenkins.tree import Bean, Value

_MAX_BUILDS = 100
_MODEL = "hudson.model."
_JOB = "org.jenkinsci.plugins.workflow.job.WorkflowJob"
_FOLDER = "com.cloudbees.hudson.plugins.folder.Folder"
_BUILD = "org.jenkinsci.plugins.workflow.job.WorkflowRun"


@dataclass(frozen=True)
class Beans:
    """Builds the objects of the remote API for one Jenkins controller.

    Attributes:
        controller: The jobs, the queue and the builds.
        root: The controller's URL, with a trailing slash.
    """

    controller: Controller
    root: str

    def dashboard(self) -> Bean:
        """Return the object that describes the controller and lists the jobs and folders at the top level."""
        return Bean("hudson.model.Hudson", {"url": self.root, "jobs": self._children("")})

    def folder(self, path: str) -> Bean:
        """Return the object that describes a folder and lists the jobs and folders directly in it.

        Args:
            path: The folder's full name, such as `tenants/eu`.
        """
        return Bean(_FOLDER, {**self._names(path), "jobs": self._children(path)})

    def job(self, job: Job) -> Bean:
        """Return the object that describes a job and lists its builds, newest first.

        The property `builds` has the newest 100 builds. The property `allBuilds` has all builds.
        """
        builds = [self.build(build) for build in reversed(job.builds)]
        return Bean(
            _JOB,
            {
                **self._names(job.path),
                "buildable": not job.disabled,
                "builds": builds[:_MAX_BUILDS],
                "allBuilds": builds,
                "lastBuild": builds[0] if builds else None,
                "nextBuildNumber": job.next_number,
                "property": _properties(job),
            },
        )

    def build(self, build: Build) -> Bean:
        """Return the object that describes a build."""
        return Bean(
            _BUILD,
            {
                "actions": _actions(build),
                "building": build.result is None,
                "number": build.number,
                "queueId": build.queue_id,
                "result": build.result,
                "timestamp": int(build.started * 1000),
                "url": f"{self.root}{url_path(build.job.path)}{build.number}/",
            },
            reference=("number", "url"),
        )

    def queue(self) -> Bean:
        """Return the object that describes the queue and lists its waiting items, newest first."""
        return Bean("hudson.model.Queue", {"items": [self.item(item) for item in reversed(self.controller.waiting())]})

    def item(self, item: QueueItem) -> Bean:
        """Return the object that describes a queue item."""
        fields: dict[str, Value] = {
            "actions": _actions(item),
            "id": item.id,
            "task": Bean(_JOB, self._names(item.job.path)),
            "url": f"queue/item/{item.id}/",
        }
        if item.build is None and not item.cancelled:
            rest = item.since + QUIET_PERIOD - self.controller.now
            why = f"In the quiet period. Expires in {rest:.1f} sec"
            return Bean(f"{_MODEL}Queue$WaitingItem", {**fields, "why": why})
        executable = None if item.build is None else self.build(item.build)
        left = {"cancelled": item.cancelled, "executable": executable, "why": None}
        return Bean(f"{_MODEL}Queue$LeftItem", {**fields, **left})

    def computers(self) -> Bean:
        """Return the object that lists the nodes: one node, with an executor for each running build.

        The client library api4jenkins reads the executors to find the build that was started from a queue item.
        """
        builds = [build for job in self.controller.jobs.values() for build in job.builds if build.result is None]
        executors = [Bean("", {"currentExecutable": self.build(build)}) for build in builds]
        node = Bean("hudson.model.Hudson$MasterComputer", {"executors": [], "oneOffExecutors": executors})
        return Bean("hudson.model.ComputerSet", {"computer": [node]})

    def _children(self, folder: str) -> list[Bean]:
        jobs = self.controller.jobs
        return [Bean(_JOB if path in jobs else _FOLDER, self._names(path)) for path in self.controller.children(folder)]

    def _names(self, path: str) -> dict[str, Value]:
        return {"fullName": path, "name": path.rsplit("/", 1)[-1], "url": self.root + url_path(path)}


def _actions(holder: Build | QueueItem) -> list[Bean]:
    # Besides the parameters, Jenkins lists the actions of plugins. An action without public properties is an empty
    # object.
    others = [Bean(f"{_MODEL}CauseAction"), Bean("")]
    if holder.job.parameters is None:
        return others
    values = [_value(p, holder.values[p.name]) for p in holder.job.parameters if p.name in holder.values]
    return [Bean(f"{_MODEL}ParametersAction", {"parameters": values}), *others]


def _value(parameter: Parameter, value: str) -> Bean:
    if parameter.secret:
        return Bean(f"{_MODEL}PasswordParameterValue", {"name": parameter.name})
    return Bean(f"{_MODEL}StringParameterValue", {"name": parameter.name, "value": value})


def _properties(job: Job) -> list[Bean]:
    if job.parameters is None:
        return []
    definitions = [
        Bean(f"{_MODEL}{'Password' if p.secret else 'String'}ParameterDefinition", {"name": p.name})
        for p in job.parameters
    ]
    return [Bean(f"{_MODEL}ParametersDefinitionProperty", {"parameterDefinitions": definitions})]
