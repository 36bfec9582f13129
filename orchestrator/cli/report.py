"""Prints the results of `orchestrator invoke`: a summary for a person, or the handler's answers for a program."""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any, TextIO

from orchestrator.cli.event_files import EventFile
from orchestrator.cli.output import print_failed, print_failure, print_json, print_note, shown_file
from orchestrator.local import messages, summary
from orchestrator.local.environment import Surroundings
from orchestrator.local.recorder import Recording
from orchestrator.local.results import Failed, Handled, NoConsumer, NotTaken, Result
from orchestrator.local.terminal import Lines


class Report:
    """Prints a summary of each event for a person, or the handler's answers as JSON for a program.

    - With `--quiet`, only the answers are printed, to standard output.
    - Otherwise, if standard output is a terminal, only the summary is printed, to standard output.
    - Otherwise, the answers are printed to standard output. The summary is printed to standard error if standard error
      is a terminal, or if `--verbose` is given.

    In addition, failures are always printed to standard error. Without a summary and without `--quiet`, a note about
    each event that no consumer took is printed there, too.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        """Choose the streams to print to.

        Args:
            options: The options of `orchestrator invoke`.
        """
        self._options = options
        self._counts: Counter[str] = Counter()
        self._answers, stream = _streams(options)
        self._lines = None if stream is None else Lines(stream)
        self._details = stream if options.verbose else None

    @property
    def has_failed(self) -> bool:
        """Whether at least one event counts as failed; see `answered` and `failed`."""
        return self._counts["failed"] > 0

    def begin(self, file: EventFile) -> None:
        """Report that the event in a file is about to be handled."""
        if self._lines is not None:
            self._lines.print(f"event {summary.cut(messages.type_of(file.event))}, from {shown_file(file.name)}")

    def answered(self, file: EventFile, answer: Any, results: Sequence[Result]) -> None:
        """Print the handler's answer, a summary of the results, or both (see `Report`), and the results' failures.

        The event counts as failed if one of the results is a `Failed` or, with `--strict`, a `NotTaken`.

        Args:
            file: The event's file.
            answer: The handler's answer.
            results: The results of the event's consumers, which the handler has logged.
        """
        if self._answers is not None:
            print_json(answer, self._answers)
        untaken = [result for result in results if isinstance(result, NotTaken)]
        self._report(results)
        for one in untaken:
            self._report_not_taken(file, one.text)
        # An answer to a batch raises no error: it names the messages that come back.
        failed = [result for result in results if isinstance(result, Failed)]
        for failure in failed:
            print_failed(failure.error, failure.text, file=file.name)
        waits = any(isinstance(result, Handled) and result.waits for result in results)
        has_failed = failed or (untaken and self._options.strict)
        self._counts["failed" if has_failed else "not taken" if untaken else "waiting" if waits else "handled"] += 1

    def failed(self, file: EventFile, error: Exception, results: Sequence[Result] = ()) -> None:
        """Report that a file could not be read, or that the handler raised an error for its event.

        Args:
            results: The results that the handler logged before it raised the error.
        """
        self._report(results)
        print_failure(error, debug=self._options.debug, file=file.name)
        self._counts["failed"] += 1

    def end(self) -> None:
        """If there are several files, report how many were handled, wait, were not taken by a consumer, or failed."""
        total = self._counts.total()
        if self._lines is not None and total > 1:
            counts = ", ".join(f"{number} {status}" for status, number in self._counts.most_common())
            self._lines.print(f"{total} files: {counts}", "heading")

    def details(self, recording: Recording, surroundings: Surroundings | None) -> None:
        """With `--verbose`, report the callbacks, the published events and the requested builds.

        Args:
            recording: The events and builds.
            surroundings: The emulated services. `None` if real services were used. Then no callbacks are printed,
                because only the emulated control plane records them. Details of events and values of variables are
                not printed either, because they may be secret.
        """
        if self._details is not None:
            if surroundings is not None:
                summary.callbacks(self._details, surroundings.control_plane.requests)
            is_emulated = surroundings is not None
            summary.events(self._details, recording.published, values_shown=is_emulated)
            summary.builds(self._details, recording.variables, values_shown=is_emulated)

    def _report(self, results: Sequence[Result]) -> None:
        for result in results:
            if isinstance(result, Handled) and self._lines is not None:
                if len(results) > 1:  # those of an array or a batch
                    self._lines.print(f"  event {summary.cut(result.event_type)}")
                for line in summary.handled_lines(result):
                    self._lines.print(line)

    def _report_not_taken(self, file: EventFile, text: str) -> None:
        if self._options.strict:
            print_failure(NoConsumer(text), debug=False, file=file.name)
        elif self._lines is not None:
            self._lines.print(f"  {text}")
        else:
            print_note(f"{shown_file(file.name)}: {text}", quiet=self._options.quiet)


def _streams(options: argparse.Namespace) -> tuple[TextIO | None, TextIO | None]:
    """Return the stream for the answers and the stream for the summary. `None` means not to print them."""
    if options.quiet:
        return sys.stdout, None
    if sys.stdout.isatty():
        return None, sys.stdout
    return sys.stdout, sys.stderr if sys.stderr.isatty() or options.verbose else None
