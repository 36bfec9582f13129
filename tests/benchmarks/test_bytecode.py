"""Benchmarks compile what they measure, whatever the environment says."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.benchmarks import bytecode


def test_variables_for_python_do_not_reach_what_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX", "PYTHONOPTIMIZE"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")

    environment = bytecode.environment()

    assert environment["AWS_REGION"] == "eu-west-1"
    assert [name for name in environment if name.startswith("PYTHON")] == []


@pytest.mark.parametrize(
    "module", ["orchestrator.handler", "tests.benchmarks.warm", "tests.support.lambda_runtime", "pydantic", "six"]
)
def test_the_package_the_benchmarks_and_the_dependencies_are_compiled(module: str) -> None:
    spec = find_spec(module)

    assert spec is not None
    assert spec.origin is not None
    assert Path(spec.origin) in bytecode.sources()


def test_an_artifact_without_bytecode_is_not_measured(tmp_path: Path) -> None:
    (tmp_path / "module.py").touch()

    with pytest.raises(RuntimeError, match="has no bytecode"):
        bytecode.require(tmp_path)
