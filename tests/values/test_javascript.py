"""JSON as JavaScript writes it, compared with Node if it is installed."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from decimal import Decimal, localcontext
from typing import IO, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.values.javascript import is_beyond_double, json_stringify

NODE = shutil.which("node")
SCRIPT = """
require("readline").createInterface({input: process.stdin}).on("line", line =>
  process.stdout.write(JSON.stringify(JSON.stringify(JSON.parse(line))) + "\\n"));
"""
needs_node = pytest.mark.skipif(NODE is None, reason="there is no node here to compare with")

HARD_CASES: list[tuple[Any, str]] = [
    (None, "null"),
    (True, "true"),
    (0, "0"),
    (-0.0, "0"),
    (1.0, "1"),
    (-1.5, "-1.5"),
    (0.1, "0.1"),
    (1e16, "10000000000000000"),
    (123456789012345680000.0, "123456789012345680000"),
    (1e20, "100000000000000000000"),
    (1e21, "1e+21"),
    (1.5e300, "1.5e+300"),
    (1e-6, "0.000001"),
    (1.5e-6, "0.0000015"),
    (1e-7, "1e-7"),
    (-1.25e-7, "-1.25e-7"),
    (5e-324, "5e-324"),
    (1.7976931348623157e308, "1.7976931348623157e+308"),
    (9007199254740993, "9007199254740992"),
    (12345678901234567890, "12345678901234567000"),
    (Decimal("3600.0"), "3600"),
    (Decimal("0.10"), "0.1"),
    ("", '""'),
    ("Zoë 😀", '"Zoë 😀"'),
    ('"\\/', '"\\"\\\\/"'),
    ("\b\f\n\r\t", '"\\b\\f\\n\\r\\t"'),
    ("\x00\x1f\x7f\x80", '"\\u0000\\u001f\x7f\x80"'),
    ("\u2028\u2029", '"\u2028\u2029"'),
    ("\ud800", '"\\ud800"'),
    ("a\udfffb", '"a\\udfffb"'),
    ("\ud83d" + "\ude00", '"😀"'),
    ([], "[]"),
    ({}, "{}"),
    ([1, [2, {"a": None}]], '[1,[2,{"a":null}]]'),
    ({"b": 1, "a": 2}, '{"b":1,"a":2}'),
    ({"b": 1, "10": 2, "9": 3, "a": 4}, '{"9":3,"10":2,"b":1,"a":4}'),
    ({"01": 1, "1": 2, "-1": 3, "1.5": 4, "0": 5}, '{"0":5,"1":2,"01":1,"-1":3,"1.5":4}'),
    ({"x": 1, "4294967295": 2, "4294967294": 3}, '{"4294967294":3,"x":1,"4294967295":2}'),
    ({"x": 1, "²": 2, "٣": 3}, '{"x":1,"²":2,"٣":3}'),
    ({"__proto__": 1, "ü": {"": 0}}, '{"__proto__":1,"ü":{"":0}}'),
]


class Node:
    """A Node process that reads JSON values and writes them with `JSON.stringify`."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._input: IO[str] = process.stdin
        self._output: IO[str] = process.stdout

    def stringify(self, value: Any) -> str:
        # Only ASCII is sent, so that half a surrogate pair arrives unchanged.
        self._input.write(json.dumps(value, default=float) + "\n")
        self._input.flush()
        written: str = json.loads(self._output.readline())
        return written


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    assert NODE is not None
    with subprocess.Popen([NODE, "-e", SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Node(process)
        assert process.stdin is not None
        process.stdin.close()


@pytest.mark.parametrize(("value", "written"), HARD_CASES, ids=lambda value: ascii(value)[:40])
def test_hard_cases(value: Any, written: str) -> None:
    assert json_stringify(value) == written


@needs_node
@pytest.mark.parametrize(("value", "written"), HARD_CASES, ids=lambda value: ascii(value)[:40])
def test_the_hard_cases_match_javascript(node: Node, value: Any, written: str) -> None:
    assert node.stringify(value) == written


KEYS = st.text(max_size=4) | st.integers(0, 2**33).map(str)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**30), 10**30)
LEAVES = st.none() | st.booleans() | NUMBERS | st.text(st.characters(exclude_categories=()))
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6))


@needs_node
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=VALUES)
def test_any_value_is_written_as_javascript_writes_it(node: Node, value: Any) -> None:
    assert json_stringify(value) == node.stringify(value)


@given(value=VALUES)
def test_the_written_text_reads_back_and_is_written_the_same(value: Any) -> None:
    written = json_stringify(value)

    assert json_stringify(json.loads(written)) == written


def test_numbers_are_written_in_full_whatever_the_decimal_context() -> None:
    with localcontext(prec=3):
        assert json_stringify([0.123456789, Decimal("1234567.5")]) == "[0.123456789,1234567.5]"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, Decimal("1e400"), Decimal("NaN")])
def test_numbers_that_javascript_does_not_have_are_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="not finite"):
        json_stringify([value])


@pytest.mark.parametrize(("value", "is_beyond"), [(10**400, True), (Decimal("1e400"), True), (10**300, False)])
def test_a_finite_number_may_be_beyond_a_double(value: Any, is_beyond: bool) -> None:
    assert is_beyond_double(value) is is_beyond
    assert not is_beyond_double(Decimal("Infinity"))


@pytest.mark.parametrize("value", [object(), {1: 2}, {"a": {3}}, b"x"])
def test_a_value_that_is_not_json_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        json_stringify(value)
