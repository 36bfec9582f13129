"""The names in a ScriptJob are checked when it is made, and decide what a job takes and gives back."""

from importlib.resources import files
from typing import Any

import pytest

from orchestrator import ConfigurationError, Ended
from orchestrator.sbt import ScriptJob
from orchestrator.sbt.reserved_words import _WORDS, is_reserved


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"string_variables": ["tenant-id"]}, "string_variables of a ScriptJob must be a list of variables' names"),
        ({"json_variables": "prices"}, "json_variables of a ScriptJob must be a list of variables' names"),
        ({"tenant_data": ["diskId", "status"]}, "tenant_data of a ScriptJob has 'status', a reserved word of DynamoDB"),
        ({"tenant_data": ["Name"]}, "tenant_data of a ScriptJob has 'Name', a reserved word of DynamoDB"),
        ({"tenant_registration_data": ["tenantRegistrationId"]}, "has tenantRegistrationId, the registration's key"),
        ({"string_variables": ["registrationStatus"]}, "a ScriptJob passes registrationStatus to the job"),
    ],
)
def test_names_that_cannot_work_are_refused(members: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        ScriptJob(**members)


def test_a_registration_may_have_reserved_words() -> None:
    assert ScriptJob(tenant_registration_data=["status"]).tenant_registration_data == ["status"]


def test_the_reserved_words_are_those_of_dynamodb() -> None:
    words = (files("moto") / "dynamodb" / "parsing" / "reserved_keywords.txt").read_text().split()

    assert set(words) == _WORDS
    assert is_reserved("name")
    assert not is_reserved("tenantName")


def test_strings_are_passed_as_they_are_and_others_as_json() -> None:
    job = ScriptJob(string_variables=["a", "b", "gone"], json_variables=["c", "d"])

    assert job.variables({"a": "x", "b": 1, "c": "x", "d": {"e": [1]}, "f": "not named"}) == {
        "a": "x",
        "b": 1,
        "c": '"x"',
        "d": '{"e":[1]}',
    }


@pytest.mark.parametrize(
    ("exported", "status"),
    [({}, "created"), ({"registrationStatus": ""}, "created"), ({"registrationStatus": "x"}, "x")],
)
def test_a_successful_registration_gets_the_exported_status_or_the_usual_one(
    exported: dict[str, str], status: str
) -> None:
    ended = Ended(succeeded=True, event_type="onboardingRequest", variables=exported)

    assert ScriptJob().output(ended, "created")["tenantRegistrationData"] == {"registrationStatus": status}


def test_the_status_after_a_failure_can_be_chosen() -> None:
    ended = Ended(succeeded=False, event_type="onboardingRequest", variables={"registrationStatus": "created"})

    assert ScriptJob(failure_status="broken").output(ended, "created") == {
        "tenantData": {},
        "tenantRegistrationData": {"registrationStatus": "broken"},
    }
