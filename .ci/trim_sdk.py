"""Removes from an artifact the parts of the AWS SDK that the function does not use.

These are the data files and endpoints of the services that the function does not use, and the texts that only help()
shows. Parsing those endpoints alone would take a twentieth of a cold start.
"""

from __future__ import annotations

import ast
import gzip
import json
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any


def trim(artifact: Path, services: Iterable[str], packages: Iterable[Path] = ()) -> None:
    """Trim the SDK of one artifact.

    The build stops if boto3 does not have one of `services`, or if the packages use a service that is not listed
    there.

    Args:
        artifact: The folder that contains boto3 and botocore.
        services: The services to keep, by boto3's names.
        packages: Folders and modules to check for the services that they use.
    """
    data, kept = artifact / "botocore" / "data", set(services)
    known = {folder.name for folder in data.iterdir() if folder.is_dir()}
    unknown = sorted(kept - known)
    if unknown:
        sys.exit(f"LAMBDA_AWS_SERVICES names services that boto3 does not have: {' '.join(unknown)}")
    for place, service in used_services(packages):
        if service in known - kept:
            sys.exit(f"{place} uses AWS service {service}, which the artifact lacks: add it to LAMBDA_AWS_SERVICES")
    for folder in (*data.iterdir(), *(artifact / "boto3" / "data").iterdir()):
        if folder.is_dir() and folder.name not in kept:
            shutil.rmtree(folder)
    prefixes = set(kept)
    for packed in sorted(data.glob("*/*/*.json.gz")):
        description = json.loads(gzip.decompress(packed.read_bytes()))
        if packed.name == "service-2.json.gz":
            prefixes.add(description["metadata"]["endpointPrefix"])
        write(packed.with_suffix(""), undocumented(description))
        packed.unlink()
    for examples in data.glob("*/*/examples-1.json"):
        examples.unlink()
    endpoints = json.loads((data / "endpoints.json").read_text())
    for partition in endpoints["partitions"]:
        # The file lists a service by its endpoint prefix, which may differ from boto3's name for the service: the
        # prefix of stepfunctions is states.
        partition["services"] = {name: value for name, value in partition["services"].items() if name in prefixes}
    write(data / "endpoints.json", endpoints)


def used_services(packages: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """Yield the place of each call `client("name")` or `resource("name")`, and the service that it names."""
    for package in packages:
        for file in sorted(package.rglob("*.py")) if package.is_dir() else [package]:
            try:
                calls = [node for node in ast.walk(ast.parse(file.read_bytes())) if isinstance(node, ast.Call)]
            except (SyntaxError, ValueError):
                print(f"{file} cannot be parsed by this Python, so the AWS services that it uses are not checked")
                continue
            for call in calls:
                function = getattr(call.func, "attr", getattr(call.func, "id", None))
                given = [*call.args[:1], *(word.value for word in call.keywords if word.arg == "service_name")]
                if function in ("client", "resource") and given and isinstance(given[0], ast.Constant):
                    yield f"{file} line {call.lineno}", str(given[0].value)


def undocumented(value: Any) -> Any:
    """Return a service's description without its documentation."""
    if isinstance(value, list):
        return [undocumented(member) for member in value]
    if not isinstance(value, dict):
        return value
    kept = {name: member for name, member in value.items() if not (name == "documentation" and isinstance(member, str))}
    return {name: undocumented(member) for name, member in kept.items()}


def write(file: Path, content: object) -> None:
    """Write JSON without spaces."""
    file.write_text(json.dumps(content, separators=(",", ":")))
