"""Converts a Jenkins job's name to the job's URL path, and refuses a name whose path might not lead to a job."""

from urllib.parse import quote, unquote

from orchestrator.errors import JobRejected, shown

# Jenkins forbids these characters in a job's name. In a URL, ? and # end the path, and \ may act as a slash.
_FORBIDDEN = frozenset("?#\\")


def job_path(name: str) -> str:
    """Return the path of a job below Jenkins' URL, such as `/job/tenants/job/scale-down`.

    Args:
        name: The job's full name, which begins with its folders, such as `tenants/scale-down`. Each branch of a
            multibranch project has its own job, in whose name Jenkins encodes the slashes of the branch: the job of the
            branch `feature/login` in the project `shop` is `shop/feature%2Flogin`.

    Raises:
        JobRejected: The name is malformed, or its path could lead to something other than a job.
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
    # A proxy in front of Jenkins may decode the path again, so the text is decoded until it no longer changes.
    while (decoded := unquote(segment)) != segment:
        segment = decoded
    return segment
