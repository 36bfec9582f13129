"""The Makefile builds the artifact for the runtime that the template asks for."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
MAKEFILE = (ROOT / "Makefile").read_text()
TEMPLATE = (ROOT / "template.yaml").read_text()


def test_the_artifact_is_built_for_the_python_of_the_function() -> None:
    assert re.findall(r"Runtime: python(\S+)", TEMPLATE) == re.findall(r"^LAMBDA_PYTHON := (\S+)$", MAKEFILE, re.M)


def test_the_artifact_is_built_for_the_architecture_of_the_function() -> None:
    built_for = re.findall(r"^LAMBDA_ARCHITECTURE := (\S+)$", MAKEFILE, re.M)

    assert re.findall(r"Architectures: \[(\S+)\]", TEMPLATE) == built_for
