"""Values from a callback's answer appear in the bodies of later callbacks, and nowhere else."""

import json
from typing import Any

import pytest

from orchestrator import (
    Application,
    ConfigurationError,
    Event,
    FromAnswer,
    InvalidEvent,
    Registry,
    SendCallback,
    Unavailable,
    create_handler,
)
from orchestrator.local import sandbox
from orchestrator.local.control_plane import ControlPlane
from orchestrator.performers.address import AllowedHosts
from orchestrator.performers.callbacks import Callbacks
from tests.support.aws import Requests
from tests.support.dripping import DrippingServer
from tests.support.events import invoke, sample

USER = "do-not-tell-user"


class Killed(KeyboardInterrupt):
    """Simulates a kill: no exception handler of the package catches it."""


def callback(plane: ControlPlane, path: str, body: Any = None, **fields: Any) -> SendCallback:
    url = plane.url.partition("/webhook")[0] + path
    return SendCallback(url=url, body=body or {}, secret=sandbox.CALLBACK_SECRET, **fields)


def deciding(*actions: SendCallback) -> Application:
    registry = Registry()

    @registry.consumer("TENANT_PROVISIONING", name="ask")
    def ask(event: Event) -> list[SendCallback]:
        return list(actions)

    return create_handler(registry)


def statuses(answer: dict[str, Any]) -> list[str]:
    return [outcome["status"] for outcome in answer["consumers"][0]["outcomes"]]


def paths(plane: ControlPlane) -> list[str]:
    return [request.path for request in plane.requests]


@pytest.fixture
def plane(aws: Requests, control_plane: ControlPlane) -> ControlPlane:
    control_plane.next.answer(200, json.dumps({"id": USER, "more": "x", "number": 7}), on="/ask")
    return control_plane


def test_a_later_body_gets_a_value_from_an_earlier_answer(plane: ControlPlane) -> None:
    body = {"users": [{"id": FromAnswer("id"), "no": FromAnswer("number")}, {"id": FromAnswer("id")}], "a": 1}

    invoke(
        deciding(callback(plane, "/ask", keeps=["id", "number"]), callback(plane, "/use", body)),
        sample("tenant-provisioning"),
    )

    assert plane.accepted == [{"users": [{"id": USER, "no": 7}, {"id": USER}], "a": 1}]


def test_the_latest_earlier_answer_counts(plane: ControlPlane) -> None:
    plane.next.answer(200, '{"id": "second"}', on="/ask")
    plane.next.answer(200, '{"id": "third"}', on="/ask")
    ask, use = callback(plane, "/ask", keeps=["id"]), callback(plane, "/use", {"id": FromAnswer("id")})

    invoke(deciding(ask, ask, use, ask), sample("tenant-provisioning"))

    assert plane.accepted == [{"id": "second"}]


def test_an_answer_may_be_empty(aws: Requests, control_plane: ControlPlane) -> None:
    control_plane.next.answer(200, '{"id": ""}', on="/ask")
    ask, use = callback(control_plane, "/ask", keeps=["id"]), callback(control_plane, "/use", {"id": FromAnswer("id")})

    invoke(deciding(ask, use), sample("tenant-provisioning"))

    assert control_plane.accepted == [{"id": ""}]


def test_a_kept_value_is_not_logged_and_not_in_the_handlers_answer(
    plane: ControlPlane, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = deciding(callback(plane, "/ask", keeps=["id"]), callback(plane, "/use", {"id": FromAnswer("id")}))

    answers = [invoke(handler, sample("tenant-provisioning")) for _ in range(2)]

    assert [statuses(answer) for answer in answers] == [["sent", "sent"], ["already sent", "already sent"]]
    assert USER not in json.dumps(answers) + capsys.readouterr().out


def test_a_kept_value_is_not_in_the_error_of_a_failure(plane: ControlPlane, capsys: pytest.CaptureFixture[str]) -> None:
    plane.next.answer(404, on="/use")
    handler = deciding(callback(plane, "/ask", keeps=["id"]), callback(plane, "/use", {"id": FromAnswer("id")}))

    with pytest.raises(ConfigurationError, match="the host answered 404") as caught:
        invoke(handler, sample("tenant-provisioning"))

    logged = capsys.readouterr().out
    assert '"status":"sent"' in logged
    assert USER not in str(caught.value) + logged


def test_a_redelivery_after_a_kill_uses_the_kept_answer(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    handler = deciding(callback(plane, "/ask", keeps=["id"]), callback(plane, "/use", {"id": FromAnswer("id")}))
    check = Callbacks.check

    def die_with_the_answer(self: Callbacks, action: SendCallback) -> str:
        if action.body.get("id"):
            raise Killed
        return check(self, action)

    with monkeypatch.context() as killed:
        killed.setattr(Callbacks, "check", die_with_the_answer)
        with pytest.raises(Killed):
            invoke(handler, sample("tenant-provisioning"))
    assert paths(plane) == ["/ask"]

    assert statuses(invoke(handler, sample("tenant-provisioning"))) == ["already sent", "sent"]

    assert paths(plane) == ["/ask", "/use"]
    assert plane.accepted == [{"id": USER}]


def test_a_value_of_an_answer_that_was_not_kept_is_an_error(plane: ControlPlane) -> None:
    invoke(deciding(callback(plane, "/ask")), sample("tenant-provisioning"))
    handler = deciding(callback(plane, "/ask", keeps=["id"]), callback(plane, "/use", {"id": FromAnswer("id")}))

    with pytest.raises(ConfigurationError, match=r"a callback needs 'id' of an earlier answer, .* with another id"):
        invoke(handler, sample("tenant-provisioning"))

    assert paths(plane) == ["/ask"]


@pytest.mark.parametrize("position", [0, 1])
def test_a_value_that_no_earlier_callback_keeps_is_an_error_of_the_consumer(plane: ControlPlane, position: int) -> None:
    decision = [callback(plane, "/first"), callback(plane, "/ask", keeps=["id"])]
    decision.insert(position, callback(plane, "/use", {"user": [FromAnswer("id")]}))

    with pytest.raises(
        ConfigurationError, match=r"consumer 'ask' returned FromAnswer\('id'\), but no earlier callback keeps it"
    ):
        invoke(deciding(*decision), sample("tenant-provisioning"))

    assert plane.requests == []


def test_names_to_keep_must_be_a_list(plane: ControlPlane) -> None:
    with pytest.raises(ConfigurationError, match="a callback whose keeps is a text; give it a list of names"):
        invoke(deciding(callback(plane, "/ask", keeps="id")), sample("tenant-provisioning"))

    assert plane.requests == []


def test_a_body_with_a_value_from_an_answer_is_checked_before_anything_is_sent(plane: ControlPlane) -> None:
    body = {"id": FromAnswer("id"), "rest": object()}

    with pytest.raises(InvalidEvent, match="a callback's body is not JSON"):
        invoke(
            deciding(callback(plane, "/ask", keeps=["id"]), callback(plane, "/use", body)),
            sample("tenant-provisioning"),
        )

    assert plane.requests == []


# Answers of which nothing can be kept


def ask(plane: ControlPlane) -> dict[str, str | int]:
    return Callbacks(AllowedHosts(["127.0.0.1"]), pause=lambda _: None).ask(callback(plane, "/ask", keeps=["id"]))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("", "is not JSON"),
        ('{"id": "do-not-tell', "is not JSON"),
        ("[" * 10_000, "is not JSON"),
        ('{"id": ' + "9" * 5000 + "}", "is not JSON"),
        ('["do-not-tell"]', "is a list, not an object"),
        ('{"other": "do-not-tell"}', "has no 'id'"),
        ('{"id": true}', "has a 'id' that is neither a text"),
        ('{"id": null}', "has a 'id' that is neither a text"),
        ('{"id": {"a": "do-not-tell"}}', "has a 'id' that is neither a text"),
        ('{"id": NaN}', "has a 'id' that is neither a text"),
        ('{"id": 9007199254740992}', "has a 'id' that is neither a text"),
        (json.dumps({"id": "x" * 1025}), "has a 'id' that is neither a text of at most 1024 characters"),
        (json.dumps({"id": "x", "more": "y" * 20_000}), "has more than 16 KiB"),
    ],
)
def test_an_unusable_answer_is_in_doubt_and_the_callback_is_not_repeated_at_once(
    control_plane: ControlPlane, body: str, reason: str
) -> None:
    control_plane.next.answer(200, body)

    with pytest.raises(Unavailable, match=f"callback to '127.0.0.1' was accepted, but its answer {reason}") as caught:
        ask(control_plane)

    assert caught.value.ambiguous
    assert len(control_plane.requests) == 1
    assert "do-not-tell" not in str(caught.value)


@pytest.mark.parametrize("value", ["x" * 1024, "", "ü\ud800", 0, -(2**53) + 1])
def test_a_text_or_an_integer_is_kept_as_it_is(control_plane: ControlPlane, value: str | int) -> None:
    control_plane.next.answer(200, json.dumps({"id": value}))

    assert ask(control_plane) == {"id": value}


def test_a_compressed_answer_is_not_unpacked(control_plane: ControlPlane) -> None:
    control_plane.next.answer(200, "x", {"Content-Encoding": "gzip"})

    with pytest.raises(Unavailable, match="its answer is not JSON"):
        ask(control_plane)


def test_a_callback_whose_answer_got_lost_is_repeated(control_plane: ControlPlane) -> None:
    control_plane.next.drop(after_acting=True)
    control_plane.next.answer(200, '{"id": "x"}')

    assert ask(control_plane) == {"id": "x"}


def test_a_401_gives_no_answer_even_to_a_repeat(control_plane: ControlPlane) -> None:
    control_plane.next.drop(after_acting=True)
    control_plane.next.answer(401)

    with pytest.raises(ConfigurationError, match="the host answered 401"):
        ask(control_plane)


def test_a_dripping_body_is_cut_off(control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.performers.callbacks.READ_TIMEOUT_SECONDS", 0.1)
    with DrippingServer(b"HTTP/1.1 200 OK\r\n\r\n") as drip:
        control_plane.url = f"{drip.url}/webhook"

        with pytest.raises(Unavailable, match=r"the host gave no answer \(ReadTimeoutError\)") as caught:
            ask(control_plane)

    assert caught.value.ambiguous


def test_a_callback_about_a_tenant_without_a_record_keeps_its_outcome(
    aws: Requests, control_plane: ControlPlane
) -> None:
    skipped = callback(control_plane, "/use", tenant_id="unknown", missing="no secret")

    answer = invoke(deciding(skipped), sample("tenant-provisioning"))

    assert statuses(answer) == ["skipped"]
