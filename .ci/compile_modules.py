"""Compiles the modules of an artifact, for the Python that runs this.

    python3.13 .ci/compile_modules.py ARTIFACT [NAME ...]

In the folders and modules that are named, the bytecode of functions and modules has no docstrings: only help() shows
them, and they are a tenth of all bytecode. Those of classes stay, because dataclasses and pydantic read them.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import marshal
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

# The artifact has only the sources of these. The function never imports them, and who does waits until they are
# compiled.
UNCOMPILED = ("pydantic/v1",)
_UNCHECKED_HASH = (1).to_bytes(4, "little")  # https://peps.python.org/pep-0552/


def main(arguments: Sequence[str] | None = None) -> None:
    """Compile every module; stop the build if one does not compile."""
    parser = argparse.ArgumentParser(description="Compile the modules of an artifact.")
    parser.add_argument("artifact", type=Path)
    parser.add_argument("undocumented", nargs="*", help="folders and modules whose functions need no docstrings")
    options = parser.parse_args(arguments)
    uncompiled = [options.artifact / name for name in UNCOMPILED]
    for source in sorted(options.artifact.rglob("*.py")):
        if not any(folder in source.parents for folder in uncompiled):
            compile_module(source, options.artifact, options.undocumented)


def compile_module(source: Path, artifact: Path, undocumented: Collection[str]) -> None:
    """Write the bytecode of a module, with the path that the module has on Lambda."""
    module, content = source.relative_to(artifact), source.read_bytes()
    try:
        tree = ast.parse(content, str(source))
        if module.parts[0] in undocumented:
            drop_docstrings(tree)
        code = compile(tree, str(Path("/var/task", module)), "exec", dont_inherit=True, optimize=0)
    except (SyntaxError, ValueError) as error:
        sys.exit(f"{source} does not compile: {error}")
    compiled = Path(importlib.util.cache_from_source(str(source), optimization=""))
    compiled.parent.mkdir(exist_ok=True)
    header = importlib.util.MAGIC_NUMBER + _UNCHECKED_HASH + importlib.util.source_hash(content)
    compiled.write_bytes(header + marshal.dumps(code))


def drop_docstrings(tree: ast.Module) -> None:
    """Remove the docstrings of a module and of its functions."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef)) and ast.get_docstring(node, False):
            docstring = node.body.pop(0)
            if not node.body:
                node.body.append(ast.copy_location(ast.Pass(), docstring))


if __name__ == "__main__":
    main()
