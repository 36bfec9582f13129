"""Wrong arguments are one line that names the argument and the command whose help has the others."""

import pytest

from orchestrator.cli.main import main


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((), "orchestrator: name a COMMAND; see orchestrator --help"),
        (("--absent",), "orchestrator: unrecognized arguments: --absent; see orchestrator --help"),
        (
            ("jobs", "--absent", "more"),
            "orchestrator jobs: unrecognized arguments: --absent more; see orchestrator jobs --help",
        ),
        (
            ("status",),
            "orchestrator status: the following arguments are required: TENANT; see orchestrator status --help",
        ),
        (
            ("failures", "--limit", "0"),
            "orchestrator failures: argument --limit: '0' is not a whole number of at least 1; see orchestrator "
            "failures --help",
        ),
        (
            ("redrive", "--limit", "many\nx"),
            "orchestrator redrive: argument --limit: 'many\\nx' is not a whole number of at least 1; see orchestrator "
            "redrive --help",
        ),
        (
            ("emulate", "--port=0"),
            "orchestrator emulate: argument --port: '0' is not a port, a whole number from 1 to 65535; see "
            "orchestrator emulate --help",
        ),
        (
            ("bridge", "bullmq", "--health-port", "65536"),
            "orchestrator bridge bullmq: argument --health-port: '65536' is not a port, a whole number from 1 to "
            "65535; see orchestrator bridge bullmq --help",
        ),
    ],
)
def test_a_wrong_argument_is_one_line(
    arguments: tuple[str, ...], error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)

    output = capsys.readouterr()
    assert (caught.value.code, output.out, output.err) == (2, "", f"{error}\n")


def test_an_unknown_command_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["statsu"])

    error = capsys.readouterr().err
    assert error.startswith("orchestrator: argument COMMAND: invalid choice: 'statsu' (choose from ")
    assert error.count("\n") == 1


def test_the_help_has_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])

    lines = capsys.readouterr().out.partition("exit codes:\n")[2].splitlines()
    assert [line.split()[0] for line in lines if line] == ["0", "1", "2", "130"]
