"""The Makefile builds the artifact for the runtime that the template asks for."""

import re
from pathlib import Path

from orchestrator import EventType, Settings

ROOT = Path(__file__).parent.parent
MAKEFILE = (ROOT / "Makefile").read_text()
TEMPLATE = (ROOT / "template.yaml").read_text()


def test_the_artifact_is_built_for_the_python_of_the_function() -> None:
    assert re.findall(r"Runtime: python(\S+)", TEMPLATE) == re.findall(r"^LAMBDA_PYTHON := (\S+)$", MAKEFILE, re.M)


def test_the_artifact_is_built_for_the_architecture_of_the_function() -> None:
    built_for = re.findall(r"^LAMBDA_ARCHITECTURE := (\S+)$", MAKEFILE, re.M)

    assert re.findall(r"Architectures: \[(\S+)\]", TEMPLATE) == built_for


def test_the_function_is_traced() -> None:
    assert "      Tracing: Active\n" in TEMPLATE


def test_the_rule_passes_every_event_of_the_lifecycle_on() -> None:
    pattern = TEMPLATE.split("detail-type:\n")[1].split("BuildStateChange:")[0]

    assert re.findall(r"- (\w+)", pattern) == [str(kind) for kind in EventType]


def test_every_setting_of_the_template_is_one_that_the_function_reads() -> None:
    variables = TEMPLATE.split("        Variables:\n")[1].split("      Policies:")[0]
    names = re.findall(r"^ {10}(\w+):", variables, re.M)

    known = {name.upper() for name in Settings.model_fields}
    assert [name for name in names if not name.startswith("POWERTOOLS_") and name not in known] == []
    assert len(names) > 10
