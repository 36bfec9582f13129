"""Turns the name of a Jenkins job into its place on the server, and lets no name lead anywhere else."""

from urllib.parse import quote, unquote

from orchestrator.errors import JobRejected, shown

# Jenkins allows none of these in a job's name, and in an address each would start something new.
_FORBIDDEN = frozenset("?#\\")


def job_path(name: str) -> str:
    """Make the path of a job, from the server's address on.

    Args:
        name: The job's full name: its folders and its own name, as in `tenants/scale-down`. A multibranch
            job is named as Jenkins names it: `shop/feature%2Flogin` for the branch `feature/login`.

    Returns:
        For example `/job/tenants/job/scale-down`.

    Raises:
        JobRejected: The name could lead out of the tree of jobs.
    """
    segments = name.split("/")
    for segment in segments:
        reason = _fault(segment)
        if reason is not None:
            raise JobRejected(
                f"{shown(name)} is no name for a Jenkins job: {reason}; write the job's full name, "
                "as in folder/name, in the tier's item or the consumer"
            )
    return "".join(f"/job/{quote(segment, safe='')}" for segment in segments)


def _fault(segment: str) -> str | None:
    if not segment.strip():
        return "a part between two slashes, or before or after one, is empty"
    if not _FORBIDDEN.isdisjoint(segment):
        return "it holds ?, # or \\"
    decoded = _decoded(segment)
    if not decoded.isprintable():
        return "it holds a control character"
    if not {".", ".."}.isdisjoint(decoded.split("/")):
        return "a part of it is . or .."
    return None


def _decoded(segment: str) -> str:
    # Whoever stands between us and Jenkins may decode once more than it should.
    while (decoded := unquote(segment)) != segment:
        segment = decoded
    return segment
