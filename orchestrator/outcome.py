"""What became of an action: an entry of the handler's JSON answer."""

from typing import TypedDict


class Outcome(TypedDict, total=False):
    """One performed action.

    Attributes:
        action: The action's kind, for example `StartJob`.
        status: What happened: `started`, `already started`, `saved`, or `skipped`.
        builder: Build system of a job.
        name: The job's name, or the tenant's id of a record.
        id: The build system's name for the run.
        link: Where a person can look at the run.
        buildNumber: Number of a Jenkins build, where it is known already.
        buildLink: Where a person can look at that build.
        reason: Why an action was skipped.
    """

    action: str
    status: str
    builder: str
    name: str
    id: str
    link: str
    buildNumber: int
    buildLink: str
    reason: str
