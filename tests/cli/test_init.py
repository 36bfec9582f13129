"""`orchestrator init` writes a project that works as it is; `make starter` proves that with the built wheel."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

from orchestrator.cli.main import main
from tests.support.lambda_runtime import ROOT

STARTER = ROOT / "orchestrator" / "cli" / "starter"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "acme_tenants"
    assert main(["init", str(folder)]) == 0
    return folder


def test_the_project_has_consumers_tests_events_and_all_that_sam_needs(project: Path) -> None:
    files = {str(path.relative_to(project)) for path in project.rglob("*") if path.is_file()}

    assert files >= {
        "Makefile",
        "README.md",
        "app.py",
        "consumers.py",
        "events/tenant-provisioning.json",
        "events/tenant-suspended.json",
        "events/local/env.json",
        "pyproject.toml",
        "samconfig.toml",
        "template.yaml",
        "tests/test_consumers.py",
    }


def test_the_contracts_of_the_built_in_consumers_are_not_those_of_the_project(project: Path) -> None:
    assert list(project.rglob("asyncapi.yaml")) == []


def test_its_own_tests_pass(project: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], cwd=project, capture_output=True, check=False
    )

    assert (done.returncode, b"3 passed" in done.stdout) == (0, True), done.stdout


def test_template_and_events_are_those_of_this_repository(project: Path) -> None:
    own = {"tenant-suspended.json"}
    events = {file.relative_to(ROOT): file.read_text() for file in (ROOT / "events").rglob("*.json")}
    written = {
        file.relative_to(project): file.read_text()
        for file in (project / "events").rglob("*.json")
        if file.name not in own
    }

    assert (project / "template.yaml").read_text() == (ROOT / "template.yaml").read_text()
    assert written == events


def test_the_stack_has_the_projects_name_handler_and_event_types(project: Path) -> None:
    ours = tomllib.loads((ROOT / "samconfig.toml").read_text())["default"]
    theirs = tomllib.loads((project / "samconfig.toml").read_text())["default"]

    parameters = theirs["global"]["parameters"].pop("parameter_overrides")
    assert parameters == ["Handler=app.lambda_handler", "ExtraEventTypes=TENANT_SUSPENDED"]
    ours["global"]["parameters"]["stack_name"] = ours["deploy"]["parameters"]["s3_prefix"] = "acme-tenants"
    assert theirs == ours


def test_it_needs_the_version_that_wrote_it(project: Path) -> None:
    written = tomllib.loads((project / "pyproject.toml").read_text())["project"]

    assert written["name"] == "acme-tenants"
    assert written["dependencies"] == [f"tenant-orchestrator[local]~={version('tenant-orchestrator')}"]
    assert (project / "README.md").read_text().startswith("# acme-tenants\n")


def test_it_builds_for_the_python_and_processor_of_the_template() -> None:
    settings = re.compile(r"^(LAMBDA_PYTHON|LAMBDA_ARCHITECTURE) (\S+ \S+)$", re.M)

    ours, theirs = (settings.findall((folder / "Makefile").read_text()) for folder in (ROOT, STARTER))

    assert len(theirs) == 2
    assert theirs == ours


@pytest.mark.parametrize("kept", ["consumers.py", "events/tenant-provisioning.json"])
def test_it_never_overwrites(tmp_path: Path, capsys: pytest.CaptureFixture[str], kept: str) -> None:
    file = tmp_path / kept
    file.parent.mkdir(exist_ok=True)
    file.write_text("mine")

    code = main(["init", str(tmp_path)])

    assert (code, file.read_text()) == (1, "mine")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [file]
    assert capsys.readouterr().err == (
        f"orchestrator: ConfigurationError: {tmp_path}: already contains {kept}; name another folder\n"
    )


@pytest.mark.parametrize("name", ["app.py", "events"])
def test_it_writes_through_no_link(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / name).symlink_to(elsewhere)  # leads nowhere

    assert main(["init", str(folder)]) == 1
    assert f"already contains {name}; name another folder" in capsys.readouterr().err
    assert ([path.name for path in folder.iterdir()], elsewhere.exists()) == ([name], False)


def test_a_file_in_the_place_of_a_folder_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "tests").write_text("mine")

    assert main(["init", str(tmp_path)]) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["tests"]


def test_a_second_project_in_its_place_names_some_of_the_files(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", str(project)]) == 1

    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(
        r"already contains \.gitignore, Makefile, README\.md and \d+ more of the project's files; name another folder$",
        line,
    )


def test_a_folder_with_other_files_is_accepted(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "LICENSE").write_text("mine")

    assert main(["init", str(tmp_path)]) == 0
    assert (tmp_path / "LICENSE").read_text() == "mine"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()

    assert main(["init", str(tmp_path / "file" / "project")]) == 1
    assert capsys.readouterr().err == (
        f"orchestrator: ConfigurationError: {tmp_path}/file/project: cannot be written: Not a directory\n"
    )


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("acme.tenants", "acme-tenants"),
        ("2026", "tenants-2026"),
        ("ü", "tenants"),
        ("a" * 200, "a" * 128),
        ("a" * 127 + "-b", "a" * 127),
    ],
)
def test_the_stacks_name_is_one_that_cloudformation_accepts(tmp_path: Path, folder: str, name: str) -> None:
    assert main(["init", str(tmp_path / folder)]) == 0
    config = tomllib.loads((tmp_path / folder / "samconfig.toml").read_text())
    assert config["default"]["global"]["parameters"]["stack_name"] == name
