"""The option `--follow` of `orchestrator invoke`: handles events, and then all the events that follow from them."""

import argparse
import contextlib
import sys
from collections.abc import Collection
from functools import partial
from typing import TYPE_CHECKING, Any

from orchestrator.cli import event_files
from orchestrator.cli.flow import conditions_of
from orchestrator.cli.load import load_handler
from orchestrator.cli.output import log_to, print_failure, print_json
from orchestrator.errors import ConfigurationError

if TYPE_CHECKING:
    from orchestrator.local.world import World


def follow(options: argparse.Namespace) -> int:
    """Run the handler on event files and on all events that follow from them, and print each step.

    AWS, Jenkins and the control plane are emulated. Errors are always printed to standard error.

    - With `--quiet`, standard output gets the handler's answers, and the steps are not printed.
    - Otherwise, if standard output is a terminal, it gets the steps, and the answers are not printed.
    - Otherwise, standard output gets the answers, and standard error gets the steps.

    Args:
        options: The options of `orchestrator invoke`.

    Returns:
        The exit code: 1 if an event could not be handled, if a job that `--fail` names was not started, or if, with
        `--strict`, no consumer took an event of a file.

    Raises:
        ConfigurationError: The handler cannot be loaded, no emulated job has the name in `--fail`, or there are so many
            events that they probably cause each other endlessly.
        InvalidEvent: A folder has no `.json` file.
    """
    from orchestrator.local import results
    from orchestrator.local.life import Life
    from orchestrator.local.story import Story
    from orchestrator.local.world import emulated

    files = event_files.load(options.events)
    stdout = sys.stdout
    shows_story = stdout.isatty() and not options.quiet
    has_failed = False
    with contextlib.ExitStack() as stack:
        world = stack.enter_context(emulated(options.jobs))
        _check(options.failing, world)
        stack.enter_context(log_to(sys.stderr if options.verbose else None))
        handler = load_handler(options.handler)
        story = stdout if shows_story else None if options.quiet else sys.stderr
        life = Life(
            handler,
            world,
            Story(story),
            results=stack.enter_context(results.recorded(conditions_of(handler))),
            failing=options.failing,
            is_strict=options.strict,
            answered=_ignore if shows_story else partial(print_json, stream=stdout),
            failed=partial(_print_failure, options.debug),
        )
        for file in files:
            if file.error is not None:
                has_failed = True
                _print_failure(options.debug, file.error, file.name)
            else:
                life.begin(file.event, file.name)
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
    """Print nothing, because the terminal shows each step instead of the handler's answers."""


def _print_failure(debug: bool, error: Exception, file: str) -> None:
    print_failure(error, debug=debug, file=file)
