"""The command `orchestrator init`: writes a project with consumers, ready to be tested and deployed.

The project consists of the files in `starter`, and of this repository's template, SAM configuration and sample events.
In a checkout, the template, the configuration and the events are at the root. In a wheel, they are in `starter`, too.
"""

import argparse
import re
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from orchestrator.errors import ConfigurationError

STARTER = Path(__file__).parent / "starter"
_CHECKOUT = Path(__file__).parents[2]
_SHARED = ("template.yaml", "samconfig.toml", "events")
_NOT_SHARED = "asyncapi.yaml"  # describes the events of the built-in consumers only
_NAME = "my-tenants"
_STACK = 'stack_name = "orchestrator"\n'
_PARAMETERS = """\
parameter_overrides = [
  "Handler=app.lambda_handler",
  "ExtraEventTypes=TENANT_SUSPENDED",
]
"""


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", *parents: argparse.ArgumentParser) -> None:
    """Add the command `init` to the parser's commands.

    Args:
        parents: Parsers that define the options which `init` shares with other commands.
    """
    parser = commands.add_parser(
        "init",
        parents=parents,
        help="write a project with consumers of your own",
        description="Write a project with a consumer for CodeBuild and one for Jenkins, their tests, and all that "
        "`sam build` and `sam deploy` need. Files that exist are never overwritten.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder to write it to; created if missing")
    parser.set_defaults(run=_init)


def _init(options: argparse.Namespace) -> int:
    folder: Path = options.folder
    files = project(_name(folder))
    try:
        existing = _existing(folder, files)
        if existing:
            more = f" and {len(existing) - 3} more of the project's files" if len(existing) > 3 else ""
            raise ConfigurationError(f"{folder}: already contains {', '.join(existing[:3])}{more}; name another folder")
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            with (folder / path).open("x", encoding="utf-8", newline="\n") as file:
                file.write(text)
    except OSError as error:
        raise ConfigurationError(f"{error.filename}: cannot be written: {error.strerror}") from None
    print(f"{len(files)} files written to {folder}; its README.md has the commands, `make test` is the first")
    return 0


def _existing(folder: Path, files: Iterable[Path]) -> list[str]:
    """Return the paths at which the project cannot be written, relative to `folder`.

    A file cannot be written where anything exists, even a broken symbolic link. A folder may exist already, but
    anything else in its place, such as a symbolic link to a folder, is in the way.

    Args:
        folder: The project's folder.
        files: The paths of the project's files, relative to `folder`.
    """
    files = set(files)
    folders = {parent for file in files for parent in file.parents if parent != Path()}

    def is_in_the_way(place: Path) -> bool:
        there = folder / place
        return there.is_symlink() or (there.exists() and not (place in folders and there.is_dir()))

    return [str(place) for place in sorted(files | folders) if is_in_the_way(place)]


def project(name: str) -> dict[Path, str]:
    """Return the text of each file of a project, by the file's path in the project.

    Args:
        name: The name of the project and of its CloudFormation stack.
    """
    sources = {path.relative_to(STARTER): path for path in _files(STARTER)}
    if not (STARTER / "template.yaml").exists():
        shared = (path for entry in _SHARED for path in _files(_CHECKOUT / entry))
        sources |= {path.relative_to(_CHECKOUT): path for path in shared}
    texts = {path: source.read_text(encoding="utf-8") for path, source in sorted(sources.items())}
    requirement = "tenant-orchestrator[local]"
    for file, old, new in (
        ("README.md", f"# {_NAME}\n", f"# {name}\n"),
        ("pyproject.toml", f'name = "{_NAME}"', f'name = "{name}"'),
        ("pyproject.toml", requirement, f"{requirement}~={version('tenant-orchestrator')}"),
        ("samconfig.toml", _STACK, f'stack_name = "{name}"\n{_PARAMETERS}'),
        ("samconfig.toml", 's3_prefix = "orchestrator"', f's3_prefix = "{name}"'),
    ):
        texts[Path(file)] = texts[Path(file)].replace(old, new)
    return texts


def _files(entry: Path) -> list[Path]:
    """Return the files in a folder and its subfolders. If `entry` is a file, return a list of only this file.

    These files in a folder are left out: compiled Python files, files with the name `_NOT_SHARED`, and Markdown files
    that are not directly in `STARTER`.
    """
    if entry.is_file():
        return [entry]
    found = (path for path in entry.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    shared = (path for path in found if path.name != _NOT_SHARED)
    return [path for path in shared if path.suffix != ".md" or path.parent == STARTER]


def _name(folder: Path) -> str:
    """Turn a folder's name into a name that CloudFormation accepts for a stack.

    The result consists of letters, digits and hyphens, and begins with a letter.
    """
    words = re.findall("[A-Za-z0-9]+", folder.resolve().name)
    return "-".join(words if words and words[0][0].isalpha() else ["tenants", *words])[:128].rstrip("-")
