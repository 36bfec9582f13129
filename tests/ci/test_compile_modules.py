"""What the bytecode of an artifact keeps, and what it leaves out."""

import importlib.util
import marshal
from pathlib import Path
from types import CodeType
from typing import Any

import compile_modules
import pytest

SOURCE = '''"""Of the module."""


class Tenant:
    """Of the class."""

    async def start(self) -> str:
        """Of the method."""


def first(numbers: list[int]) -> int:
    """Of the function."""
    assert numbers, "no numbers"
    return numbers[0]
'''


def compiled(module: Path) -> CodeType:
    """Return the code in a module's bytecode, with the path that it names."""
    code: CodeType = marshal.loads(Path(importlib.util.cache_from_source(str(module))).read_bytes()[16:])  # noqa: S302
    return code


def imported(module: Path) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "imported"}
    exec(compiled(module), names)  # noqa: S102
    return names


@pytest.fixture
def module(tmp_path: Path) -> Path:
    module = tmp_path / "library" / "tenants.py"
    module.parent.mkdir()
    module.write_text(SOURCE)
    return module


def test_a_named_library_keeps_only_the_docstrings_of_classes(module: Path, tmp_path: Path) -> None:
    compile_modules.main([str(tmp_path), "library"])

    names = imported(module)
    assert names["Tenant"].__doc__ == "Of the class."
    assert [one.__doc__ for one in (names["Tenant"].start, names["first"])] == [None, None]
    assert names.get("__doc__") is None


def test_any_other_module_keeps_all_docstrings(module: Path, tmp_path: Path) -> None:
    compile_modules.main([str(tmp_path), "another"])

    names = imported(module)
    assert names["__doc__"] == "Of the module."
    assert [one.__doc__ for one in (names["Tenant"].start, names["first"])] == ["Of the method.", "Of the function."]


def test_assertions_and_lines_stay_as_they_are_in_the_source(module: Path, tmp_path: Path) -> None:
    compile_modules.main([str(tmp_path), "library"])

    with pytest.raises(AssertionError, match="no numbers") as failed:
        imported(module)["first"]([])
    assert failed.traceback[-1].lineno + 1 == SOURCE.splitlines().index('    assert numbers, "no numbers"') + 1
    assert compiled(module).co_filename == "/var/task/library/tenants.py"


def test_modules_that_the_function_never_imports_are_left_as_sources(tmp_path: Path) -> None:
    for name in ("pydantic/v1/main.py", "pydantic/main.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    compile_modules.main([str(tmp_path)])

    assert [file.parent.parent.name for file in tmp_path.rglob("*.pyc")] == ["pydantic"]


def test_a_module_that_does_not_compile_is_named(module: Path, tmp_path: Path) -> None:
    module.write_text("print 'Python 2'\n")

    with pytest.raises(SystemExit, match=r"library/tenants\.py does not compile: "):
        compile_modules.main([str(tmp_path)])
