"""The option `--follow` of `orchestrator invoke`: follows events until nothing is left to happen."""

import argparse
import contextlib
import os
import sys
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.cli import event_files
from orchestrator.cli.load import load_handler
from orchestrator.cli.output import print_failure, print_json
from orchestrator.errors import ConfigurationError, OrchestratorError

if TYPE_CHECKING:
    from orchestrator.local.world import World


def follow(options: argparse.Namespace) -> int:
    """Run the handler on event files and on everything that follows from them, and print the tenants' story.

    If standard output is a terminal, it gets the story. Otherwise, it gets the handler's answers, and standard error
    gets the story.

    Args:
        options: The options of `orchestrator invoke`.

    Returns:
        The exit code: 1 if an event could not be handled.

    Raises:
        ConfigurationError: The handler cannot be loaded, or no emulated job has the name in `--fail`.
    """
    from orchestrator.local.life import Life
    from orchestrator.local.story import Story
    from orchestrator.local.world import emulated

    files = event_files.find(options.events)
    stdout = sys.stdout
    shows_story = stdout.isatty()
    has_failed = False
    with contextlib.ExitStack() as stack:
        log = sys.stderr if options.verbose else stack.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
        world = stack.enter_context(emulated(options.jobs))
        _check(options.failing, world)
        stack.enter_context(contextlib.redirect_stdout(log))
        life = Life(
            load_handler(options.handler),
            world,
            Story(stdout if shows_story else sys.stderr),
            failing=options.failing,
            answered=_ignore if shows_story else partial(print_json, stream=stdout),
            failed=partial(_print_failure, options.debug),
        )
        for file in files:
            try:
                event = event_files.read(file)
            except OrchestratorError as error:
                has_failed = True
                _print_failure(options.debug, error, file)
            else:
                life.begin(event, file)
        try:
            life.follow()
        finally:
            life.end()
    return 1 if has_failed or life.has_failed else 0


def _check(failing: Collection[str], world: "World") -> None:
    for job in failing:
        if job not in world.jobs():
            raise ConfigurationError(f"--fail {job}: no emulated job has this name; correct it, or add --job {job}")


def _ignore(answer: Any) -> None:
    """Print nothing."""


def _print_failure(debug: bool, error: Exception, file: str) -> None:
    print_failure(error, debug=debug, file=file)
