"""What Jenkins' remote API shows of a controller: its folders, jobs, queue items and builds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.local.jenkins.state import (
    QUIET_PERIOD,
    Build,
    Controller,
    Job,
    Parameter,
    QueueItem,
    Values,
    url_path,
)
from orchestrator.local.jenkins.tree import Bean, Field, Fields

_ALWAYS = 999
_MAX_BUILDS = 100
_COLORS = {"SUCCESS": "blue", "UNSTABLE": "yellow", "FAILURE": "red", "NOT_BUILT": "notbuilt"}
_MODEL = "hudson.model."


@dataclass(frozen=True)
class Beans:
    """The beans of one controller, as one user sees them; `root` is its URL with a trailing slash."""

    controller: Controller
    root: str
    user: str

    def sees(self, job: Job) -> bool:
        """Whether the user may see a job."""
        return self.user not in job.hidden_from

    def dashboard(self) -> Bean:
        """The controller itself."""
        return Bean(
            "hudson.model.Hudson",
            {
                "mode": "NORMAL",
                "nodeDescription": "the Jenkins controller's built-in node",
                "nodeName": "",
                "numExecutors": 2,
                "description": None,
                "jobs": lambda: self._entries(""),
                "quietingDown": False,
                "url": self.root,
                "useCrumbs": True,
                "useSecurity": True,
                "views": [],
            },
        )

    def folder(self, path: str) -> Bean:
        """A folder and what is in it."""
        fields = {**self._names(path), "description": None, "jobs": lambda: self._entries(path)}
        return Bean("com.cloudbees.hudson.plugins.folder.Folder", fields)

    def job(self, job: Job) -> Bean:
        """A job, its declared parameters and its builds."""
        builds = self.controller.builds(job.path)

        def first(wanted: Callable[[Build], bool]) -> Callable[[], Bean | None]:
            return lambda: next((self.build(build) for build in builds if wanted(build)), None)

        def ended(*results: str) -> Callable[[], Bean | None]:
            return first(lambda build: build.result in results)

        queued = [item for item in self.controller.waiting() if item.job is job]
        return Bean(
            "org.jenkinsci.plugins.workflow.job.WorkflowJob",
            {
                "actions": [Bean("")],
                "description": None,
                **self._names(job.path),
                "buildable": not job.disabled,
                "builds": lambda: [self.build(build) for build in builds[:_MAX_BUILDS]],
                "allBuilds": Field(lambda: [self.build(build) for build in builds], -2),
                "color": Field(_color(job, builds), 2),
                "firstBuild": lambda: self.build(builds[-1]) if builds else None,
                "inQueue": bool(queued),
                "keepDependencies": False,
                "lastBuild": first(lambda _: True),
                "lastCompletedBuild": first(lambda build: build.result is not None),
                "lastFailedBuild": ended("FAILURE"),
                "lastStableBuild": ended("SUCCESS"),
                "lastSuccessfulBuild": ended("SUCCESS", "UNSTABLE"),
                "lastUnstableBuild": ended("UNSTABLE"),
                "lastUnsuccessfulBuild": ended("FAILURE", "UNSTABLE", "ABORTED", "NOT_BUILT"),
                "nextBuildNumber": job.next_number,
                "property": Field(_properties(job), 1, inline=True),
                "queueItem": lambda: self.item(queued[0]) if queued else None,
                "concurrentBuild": True,
                "disabled": job.disabled,
            },
        )

    def build(self, build: Build) -> Bean:
        """A build, its parameters and its result."""
        siblings = {sibling.number: sibling for sibling in build.job.builds}

        def sibling(number: int) -> Callable[[], Bean | None]:
            return lambda: self.build(siblings[number]) if number in siblings else None

        name = " » ".join(build.job.path.split("/"))
        running = build.result is None
        return Bean(
            "org.jenkinsci.plugins.workflow.job.WorkflowRun",
            {
                "actions": _actions(build.job, build.values, build.user),
                "artifacts": [],
                "building": running,
                "description": None,
                "displayName": f"#{build.number}",
                "duration": 0 if build.finished is None else _millis(build.finished - build.started),
                "estimatedDuration": -1,
                "executor": Bean("") if running else None,
                "fullDisplayName": f"{name} #{build.number}",
                "id": str(build.number),
                "inProgress": running,
                "keepLog": False,
                "number": Field(build.number, 2),
                "queueId": build.queue_id,
                "result": build.result,
                "timestamp": _millis(build.started),
                "url": Field(f"{self.root}{url_path(build.job.path)}{build.number}/", 2),
                "changeSets": [],
                "nextBuild": sibling(build.number + 1),
                "previousBuild": sibling(build.number - 1),
            },
        )

    def queue(self) -> Bean:
        """The waiting items, newest first."""
        items = [item for item in self.controller.waiting() if self.sees(item.job)]
        beans = [self.item(item) for item in reversed(items)]
        return Bean("hudson.model.Queue", {"discoverableItems": [], "items": Field(beans, 1, inline=True)})

    def item(self, item: QueueItem) -> Bean:
        """A queue item: waiting, waiting for an executor, or gone."""
        kind, stage = self._stage(item)
        params = "".join(f"\n{name}={_text(item.job, name, v)}" for name, v in item.values.items())
        fields: Fields = {
            "actions": _actions(item.job, item.values, item.user),
            "blocked": False,
            "buildable": kind == "BuildableItem",
            "id": item.id,
            "inQueueSince": _millis(item.since),
            "params": params,
            "stuck": False,
            "task": lambda: self.job(item.job),
            "url": f"queue/item/{item.id}/",
            **stage,
        }
        return Bean(f"hudson.model.Queue${kind}", fields, _ALWAYS)

    def computers(self) -> Bean:
        """The one node, with an executor for each running build."""
        jobs = [job for job in self.controller.jobs.values() if self.sees(job)]
        running = [build for job in jobs for build in job.builds if build.result is None]
        one_off = [Bean("", {"currentExecutable": self.build(build), "number": -1}) for build in running]
        node: Fields = {
            "displayName": "Built-In Node",
            "executors": [Bean("", {"currentExecutable": None, "number": n}) for n in range(2)],
            "idle": not running,
            "numExecutors": 2,
            "offline": False,
            "oneOffExecutors": one_off,
        }
        computers = [Bean("hudson.model.Hudson$MasterComputer", node)]
        return Bean("hudson.model.ComputerSet", {"busyExecutors": len(running), "computer": computers})

    def crumb(self, crumb: str) -> Bean:
        """A crumb and the header it goes in."""
        fields = {"crumb": crumb, "crumbRequestField": "Jenkins-Crumb"}
        return Bean("hudson.security.csrf.DefaultCrumbIssuer", fields)

    def me(self) -> Bean:
        """The user who asks."""
        url = f"{self.root}user/{self.user}"
        return Bean("hudson.model.User", {"absoluteUrl": url, "fullName": self.user, "id": self.user})

    def _stage(self, item: QueueItem) -> tuple[str, Fields]:
        build = item.build
        if item.left is not None:
            executable = (lambda: self.build(build)) if build else None
            return "LeftItem", {"why": None, "cancelled": build is None, "executable": executable}
        rest = item.since + QUIET_PERIOD - self.controller.now
        if self.controller.busy or rest <= 0:
            why = "Waiting for next available executor"
            return "BuildableItem", {"why": why, "pending": False}
        return "WaitingItem", {"why": f"In the quiet period. Expires in {rest:.1f} sec"}

    def _entries(self, folder: str) -> list[Bean]:
        jobs = self.controller.jobs
        children = self.controller.children(folder)
        paths = [path for path in children if path not in jobs or self.sees(jobs[path])]
        return [self.job(jobs[path]) if path in jobs else self.folder(path) for path in paths]

    def _names(self, path: str) -> Fields:
        name = path.rsplit("/", 1)[-1]
        return {
            "displayName": name,
            "fullDisplayName": " » ".join(path.split("/")),
            "fullName": path,
            "name": Field(name, _ALWAYS),
            "url": Field(self.root + url_path(path), _ALWAYS),
        }


def _millis(seconds: float) -> int:
    return int(seconds * 1000)


def _color(job: Job, builds: list[Build]) -> str:
    if job.disabled:
        return "disabled"
    ended = next((build.result for build in builds if build.result), "NOT_BUILT")
    running = bool(builds) and builds[0].result is None
    return _COLORS.get(ended, "aborted") + ("_anime" if running else "")


def _parameter(job: Job, name: str) -> Parameter:
    return next((p for p in job.parameters or () if p.name == name), Parameter(name))


def _kind(parameter: Parameter) -> str:
    if parameter.secret:
        return "Password"
    return "Boolean" if isinstance(parameter.default, bool) else "String"


def _text(job: Job, name: str, value: str | bool) -> str:
    if _parameter(job, name).secret:
        return "****"
    return str(value).lower() if isinstance(value, bool) else value


def _value(parameter: Parameter, value: str | bool) -> Bean:
    # Jenkins never hands out a password: its entry has no value at all.
    shown = {} if parameter.secret else {"value": Field(value, 4)}
    fields: Fields = {"name": parameter.name, **shown}
    return Bean(f"{_MODEL}{_kind(parameter)}ParameterValue", fields, 3)


def _actions(job: Job, values: Values, user: str) -> list[Bean]:
    parameters = [_value(_parameter(job, name), value) for name, value in values.items()]
    cause: Fields = {
        "shortDescription": f"Started by user {user}",
        "userId": user,
        "userName": user,
    }
    causes = [Bean(f"{_MODEL}Cause$UserIdCause", cause, 3)]
    actions = [Bean(f"{_MODEL}CauseAction", {"causes": causes}, 2), Bean("")]
    if job.parameters is None:
        return actions
    return [Bean(f"{_MODEL}ParametersAction", {"parameters": parameters}, 2), *actions]


def _properties(job: Job) -> list[Bean]:
    if job.parameters is None:
        return []
    definitions = [
        Bean(
            f"{_MODEL}{_kind(parameter)}ParameterDefinition",
            {
                "defaultParameterValue": _value(parameter, parameter.default),
                "description": None,
                "name": parameter.name,
                "type": f"{_kind(parameter)}ParameterDefinition",
            },
            3,
        )
        for parameter in job.parameters
    ]
    return [Bean(f"{_MODEL}ParametersDefinitionProperty", {"parameterDefinitions": definitions}, 2)]
