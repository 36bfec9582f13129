"""The comparison with `ScriptJob` counts the requests that the package sends."""

from collections import Counter
from pathlib import Path

from tests.benchmarks import sbt_path
from tests.benchmarks.sbt_path import SCRIPT_JOB, counted, table, walk
from tests.benchmarks.scale import costs
from tests.support.events import sample

README = (Path(__file__).parent / "README.md").read_text(encoding="utf-8")


def test_each_step_sends_the_requests_that_readme_explains() -> None:
    start, ending, record = counted().steps.values()

    assert start == ["PutItem", "TransactWriteItems", "StartBuild", "UpdateItem"]
    assert ending == ["GetItem", "BatchGetBuilds", "UpdateItem", "PutEvents", "UpdateItem", "UpdateItem"]
    assert Counter(record) == {"GetItem": 2, "UpdateItem": 4}


def test_readme_has_the_table_that_is_printed() -> None:
    assert "\n".join(table(counted(), SCRIPT_JOB)) in README


def test_a_request_that_arrives_twice_starts_one_build_with_ours() -> None:
    request = sample("sbt-onboarding-request")
    with walk() as walked:
        before = len(walked.builds)
        for _ in range(2):
            walked.take(request)

        assert len(walked.builds) - before == 1


def test_a_price_is_the_sum_of_what_is_paid_for() -> None:
    way = sbt_path.Way(steps={}, transitions=2, reads=4, writes=8, events=3, log_gb=1e-6)

    expected = 2 * costs.STATE_TRANSITION + 4 * costs.READ + 8 * costs.WRITE + 3 * costs.EVENT + 1e-6 * costs.LOG_GB
    assert round(way.dollars - expected, 12) == 0
