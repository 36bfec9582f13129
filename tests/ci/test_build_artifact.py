"""The steps of the build, one by one; `test_artifact` tests the result."""

import ast
import sys
from pathlib import Path

import build_artifact
import lambda_python
import pytest

PROGRAMS = Path(__file__).parents[2] / ".ci"
BUILD = ["artifact", "--package", "orchestrator", "--python", "3.13", "--architecture"]
TARGET = ["--python-version", "3.13", "--python-platform", "aarch64-manylinux_2_28"]


@pytest.fixture(autouse=True)
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to build in, without the caller's variables."""
    for name in ("LAMBDA_PACKAGES", "LAMBDA_REQUIREMENTS", "LAMBDA_AWS_SERVICES", "LAMBDA_ORCHESTRATOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, *files: str) -> None:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("variable", ["LAMBDA_PACKAGES", "LAMBDA_REQUIREMENTS"])
def test_a_missing_path_stops_the_build_and_is_named(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    write(checkout, "README.md")
    monkeypatch.setenv(variable, "README.md nowhere")

    with pytest.raises(SystemExit, match=f"^{variable} names nowhere, which does not exist$"):
        build_artifact.main([*BUILD, "arm64"])


def test_a_processor_that_lambda_does_not_have_stops_the_build() -> None:
    with pytest.raises(SystemExit, match=r"^LAMBDA_ARCHITECTURE is riscv: it must be arm64 or x86_64$"):
        build_artifact.main([*BUILD, "riscv"])


def test_a_folder_with_files_is_left_as_it_is(checkout: Path) -> None:
    write(checkout, "artifact/bin/mine")

    with pytest.raises(SystemExit, match=r"^artifact is not empty: name a new folder"):
        build_artifact.main([*BUILD, "arm64"])
    assert files(checkout) == ["artifact/bin/mine"]


def test_the_command_and_its_emulators_are_left_out(checkout: Path) -> None:
    names = ("handler.py", "cli/invoke.py", "local/jenkins.py", "builders/cli.py", "Dockerfile")
    write(checkout, *(f"orchestrator/{name}" for name in names))
    write(checkout, "orchestrator/__pycache__/handler.cpython-39.pyc")
    artifact = checkout / "artifact"
    artifact.mkdir()

    build_artifact.copy_package(Path("orchestrator"), artifact)

    assert files(artifact) == ["orchestrator/builders/cli.py", "orchestrator/handler.py"]


def test_pages_of_this_package_are_left_out_and_pages_of_custom_packages_are_kept(checkout: Path) -> None:
    write(checkout, "orchestrator/handler.py", "orchestrator/OPERATIONS.md", "orchestrator/builders/README.md")
    write(checkout, "my_consumers/welcome_mail.md")
    artifact = checkout / "artifact"
    artifact.mkdir()

    build_artifact.copy_package(Path("orchestrator"), artifact)
    build_artifact.copy(artifact, [Path("my_consumers")])

    assert files(artifact) == ["my_consumers/welcome_mail.md", "orchestrator/handler.py"]


def test_custom_folders_and_modules_are_copied_beside_the_package(checkout: Path) -> None:
    write(checkout, "elsewhere/my_consumers/local/places.py", "my_module.py")
    (checkout / "elsewhere" / "my_consumers" / "linked.py").symlink_to(checkout / "my_module.py")
    artifact = checkout / "artifact"
    artifact.mkdir()

    build_artifact.copy(artifact, [Path("elsewhere/my_consumers/"), Path("my_module.py")])

    assert files(artifact) == ["my_consumers/linked.py", "my_consumers/local/places.py", "my_module.py"]
    assert not (artifact / "my_consumers" / "linked.py").is_symlink()


def test_console_scripts_are_removed_with_their_records(checkout: Path) -> None:
    write(checkout, "bin/jp.py", "boto3-1.dist-info/RECORD", "boto3-1.dist-info/METADATA", "boto3/__init__.py", ".lock")

    build_artifact.drop_console_scripts(checkout)

    assert files(checkout) == ["boto3-1.dist-info/METADATA", "boto3/__init__.py"]


def test_files_that_the_function_cannot_use_are_removed(checkout: Path) -> None:
    page = "aws_lambda_powertools/event_handler/openapi/swagger_ui"
    write(checkout, f"{page}/html.py", f"{page}/swagger-ui.min.css", "pydantic/main.py", "pydantic/v1/mypy.py")
    write(checkout, "urllib3/contrib/emscripten/fetch.py", "urllib3/contrib/socks.py", "six.pyi", "a/b/c.pyi")

    build_artifact.drop_unused(checkout)

    assert files(checkout) == [f"{page}/html.py", "pydantic/main.py", "urllib3/contrib/socks.py"]


def test_every_file_is_readable_by_all_users(checkout: Path) -> None:
    write(checkout, "package/module.py", "package/native.so")
    for name, mode in {"package/module.py": 0o600, "package/native.so": 0o700, "package": 0o700}.items():
        (checkout / name).chmod(mode)

    build_artifact.open_to_all(checkout)

    modes = {name: (checkout / name).stat().st_mode & 0o777 for name in ("package", "package/module.py")}
    assert modes == {"package": 0o755, "package/module.py": 0o644}
    assert (checkout / "package" / "native.so").stat().st_mode & 0o777 == 0o755


def test_without_a_python_the_build_warns_and_continues(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(checkout, "module.py")
    monkeypatch.setattr(lambda_python, "find", lambda version: None)
    monkeypatch.setattr(lambda_python, "fetch", lambda version, uv: None)

    build_artifact.compile_bytecode(checkout, "3.13", "uv", [])

    assert capsys.readouterr().out == (
        "WARNING: Python 3.13 is not installed and uv could not download it, so the artifact has no bytecode and "
        "the function starts about twice as slowly; install it, or give uv internet access, and build again\n"
    )
    assert files(checkout) == ["module.py"]


def test_a_module_that_does_not_compile_stops_the_build(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (checkout / "module.py").write_text("print 'Python 2'\n")
    monkeypatch.setattr(lambda_python, "find", lambda version: sys.executable)

    with pytest.raises(SystemExit, match=r"^1$"):
        build_artifact.compile_bytecode(checkout, "3.13", "uv", [])


def test_variables_for_python_do_not_change_where_bytecode_is(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(checkout, "module.py")
    monkeypatch.setattr(lambda_python, "find", lambda version: sys.executable)
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", "elsewhere")
    monkeypatch.setenv("PYTHONOPTIMIZE", "2")

    build_artifact.compile_bytecode(checkout, "3.13", "uv", [])

    assert files(checkout) == [f"__pycache__/module.{sys.implementation.cache_tag}.pyc", "module.py"]


def test_without_uv_pip_installs_it_for_this_build_only(monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(build_artifact, "run", commands.append)

    with build_artifact.found_uv() as uv:
        tools = Path(uv).parent.parent
        assert tools.is_dir()

    assert commands == [[sys.executable, "-m", "pip", "install", "--quiet", "--target", str(tools), "uv"]]
    assert not tools.exists()


def test_only_pinned_wheels_for_lambda_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[str] = []
    monkeypatch.setattr(build_artifact, "run", lambda command: commands.append(" ".join(command)))

    build_artifact.install("uv", Path("artifact"), TARGET, Path("pins.txt"))
    build_artifact.install_added("uv", Path("artifact"), TARGET, Path("pins.txt"), [Path("a.txt"), Path("b.txt")])

    pinned, added = commands
    for command in commands:
        assert "--python-version 3.13 --python-platform aarch64-manylinux_2_28 --only-binary :all:" in command
    assert pinned.endswith("--require-hashes --requirement pins.txt")
    assert added.endswith("--constraint pins.txt --requirement a.txt --requirement b.txt")


def test_another_package_is_unpacked_without_its_dependencies(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []
    monkeypatch.setenv("LAMBDA_ORCHESTRATOR", "tenant-orchestrator==1.0.0")

    def unpack(command: list[str]) -> None:
        commands.append(command)
        write(Path(command[command.index("--target") + 1]), "orchestrator/requirements.txt")

    monkeypatch.setattr(build_artifact, "run", unpack)

    with build_artifact.found_package("uv", checkout, TARGET) as package:
        unpacked = package.parent
        assert unpacked.is_dir()

    (command,) = commands
    assert (package.name, unpacked.exists()) == ("orchestrator", False)
    assert command[:5] == ["uv", "pip", "install", "--quiet", "--target"]
    assert command[-3:] == ["--no-deps", "--", "tenant-orchestrator==1.0.0"]


def test_another_package_that_is_no_orchestrator_stops_the_build(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_artifact, "run", lambda command: None)
    monkeypatch.setenv("LAMBDA_ORCHESTRATOR", "six")

    with (
        pytest.raises(SystemExit, match=r"^LAMBDA_ORCHESTRATOR is six, which is not a tenant-orchestrator$"),
        build_artifact.found_package("uv", checkout, TARGET),
    ):
        pass


def test_without_another_package_the_given_folder_is_taken(checkout: Path) -> None:
    with build_artifact.found_package("uv", checkout, TARGET) as package:
        assert package == checkout


def test_the_program_uses_only_syntax_of_older_pythons() -> None:
    """`sam build` runs it with any python3 on the path."""
    for name in ("build_artifact.py", "compile_modules.py", "lambda_python.py", "trim_sdk.py"):
        ast.parse((PROGRAMS / name).read_text(), feature_version=(3, 9))
