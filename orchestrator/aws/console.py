"""Builds links to the AWS console."""

_HOSTS = {
    "aws": "console.aws.amazon.com",
    "aws-cn": "console.amazonaws.cn",
    "aws-us-gov": "console.amazonaws-us-gov.com",
}


def console(arn: str) -> str | None:
    """Return the address of the AWS console in a resource's region: `https://eu-west-1.console.aws.amazon.com`.

    Return `None` if the console's host is not known for the AWS partition in the ARN, such as `aws-iso`.

    Args:
        arn: The resource's ARN.
    """
    _, partition, _, region, *_ = arn.split(":")
    host = _HOSTS.get(partition)
    return None if host is None else f"https://{region}.{host}"
