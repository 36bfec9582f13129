"""Removes from an artifact's AWS SDK what the function does not read.

    python3 .ci/trim_sdk.py ARTIFACT SERVICE...

The descriptions of all other services go, so does what only help() reads, and so do the endpoints of all regions of all
other services, whose parsing alone would be a twentieth of a cold start.
"""

import gzip
import json
import shutil
import sys
from pathlib import Path
from typing import Any


def main(artifact: Path, services: set[str]) -> None:
    """Trim the SDK in the folder `artifact` to `services`, which are named as in boto3."""
    for data in (artifact / "botocore" / "data", artifact / "boto3" / "data"):
        for folder in data.iterdir():
            if folder.is_dir() and folder.name not in services:
                shutil.rmtree(folder)
    data = artifact / "botocore" / "data"
    missing = services - {folder.name for folder in data.iterdir()}
    if missing:
        sys.exit("LAMBDA_AWS_SERVICES names what the SDK does not know: " + " ".join(sorted(missing)))
    for packed in sorted(data.glob("*/*/*.json.gz")):
        write(packed.with_suffix(""), undocumented(json.loads(gzip.decompress(packed.read_bytes()))))
        packed.unlink()
    for examples in data.glob("*/*/examples-1.json"):
        examples.unlink()
    endpoints = data / "endpoints.json"
    known = json.loads(endpoints.read_text())
    for partition in known["partitions"]:
        partition["services"] = {name: value for name, value in partition["services"].items() if name in services}
    write(endpoints, known)


def undocumented(value: Any) -> Any:
    """Give a description without its documentation."""
    if isinstance(value, list):
        return [undocumented(member) for member in value]
    if not isinstance(value, dict):
        return value
    kept = {name: member for name, member in value.items() if not (name == "documentation" and isinstance(member, str))}
    return {name: undocumented(member) for name, member in kept.items()}


def write(file: Path, content: object) -> None:
    """Write JSON without spaces."""
    file.write_text(json.dumps(content, separators=(",", ":")))


if __name__ == "__main__":
    main(Path(sys.argv[1]), set(sys.argv[2:]))
