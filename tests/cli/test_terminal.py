"""What the command prints on a real (pseudo) terminal."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator import local
from orchestrator.cli.main import main
from tests.support.events import EVENTS, sample
from tests.support.lambda_runtime import ROOT
from tests.support.terminal import on_terminal

PROVISIONING = "events/tenant-provisioning.json"
# https://en.wikipedia.org/wiki/ANSI_escape_code#Select_Graphic_Rendition_parameters
COLOUR = re.compile(r"\x1b\[[\d;]*3\d[\d;]*m")


def test_a_summary_has_colours_and_whole_links_and_no_log() -> None:
    screen = on_terminal(["invoke", PROVISIONING], columns=60)

    assert screen.code == 0
    assert COLOUR.search(screen.text)
    assert re.search(r"https://us-east-1\S{150,}region=us-east-1", screen.text)
    assert '"level"' not in screen.text


def test_no_color_leaves_the_colours_out() -> None:
    screen = on_terminal(["invoke", PROVISIONING], NO_COLOR="1")

    assert "job started: CODE_BUILD premium-tenant-provisioning" in screen.text
    assert not COLOUR.search(screen.text)


def test_several_files_have_a_progress_bar_which_is_gone_at_the_end() -> None:
    several = [PROVISIONING, "events/scheduled-sweep.json"]

    screen = on_terminal(["invoke", *several])

    assert "━" in screen.text
    assert "1/2" in screen.text
    assert "━" not in screen.text.splitlines()[-1]
    assert "━" not in on_terminal(["invoke", "--quiet", *several]).text


@pytest.fixture
def _without_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "rich"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "orchestrator.local.colours", raising=False)
    monkeypatch.delattr(local, "colours", raising=False)
    monkeypatch.setitem(sys.modules, "rich", None)


@pytest.mark.usefixtures("_without_rich")
def test_without_rich_a_terminal_gets_plain_lines_and_no_progress_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delitem(sys.modules, "orchestrator.handler", raising=False)
    (tmp_path / "again.json").write_text(json.dumps(sample("tenant-provisioning")))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)

    code = main(["invoke", str(EVENTS / "tenant-provisioning.json"), str(tmp_path / "again.json")])

    output = capsys.readouterr()
    assert (code, output.err) == (0, "")
    assert "  job started: CODE_BUILD premium-tenant-provisioning\n" in output.out
    assert "\x1b" not in output.out
    assert output.out.splitlines()[-1] == "2 files: 2 handled"


def test_rich_is_not_imported_for_a_program_that_reads_the_output() -> None:
    script = "import sys; from orchestrator.cli.main import main; main(['routes']); sys.exit('rich' in sys.modules)"

    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT, capture_output=True)
