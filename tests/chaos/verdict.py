"""Judges a run: what was lost, done twice, or false."""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.lifecycle.status import TenantStatus
from orchestrator.stores.tiers import JOB_ATTRIBUTES
from tests.chaos.aws_server import LIMITS, TIERS
from tests.chaos.builds import Run
from tests.chaos.expressions import Item
from tests.chaos.history import Effect, Handled, History, JobStarted, Published, Webhook
from tests.chaos.lives import DEPLOYMENT, DEPROVISIONING, Start

_SHOWN = 20


@dataclass
class Row:
    """The numbers of one builder."""

    events: int = 0
    deliveries: int = 0
    kills: int = 0
    faults: int = 0
    lost: int = 0
    duplicated: int = 0
    false: int = 0
    crowded: int = 0
    asleep: int = 0

    @property
    def is_good(self) -> bool:
        return not (self.lost or self.duplicated or self.false or self.crowded or self.asleep)


@dataclass
class Verdict:
    """The result of a run.

    Attributes:
        rows: The numbers, by builder.
        errors: How many deliveries failed, by error.
        counts: Other numbers.
        findings: What was wrong, in words.
        surprises: Requests that the emulations could not answer.
        seconds: How long it took.
    """

    rows: Mapping[str, Row]
    errors: Counter[str]
    counts: Counter[str]
    findings: Sequence[str]
    surprises: Sequence[str]
    seconds: float

    @property
    def is_good(self) -> bool:
        return not self.surprises and all(row.is_good for row in self.rows.values())

    def table(self) -> str:
        columns = list(Row.__dataclass_fields__)
        lines = ["builder    " + "".join(f"{name:>12}" for name in columns)]
        lines += [
            f"{builder:<11}" + "".join(f"{getattr(row, name):>12}" for name in columns)
            for builder, row in self.rows.items()
        ]
        errors = ", ".join(f"{count} {name}" for name, count in self.errors.most_common()) or "none"
        counts = "; ".join(f"{name}: {count}" for name, count in self.counts.items())
        lines.append(f"{self.seconds:.0f} s; failed deliveries: {errors}; {counts}")
        lines += [f"not emulated: {surprise}" for surprise in self.surprises[:_SHOWN]]
        lines += self.findings[:_SHOWN]
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The facts to judge.

    Attributes:
        starts: The start events.
        runs: The runs on the builders.
        history: The effects of the deliveries.
        records: The tenants' records, by tenant id.
        room: Factor for the tiers' limits on jobs at the same time.
        given_up: Ids of the start events with an event whose last attempt failed.
        followed: Ids of the start events with a run that is followed, so that its tenant is locked.
        asleep: Ids of the start events with an event that still waits.
    """

    starts: Sequence[Start]
    runs: Sequence[Run]
    history: History
    records: Mapping[str, Item]
    room: int
    given_up: set[str] = field(default_factory=set)
    followed: set[str] = field(default_factory=set)
    asleep: set[str] = field(default_factory=set)


class Judge:
    """Judges only by orders of effects that are certain; close times prove nothing."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._history = facts.history
        self._by_id = {start.id: start for start in facts.starts}
        self._of_tenant, self._of_start = defaultdict(list), defaultdict(list)
        self._jobs: Mapping[str, list[JobStarted]] = defaultdict(list)
        self._spans = defaultdict(list)
        self._webhooks: Mapping[str, list[Webhook]] = defaultdict(list)
        self._handled: Mapping[str | None, list[Handled]] = defaultdict(list)
        for webhook in facts.history.webhooks:
            self._webhooks[webhook.start].append(webhook)
        for handled in facts.history.handled:
            self._handled[handled.start].append(handled)
        for start in facts.starts:
            self._of_tenant[start.tenant].append(start)
        for job in facts.history.jobs:
            self._jobs[job.start].append(job)
        for run in facts.runs:
            self._of_start[run.start].append(run)
            slot, _ = slot_of(self._by_id[run.start].tier, run.event_type)
            self._spans[slot].append((self._accepted_at(run.start, run.event_type), run.ended_at))
        self._superseded_at = {start.id: self._when_superseded(start) for start in facts.starts}

    def findings(self, start: Start) -> Iterator[tuple[str, str]]:
        """Yield what is wrong with one start: the row's column and a text."""
        yield from (("lost", finding) for finding in self._lost(start))
        yield from (("duplicated", finding) for finding in self._duplicated(start))
        yield from (("false", finding) for finding in self._overtaken(start))
        yield from (("duplicated", finding) for finding in self._side_by_side(start))
        yield from (("false", finding) for finding in self._false_webhooks(start))
        yield from (("false", finding) for finding in self._false_record(start))
        yield from (("crowded", finding) for finding in self._crowded(start))
        if start.id in self._facts.asleep:
            yield "asleep", "its event still waits, and nothing wakes it"

    def in_flight(self) -> int:
        """Count effects that came after a later start's job, from deliveries that had begun before it."""
        effects = (*self._history.jobs, *self._deployments(), *self._accepted())
        return sum(effect.began <= self._superseded_at[effect.start] < effect.at for effect in effects)

    def _later(self, start: Start) -> list[Start]:
        return [other for other in self._of_tenant[start.tenant] if other.order > start.order]

    def _accepted_at(self, start: str, event_type: str) -> float:
        """Return when a start's job of this type was accepted; infinite if it never was."""
        return min((job.at for job in self._jobs[start] if job.event_type == event_type), default=math.inf)

    def _when_superseded(self, start: Start) -> float:
        """Return when the first job of a later start was accepted; deliveries that begin later are superseded."""
        return min((self._accepted_at(later.id, later.type) for later in self._later(start)), default=math.inf)

    def _runs(self, start: Start, event_type: str) -> list[Run]:
        return [run for run in self._of_start[start.id] if run.event_type == event_type]

    def _deployments(self) -> list[Published]:
        return [event for event in self._history.published if event.event_type == DEPLOYMENT]

    def _accepted(self) -> list[Webhook]:
        return [webhook for webhook in self._history.webhooks if webhook.is_accepted]

    def _lost(self, start: Start) -> Iterator[str]:
        runs = self._runs(start, start.type)
        if start.id in self._facts.given_up:
            yield "its event was given up"
        elif not runs and not self._is_answered_superseded(start):
            yield "no run, and not superseded"
        if start.id in self._facts.followed:
            yield "its tenant is locked for ever"
        if self._later(start) or not runs:
            return
        if not any(webhook.start == start.id for webhook in self._accepted()):
            yield "the control plane got no webhook of its end"

    def _is_answered_superseded(self, start: Start) -> bool:
        known = min((self._history.delivered.get(later.id, math.inf) for later in self._later(start)), default=math.inf)
        return any(handled.ended >= known and handled.is_superseded() for handled in self._handled[start.id])

    def _duplicated(self, start: Start) -> Iterator[str]:
        for event_type in (start.type, DEPLOYMENT):
            count = len(self._runs(start, event_type))
            if count > 1:
                yield f"{count} runs for {event_type}"
        yield from self._repeated_webhooks(start)

    def _repeated_webhooks(self, start: Start) -> Iterator[str]:
        """Find webhooks of one run that were sent again, although the first had arrived.

        A webhook does not name its run. Where a deployment job follows, two runs may each lead to one webhook: a
        success of the deployment, and then a failure of the provisioning that had reported a success itself.
        """
        webhooks = self._webhooks[start.id]
        kinds: Sequence[Sequence[bool]] = ((True,), (False,)) if _is_deployed_by_job(start) else ((True, False),)
        if len([run for run in self._of_start[start.id] if not run.succeeds]) > 1:
            kinds = ((True,),)  # each of two failed runs leads to a failure
        for kind in kinds:
            same = [webhook for webhook in webhooks if webhook.succeeded in kind]
            sent, refused = self._sent(start, same), self._refused(start, same)
            if any(webhook.began > sent for webhook in same):
                yield "a webhook was sent again after its delivery had ended well"
            if any(webhook.at < refused for webhook in same):
                yield "a second webhook was sent as if it were the first"
        failed = self._sent(start, [webhook for webhook in webhooks if not webhook.succeeded])
        if any(webhook.succeeded and webhook.began > failed for webhook in webhooks):
            yield "a success was sent after a failure"

    def _sent(self, start: Start, webhooks: Sequence[Webhook]) -> float:
        """Return when the first delivery ended that is sure to have sent one of these; infinite if there is none."""
        began = {webhook.began for webhook in webhooks}
        handled = (one for one in self._handled[start.id] if one.began in began)
        return min((one.ended for one in handled if one.has("SendCallback", "sent")), default=math.inf)

    def _refused(self, start: Start, webhooks: Sequence[Webhook]) -> float:
        """Return when the last of these arrived that the function took for the first and that was refused."""
        began = {one.began for one in self._handled[start.id] if one.has("SendCallback", "refused")}
        return max((webhook.at for webhook in webhooks if webhook.began in began), default=-math.inf)

    def _overtaken(self, start: Start) -> Iterator[str]:
        superseded_at = self._superseded_at[start.id]
        effects: tuple[Effect, ...] = (*self._history.jobs, *self._deployments(), *self._accepted())
        for effect in effects:
            if effect.start == start.id and effect.began > superseded_at:
                match effect:
                    case JobStarted():
                        effect_text = f"a job for {effect.event_type} was started"
                    case Published():
                        effect_text = f"{effect.event_type} was published"
                    case _:
                        effect_text = "a webhook was accepted"
                yield f"{effect_text} {effect.began - superseded_at:.2f} s after a later start's job"

    def _side_by_side(self, start: Start) -> Iterator[str]:
        """Find jobs of the tenant's other starts that were accepted while a run of this start was going on."""
        others = [job for other in self._of_tenant[start.tenant] if other is not start for job in self._jobs[other.id]]
        for event_type in (start.type, DEPLOYMENT):
            began = self._accepted_at(start.id, event_type)
            for run in self._runs(start, event_type):
                for job in others:
                    if began < job.at < run.ended_at:
                        yield f"a job of another start began {run.ended_at - job.at:.2f} s before {event_type} ended"

    def _crowded(self, start: Start) -> Iterator[str]:
        """Find jobs of this start that were accepted while their slot was full of other runs."""
        for job in self._jobs[start.id]:
            slot, limit = slot_of(start.tier, job.event_type)
            runs = sum(began <= job.at < ended for began, ended in self._spans[slot])
            if runs > limit * self._facts.room > 0:
                yield f"{runs} runs were going on in slot {slot} once a job for {job.event_type} had been started"

    def _false_webhooks(self, start: Start) -> Iterator[str]:
        main, deployment = (self._runs(start, event_type) for event_type in (start.type, DEPLOYMENT))
        for webhook in self._webhooks[start.id]:
            has_failed = any(run.has_failed(webhook.at) for run in (*main, *deployment))
            has_succeeded = all(
                any(run.may_have_succeeded(webhook.at) for run in runs)
                for runs in ((main, deployment) if _is_deployed_by_job(start) else (main,))
            )
            if not (has_succeeded if webhook.succeeded else has_failed):
                yield f"the control plane was told a {'success' if webhook.succeeded else 'failure'} that was not"

    def _false_record(self, start: Start) -> Iterator[str]:
        runs = self._runs(start, start.type)
        if self._later(start) or not runs:
            return
        record = self._facts.records.get(start.tenant, {})
        status = record.get("status", {}).get("S")
        expected = self._expected(start, runs[0])
        if status not in expected:
            yield f"the tenant record says {status} and not {' or '.join(sorted(expected))}"
        if record.get("startedBy") != {"S": start.id}:
            yield "the tenant record names another start"

    def _expected(self, start: Start, run: Run) -> set[str]:
        prefix = "DEPROVISION" if start.type == DEPROVISIONING else "PROVISION"
        has_reported = run.reported_at < math.inf
        if not run.succeeds and not has_reported:
            return {f"{prefix}ING_FAILED"}
        reached = {TenantStatus.DEPROVISIONED.value} if start.type == DEPROVISIONING else {TenantStatus.DEPLOYED.value}
        if _is_deployed_by_job(start):
            reached = {status for deployment in self._runs(start, DEPLOYMENT) for status in _deployed(deployment)}
        if run.succeeds:
            return reached
        failed = {f"{prefix}ING_FAILED"}
        # Without a state change the failure may go unnoticed; with a deployment job, either end may be recorded last.
        return failed if run.has_state_change and not _is_deployed_by_job(start) else failed | reached


def slot_of(tier: str, event_type: str) -> tuple[str, int]:
    """Return the name of the slot of a tier's jobs for an event type, and how many runs it lets through."""
    of_tier, by_type = LIMITS[tier]
    return (f"{tier} {event_type}", by_type[event_type]) if event_type in by_type else (tier, of_tier)


def _deployed(run: Run) -> set[str]:
    if run.succeeds:
        return {TenantStatus.DEPLOYED.value}
    if run.reported_at == math.inf or run.has_state_change:
        return {TenantStatus.DEPLOYMENT_FAILED.value}
    return {TenantStatus.DEPLOYMENT_FAILED.value, TenantStatus.DEPLOYED.value}


def _is_deployed_by_job(start: Start) -> bool:
    return start.type != DEPROVISIONING and JOB_ATTRIBUTES[DEPLOYMENT] in TIERS[start.tier]


def describe(start: Start, runs: Sequence[Run]) -> str:
    """Describe a start and the ends of its runs."""
    ends = [
        f"{run.event_type} {'succeeds' if run.succeeds else 'fails'}"
        + (", reported a success" if run.reported_at < math.inf else "")
        + (", state change" if run.has_state_change else "")
        for run in runs
        if run.start == start.id
    ]
    return json.dumps([start.builder, start.tier, f"{start.order + 1}. {start.type}", start.id, *ends])
