"""Converts a Jenkins job's name to its URL path, and refuses names that could lead to anything else."""

from urllib.parse import quote, unquote

from orchestrator.errors import JobRejected, shown

# Jenkins forbids these in a job's name, and in a URL they end the path or act as a slash.
_FORBIDDEN = frozenset("?#\\")


def job_path(name: str) -> str:
    """Return the path of a job below Jenkins' URL, such as `/job/tenants/job/scale-down`.

    Args:
        name: The job's full name, with its folders: `tenants/scale-down`. The job of a branch in a multibranch
            project has Jenkins' encoded name: `shop/feature%2Flogin` for the branch `feature/login`.

    Raises:
        JobRejected: The name is malformed, or could lead to something other than a job.
    """
    segments = name.split("/")
    for segment in segments:
        reason = _fault(segment)
        if reason is not None:
            raise JobRejected(
                f"{shown(name)} is not a Jenkins job name: {reason}; write the job's full name, as in folder/name, in "
                "the tier's item or the consumer"
            )
    return "".join(f"/job/{quote(segment, safe='')}" for segment in segments)


def _fault(segment: str) -> str | None:
    if not segment.strip():
        return "it is empty, or has an empty part before, after or between slashes"
    if not _FORBIDDEN.isdisjoint(segment):
        return "it contains ?, # or \\"
    decoded = _decoded(segment)
    if not decoded.isprintable():
        return "it contains a control character"
    if not {".", ".."}.isdisjoint(decoded.split("/")):
        return "a part of it is . or .."
    return None


def _decoded(segment: str) -> str:
    # A proxy in front of Jenkins may decode the path once more than it should.
    while (decoded := unquote(segment)) != segment:
        segment = decoded
    return segment
