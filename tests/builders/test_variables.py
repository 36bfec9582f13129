"""Names and values of job variables."""

import json
import re
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import ConfigurationError, EventType, InvalidEvent
from orchestrator.builders.variables import job_variables
from orchestrator.values.text import to_json, to_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (False, "false"),
        (None, ""),
        ("", ""),
        (" text ü ", " text ü "),
        (EventType.TENANT_DEPLOYMENT, "TENANT_DEPLOYMENT"),
        (3600, "3600"),
        (3600.0, "3600"),
        (-0.0, "0"),
        (0.1, "0.1"),
        (1e-7, "0.0000001"),
        (1e22, "10000000000000000000000"),
        (Decimal("3600"), "3600"),
        (Decimal("3600.50"), "3600.5"),
        (Decimal("3.6E+3"), "3600"),
        (Decimal("0E-5"), "0"),
        (Decimal("12345678901234567890123456789012345678"), "12345678901234567890123456789012345678"),
        ({"a": [1, 1.0, Decimal("2.50"), None, True, "ü"]}, '{"a":[1,1,2.5,null,true,"ü"]}'),
        ([], "[]"),
        (("x",), '["x"]'),
        ({"b", "a"}, '["a","b"]'),
    ],
)
def test_values_are_written_in_their_usual_form(value: Any, text: str) -> None:
    assert to_text(value) == text


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), Decimal("NaN"), b"x", object(), {"a": object()}, "\ud800", "a\0b", [1e999]]
)
def test_a_value_without_a_text_form_is_refused_with_its_name(value: Any) -> None:
    with pytest.raises(InvalidEvent, match="job variable 'size' has a value that cannot be passed"):
        job_variables({}, {"size": value}, {})
    with pytest.raises(ConfigurationError, match="job variable 'size' has a value that cannot be passed"):
        job_variables({"size": value}, {}, {})


def test_event_variables_override_the_tiers_and_ours_override_both() -> None:
    variables = job_variables({"a": 1, "b": 1, "AWS_REGION": "x"}, {"b": 2}, {"ORCHESTRATOR_RUN_ID": "3"})

    assert variables == {"a": "1", "b": "2", "AWS_REGION": "x", "ORCHESTRATOR_RUN_ID": "3"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=9), inner, max_size=5),
    max_leaves=15,
)


@given(st.lists(json_values, max_size=5) | st.dictionaries(st.text(), json_values, max_size=5))
def test_json_reads_back_as_written(value: Any) -> None:
    assert json.loads(to_json(value)) == value


@given(
    st.floats(allow_nan=False, allow_infinity=False)
    | st.integers()
    | st.decimals(allow_nan=False, allow_infinity=False, places=5)
)
def test_numbers_read_back_as_written(value: Any) -> None:
    text = to_text(value)

    assert re.fullmatch(r"-?\d+(\.\d*[1-9])?", text)
    assert type(value)(text) == value


@given(st.text(), json_values)
def test_a_variable_is_passed_unchanged_or_refused_with_its_name(name: str, value: Any) -> None:
    try:
        (passed,) = job_variables({}, {name: value}, {}).items()
    except InvalidEvent as error:
        message = str(error)
        assert message.startswith("job variable ")
        assert message.isprintable()
        return
    assert passed[0] == name
    assert re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name)
