"""Ends the started runs and sends the events about their ends: true, duplicate, late and forged ones."""

import heapq
import itertools
import json
import math
import random
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol

from orchestrator.local.jenkins import Build
from tests.chaos.child import ROOT
from tests.chaos.lives import start_of
from tests.chaos.world import PROJECTS, World

_STATE_CHANGE = json.loads((ROOT / "events" / "codebuild-build-state-change.json").read_text(encoding="utf-8"))
_SECONDS = (0.3, 3.0)
_SUCCEEDING = 0.7
# CodeBuild delivers state changes by best effort: this share arrives, some of it twice, some late.
_DELIVERED, _TWICE, _LATE = 0.75, 0.2, 0.25
# Share of the builds that report their end themselves; of those reports, the share sent before the end; and, among the
# failing builds, the share that reports a success before failing.
_OWN_REPORT, _BEFORE, _TOO_EARLY = 0.4, 0.5, 0.6
# Share of the other failing builds for which a forged success is sent, with a wrong run id or tenant.
_FORGED = 0.5


@dataclass
class Run:
    """A run on a builder.

    Attributes:
        builder: The builder.
        start: Id of its start event.
        event_type: Type of the event that started its job.
        run_id: Its run id.
        succeeds: Whether it succeeds.
        has_state_change: Whether the state change of its end is delivered.
        reported_at: When it reported a success itself; infinite if it never did.
        failure_reported_at: When it reported a failure itself, which may be before it ended; infinite if it never did.
        ended_at: When it ended; infinite while it runs.
    """

    builder: str
    start: str
    event_type: str
    run_id: str
    succeeds: bool
    has_state_change: bool = False
    reported_at: float = math.inf
    failure_reported_at: float = math.inf
    ended_at: float = math.inf

    def may_have_succeeded(self, at: float) -> bool:
        """Whether it had succeeded, or had reported a success, by then."""
        return self.reported_at <= at or (self.succeeds and self.ended_at <= at)

    def has_failed(self, at: float) -> bool:
        """Whether it had failed, or had reported a failure, by then."""
        return not self.succeeds and min(self.failure_reported_at, self.ended_at) <= at


class Deliver(Protocol):
    """Schedules the delivery of an event in `delay` seconds."""

    def __call__(self, event: Mapping[str, Any], delay: float, builder: str, start: str) -> None: ...


class Builds:
    """Decides how and when each run ends, and ends it when the time has come.

    Attributes:
        runs: Every run, in the order of discovery.
    """

    def __init__(self, world: World, deliver: Deliver, scale: float, seed: int) -> None:
        """Start without runs.

        Args:
            world: The builders.
            deliver: Called with each event of a build.
            scale: Factor for every duration of this module.
            seed: Makes the decisions repeatable.
        """
        self.runs: list[Run] = []
        self._world = world
        self._deliver = deliver
        self._scale = scale
        self._random = random.Random(seed)  # noqa: S311 (chance, no secret)
        self._codebuild_seen = 0
        self._jenkins_seen = dict.fromkeys(PROJECTS, 0)
        self._to_come: list[tuple[float, int, Callable[[], None]]] = []
        self._serials = itertools.count()

    def is_idle(self) -> bool:
        """Whether every run has ended and the events about its end are scheduled."""
        return not self._to_come and not self._world.jenkins.waiting()

    def tick(self) -> None:
        """Plan the ends of new runs, and carry out what is due."""
        for build in self._world.codebuild.builds[self._codebuild_seen :]:
            self._codebuild_seen += 1
            self._plan_codebuild(build)
        for project in PROJECTS:
            for jenkins_build in reversed(self._world.jenkins.builds(project)):
                if jenkins_build.number > self._jenkins_seen[project]:
                    self._jenkins_seen[project] = jenkins_build.number
                    self._plan_jenkins(jenkins_build)
        while self._to_come and self._to_come[0][0] <= time.monotonic():
            heapq.heappop(self._to_come)[2]()

    def _at(self, moment: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._to_come, (moment, next(self._serials), act))

    def _run(self, builder: str, variables: Mapping[str, Any]) -> Run:
        """Decide how a run ends."""
        run = Run(
            builder=builder,
            start=start_of(variables),
            event_type=str(variables["ORCHESTRATOR_EVENT_TYPE"]),
            run_id=str(variables["ORCHESTRATOR_RUN_ID"]),
            succeeds=self._happens(_SUCCEEDING),
        )
        self.runs.append(run)
        return run

    def _seconds(self, least: float, most: float) -> float:
        return self._scale * self._random.uniform(least, most)

    def _happens(self, share: float) -> bool:
        return self._random.random() < share

    def _plan_jenkins(self, build: Build) -> None:
        run = self._run("JENKINS", build.values)
        end = time.monotonic() + self._seconds(*_SECONDS)
        self._at(end, partial(self._finish_jenkins, run, build))
        self._plan_forgery(run, build.values, end)

    def _finish_jenkins(self, run: Run, build: Build) -> None:
        run.ended_at = time.monotonic()
        result = "SUCCESS" if run.succeeds else self._random.choice(("FAILURE", "ABORTED", "UNSTABLE"))
        self._world.jenkins.finish(build.job.path, build.number, result)

    def _plan_codebuild(self, build: dict[str, Any]) -> None:
        run = self._run("CODE_BUILD", self._world.codebuild.variables(build))
        end = time.monotonic() + self._seconds(*_SECONDS)
        self._at(end, partial(self._finish_codebuild, run, build))
        if not run.succeeds and self._happens(_OWN_REPORT * _TOO_EARLY):
            self._at(end - self._seconds(0, 0.3), partial(self._report, run, build, succeeded=True))
            return
        self._plan_forgery(run, self._world.codebuild.variables(build), end)
        if self._happens(_OWN_REPORT):
            offset = -self._seconds(0, 0.3) if self._happens(_BEFORE) else self._seconds(0, 1)
            self._at(end + offset, partial(self._report, run, build, succeeded=run.succeeds))

    def _plan_forgery(self, run: Run, variables: Mapping[str, Any], end: float) -> None:
        if run.succeeds or not self._happens(_FORGED):
            return
        other = (
            {"ORCHESTRATOR_RUN_ID": uuid.uuid4().hex}
            if self._happens(0.5)
            else {"tenant": json.dumps({"id": str(uuid.uuid4())})}
        )
        forged = _report_event(run, {**variables, **other}, succeeded=True)
        self._at(end + self._seconds(-0.3, 0.3), partial(self._send, forged, run))

    def _finish_codebuild(self, run: Run, build: dict[str, Any]) -> None:
        run.ended_at = time.monotonic()
        status = "SUCCEEDED" if run.succeeds else self._random.choice(("FAILED", "STOPPED", "TIMED_OUT", "FAULT"))
        self._world.codebuild.finish(build, status)
        run.has_state_change = self._happens(_DELIVERED)
        if run.has_state_change:
            self._send(state_change(build), run)

    def _report(self, run: Run, build: dict[str, Any], *, succeeded: bool) -> None:
        if succeeded:
            run.reported_at = time.monotonic()
        else:
            run.failure_reported_at = time.monotonic()
        own = {
            "CODEBUILD_BUILD_ID": build["id"],
            "CODEBUILD_BUILD_SUCCEEDING": "1" if succeeded else "0",
            "API_ENDPOINT": self._world.webhook_address,
        }
        variables = {**self._world.codebuild.variables(build), **own}
        self._send(_report_event(run, variables, succeeded=succeeded), run)

    def _send(self, event: Mapping[str, Any], run: Run) -> None:
        for _ in range(1 + self._happens(_TWICE)):
            delay = self._seconds(1, 4) if self._happens(_LATE) else self._seconds(0, 0.5)
            self._deliver(event, delay, run.builder, run.start)


def _report_event(run: Run, detail: Mapping[str, Any], *, succeeded: bool) -> dict[str, Any]:
    return {
        **_envelope(),
        "detail-type": f"{run.event_type}_{'SUCCESS' if succeeded else 'FAILURE'}",
        "source": "saas.tenant.provisioning.codebuild",
        "detail": detail,
    }


def state_change(build: Mapping[str, Any]) -> dict[str, Any]:
    detail = {
        "build-status": build["buildStatus"],
        "project-name": build["projectName"],
        "build-id": build["arn"],
        "additional-information": {
            "environment": {"environment-variables": build["environment"]["environmentVariables"]}
        },
    }
    return {**_STATE_CHANGE, **_envelope(), "resources": [build["arn"]], "detail": detail}


def _envelope() -> dict[str, Any]:
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "account": "123456789012",
        "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": "eu-west-1",
        "resources": [],
    }
