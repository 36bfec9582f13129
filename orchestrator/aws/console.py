"""Builds links to the AWS console."""

_HOSTS = {
    "aws": "console.aws.amazon.com",
    "aws-cn": "console.amazonaws.cn",
    "aws-us-gov": "console.amazonaws-us-gov.com",
}


def console(arn: str) -> str | None:
    """Return the address of the console in which the resource with an ARN is shown, for example `https://eu-west-1.…`.

    Return `None` if the console's host is not known for the resource's AWS partition. An example of such a partition is
    `aws-iso`.
    """
    _, partition, _, region, *_ = arn.split(":")
    host = _HOSTS.get(partition)
    return None if host is None else f"https://{region}.{host}"
