"""Jenkins as a build system, over HTTP, with every answer that Jenkins gives to a start."""

import base64
import socket
import ssl
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import trustme
import urllib3
from botocore.exceptions import EndpointConnectionError
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import ConfigurationError, Job, JobRejected, Run, Unavailable, Untraceable
from orchestrator.builders.jenkins import Jenkins
from orchestrator.builders.jenkins.connection import Connection
from orchestrator.builders.jenkins.paths import job_path
from orchestrator.builders.jenkins.search import parameters_of
from orchestrator.local.jenkins import JenkinsServer, Parameter
from tests.support.aws import Secrets, no_pause

JOB = "tenants/scale-down"
PARAMETERS = ["tenant", "ORCHESTRATOR_RUN_ID"]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECRET = "do-not-tell"
TOKEN = Secrets.USERS["admin"]


@pytest.fixture
def server() -> Iterator[JenkinsServer]:
    with JenkinsServer(users=Secrets.USERS) as server:
        server.add_job(JOB, PARAMETERS)
        yield server


@pytest.fixture
def guarded() -> Iterator[JenkinsServer]:
    with JenkinsServer(users=Secrets.USERS, crumb_required=True) as server:
        server.add_job(JOB, PARAMETERS)
        yield server


@pytest.fixture
def secrets() -> Secrets:
    return Secrets()


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def jenkins(server: JenkinsServer, secrets: Secrets, warnings: list[str]) -> Jenkins:
    return on(server, secrets, warnings)


def on(server: JenkinsServer, secrets: Secrets | None = None, warnings: list[str] | None = None) -> Jenkins:
    warnings = [] if warnings is None else warnings
    return Jenkins(Connection(server.url, (secrets or Secrets()).credentials, pause=no_pause), warnings.append)


def job(name: str = JOB, run_id: str = "run-1", **variables: str) -> Job:
    sent = {"tenant": SECRET, "ORCHESTRATOR_RUN_ID": run_id, **variables}
    return Job(name=name, run_id=run_id, since=NOW, variables=sent)


def posts(server: JenkinsServer) -> list[str]:
    return [request.path for request in server.requests if request.method == "POST"]


def rejected(jenkins: Jenkins, error_type: type[Exception], message: str, name: str = JOB) -> None:
    with pytest.raises(error_type, match=message) as caught:
        jenkins.start(job(name))
    assert type(caught.value) is error_type
    assert str(caught.value).startswith(f"Jenkins job {name!a} was not started: ")
    assert "\n" not in str(caught.value)
    assert SECRET not in str(caught.value)
    assert TOKEN not in str(caught.value)


# Requests


def test_a_job_is_started_with_a_form_and_basic_authentication(jenkins: Jenkins, server: JenkinsServer) -> None:
    jenkins.start(job(odd="ü & = +%\n"))

    request = server.requests[0]
    assert (request.method, request.path) == ("POST", "/job/tenants/job/scale-down/buildWithParameters")
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert base64.b64decode(request.headers["Authorization"].removeprefix("Basic ")).decode() == f"admin:{TOKEN}"
    assert request.query == ()
    assert dict(request.form) == {"tenant": SECRET, "ORCHESTRATOR_RUN_ID": "run-1", "odd": "ü & = +%\n"}


def test_a_normal_start_is_one_request(jenkins: Jenkins, server: JenkinsServer, secrets: Secrets) -> None:
    jenkins.start(job(run_id="first"))  # the first start also reads the declared parameters
    server.requests.clear()

    for number in range(3):
        jenkins.start(job(run_id=f"run-{number}"))

    assert len(server.requests) == 3
    assert secrets.reads == ["jenkins"]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("top", "/job/top/"),
        ("a/b/c/deep", "/job/a/job/b/job/c/job/deep/"),
        ("tenants/scale down", "/job/tenants/job/scale%20down/"),
        ("Mandanten/Größe ändern", "/job/Mandanten/job/Gr%C3%B6%C3%9Fe%20%C3%A4ndern/"),
        ("shop/feature%2Flogin", "/job/shop/job/feature%252Flogin/"),
        ("odd/it's (50%) &+;", "/job/odd/job/it%27s%20%2850%25%29%20%26%2B%3B/"),
    ],
)
def test_every_valid_name_reaches_its_job(jenkins: Jenkins, server: JenkinsServer, name: str, path: str) -> None:
    server.add_job(name, PARAMETERS)

    jenkins.start(job(name))

    assert server.requests[0].path == f"{path}buildWithParameters"
    assert [item.job.path for item in server.waiting()] == [name]


def test_jenkins_may_be_served_under_a_path() -> None:
    with JenkinsServer(users=Secrets.USERS, context_path="/ci/jenkins") as server:
        server.add_job(JOB, PARAMETERS)

        run = on(server).start(job())

        assert run.link == f"{server.url}/queue/item/1/"
        assert on(server).find(job()) == Run(id="1", link=run.link, already_started=True)


# Names outside the job tree


@pytest.mark.parametrize(
    "name",
    [
        "..",
        "../admin",
        "a/../../admin",
        "a/./b",
        "%2e%2e/x",
        "a/%2E%2e",
        "a/%252e%252e/b",
        "x%2f..%2f..%2fmanage",
        "%252F..",
        "a%0d%0ab",
        "//evil.example.com/x",
        "/a",
        "a/",
        "a//b",
        " ",
        "a?delay=0",
        "a#b",
        "a\\b",
        "a\r\nHost: evil",
        "a\0",
        "a\ud800",
        "",
    ],
)
def test_a_name_outside_the_job_tree_is_named_and_refused(jenkins: Jenkins, server: JenkinsServer, name: str) -> None:
    with pytest.raises(JobRejected, match="is not a Jenkins job name") as caught:
        jenkins.start(job(name))
    assert ascii(name) in str(caught.value)
    assert str(caught.value).isprintable()
    assert server.requests == []


@given(st.text(st.sampled_from("ab./%2eEfF5?#\\: é\t") | st.characters(), min_size=1, max_size=12))
def test_no_name_leaves_the_job_tree(name: str) -> None:
    try:
        path = job_path(name)
    except JobRejected:
        return
    parts = urlsplit(f"http://jenkins{path}")
    assert (parts.netloc, parts.query, parts.fragment) == ("jenkins", "", "")
    segments = parts.path.split("/")[1:]
    assert segments[::2] == ["job"] * len(name.split("/"))
    assert [unquote(segment) for segment in segments[1::2]] == name.split("/")
    while path != unquote(path):
        path = unquote(path)
    assert not {".", ".."} & set(path.split("/")[1:])
    assert path.isprintable()


# Answers


def test_201_returns_the_queue_item_and_its_link(jenkins: Jenkins, server: JenkinsServer) -> None:
    assert jenkins.start(job()) == Run(id="1", link=f"{server.url}/queue/item/1/")


def test_the_link_uses_the_configured_server(jenkins: Jenkins, server: JenkinsServer) -> None:
    server.next.answer(201, headers={"Location": "http://10.0.0.7:8080/queue/item/99/"}, on="POST")

    assert jenkins.start(job()) == Run(id="99", link=f"{server.url}/queue/item/99/")


def test_201_without_an_address_counts_as_started(jenkins: Jenkins, server: JenkinsServer) -> None:
    server.next.answer(201, on="POST")

    assert jenkins.start(job()) == Run(link=f"{server.url}/job/tenants/job/scale-down/")


def test_303_returns_the_waiting_item(jenkins: Jenkins, server: JenkinsServer) -> None:
    jenkins.start(job())

    assert jenkins.start(job()) == Run(id="1", link=f"{server.url}/queue/item/1/", already_started=True)
    assert len(server.waiting()) == 1


def test_302_to_the_job_means_that_the_queue_refused_it(jenkins: Jenkins, server: JenkinsServer) -> None:
    server.add_job("Größe/a b", PARAMETERS).refusing = True

    rejected(jenkins, JobRejected, "answered 302; its queue refused the job", "Größe/a b")


@pytest.mark.parametrize("location", [".", "./", "/job/tenants/job/scale-down"])
def test_302_to_the_job_in_another_form_means_the_same(jenkins: Jenkins, server: JenkinsServer, location: str) -> None:
    server.next.answer(302, headers={"Location": location}, on="POST")

    rejected(jenkins, JobRejected, "its queue refused the job")


@pytest.mark.parametrize(
    ("status", "location", "message"),
    [
        (302, "/login?from=%2Fdo-not-tell", r"redirects \(302\); set JENKINS_URL"),
        (302, "http://[", r"redirects \(302\); set JENKINS_URL"),
        (302, "https://sso.example.com/authorize?state=abc", r"redirects \(302\) to 'https://sso.example.com'"),
        (301, "https://jenkins.example.com/job/x/", r"redirects \(301\) to 'https://jenkins.example.com'"),
        (307, "https://u:do-not-tell@other.example.com/x", r"redirects \(307\) to 'https://other.example.com'"),
    ],
)
def test_a_redirect_elsewhere_is_an_error_and_not_followed(
    jenkins: Jenkins, server: JenkinsServer, status: int, location: str, message: str
) -> None:
    server.next.answer(status, headers={"Location": location}, on="POST")

    rejected(jenkins, ConfigurationError, message)
    assert len(server.requests) == 1


def test_a_login_page_is_a_configuration_error(jenkins: Jenkins, server: JenkinsServer) -> None:
    server.next.answer(200, "<html>Please log in", times=2)

    rejected(jenkins, ConfigurationError, "answered 200, but not as Jenkins does; check JENKINS_URL")
    with pytest.raises(ConfigurationError, match="not as Jenkins does"):
        jenkins.find(job())


def test_400_leads_to_a_start_without_parameters_from_then_on(
    jenkins: Jenkins, server: JenkinsServer, warnings: list[str]
) -> None:
    server.add_job("plain", parameterised=False)

    run = jenkins.start(job("plain", "run-1"))
    server.run_queue()
    jenkins.start(job("plain", "run-2"))

    assert run.id == "1"
    assert posts(server) == ["/job/plain/buildWithParameters", "/job/plain/build", "/job/plain/build"]
    assert [request.form for request in server.requests if request.path.endswith("/build")] == [(), ()]
    assert len(warnings) == 1


def test_a_job_that_declares_parameters_later_gets_them(jenkins: Jenkins, server: JenkinsServer) -> None:
    server.add_job("plain", parameterised=False)
    jenkins.start(job("plain", "run-1"))
    server.add_job("plain", PARAMETERS)

    jenkins.start(job("plain", "run-2"))
    jenkins.start(job("plain", "run-3"))

    assert posts(server)[2:] == ["/job/plain/build", *["/job/plain/buildWithParameters"] * 2]
    assert server.waiting()[-1].values == {"tenant": SECRET, "ORCHESTRATOR_RUN_ID": "run-3"}


def test_400_with_and_without_parameters_is_a_rejection(jenkins: Jenkins, server: JenkinsServer) -> None:
    server.next.answer(400, times=2)

    rejected(jenkins, JobRejected, "answered 400; check the parameters")


def test_401_makes_the_secret_be_read_again_once(jenkins: Jenkins, server: JenkinsServer, secrets: Secrets) -> None:
    jenkins.start(job(run_id="run-1"))
    server.users["admin"] = "new-token"
    secrets.secret = '{"username": "admin", "token": "new-token"}'

    jenkins.start(job(run_id="run-2"))

    assert secrets.reads == ["jenkins"] * 2
    assert len(server.waiting()) == 2


def test_401_with_an_unchanged_secret_is_a_configuration_error(
    jenkins: Jenkins, server: JenkinsServer, secrets: Secrets
) -> None:
    server.users["admin"] = "another-token"

    rejected(jenkins, ConfigurationError, "answered 401; it does not accept the user and token of JENKINS_CREDENTIALS")
    assert secrets.reads == ["jenkins"] * 2
    assert len(server.requests) == 1


def test_403_that_demands_a_crumb_is_retried_with_one(guarded: JenkinsServer) -> None:
    jenkins = on(guarded)

    jenkins.start(job(run_id="run-1"))
    jenkins.start(job(run_id="run-2"))

    assert len(guarded.waiting()) == 2
    paths = [request.path for request in guarded.requests]
    assert paths.count("/crumbIssuer/api/json") == 1
    assert len(posts(guarded)) == 3


def test_a_crumb_whose_session_has_ended_is_replaced(guarded: JenkinsServer) -> None:
    jenkins = on(guarded)
    jenkins.start(job(run_id="run-1"))
    guarded.expire_sessions()

    jenkins.start(job(run_id="run-2"))

    assert len(guarded.waiting()) == 2


def test_a_refused_crumb_is_a_configuration_error(guarded: JenkinsServer) -> None:
    guarded.next.answer(403, "No valid crumb was included", on="POST", times=2)

    rejected(on(guarded), ConfigurationError, "answered 403; .* give it an API token, which needs no crumb")
    assert len(posts(guarded)) == 2


def test_a_missing_crumb_issuer_is_a_configuration_error(guarded: JenkinsServer) -> None:
    guarded.next.answer(404, on="crumbIssuer")

    rejected(on(guarded), ConfigurationError, r"demands a crumb but issues none \(404\)")


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_crumb_issuer_that_is_out_of_order_may_work_again(guarded: JenkinsServer, status: int) -> None:
    guarded.next.answer(status, on="crumbIssuer")

    with pytest.raises(Unavailable, match=rf"demands a crumb but issued none \({status}\)") as caught:
        on(guarded).start(job())
    assert not caught.value.ambiguous


def test_a_crumb_issuer_that_gives_no_answer_leaves_nothing_in_doubt(guarded: JenkinsServer) -> None:
    guarded.next.drop(on="crumbIssuer")

    with pytest.raises(Unavailable) as caught:
        on(guarded).start(job())
    assert not caught.value.ambiguous
    assert len(posts(guarded)) == 1


def test_credentials_that_cannot_be_read_leave_nothing_in_doubt(server: JenkinsServer) -> None:
    class Unreachable(Secrets):
        def get_secret_value(self, SecretId: str) -> dict[str, str | bytes]:  # noqa: N803 (the SDK's name)
            raise EndpointConnectionError(endpoint_url="https://secretsmanager")

    with pytest.raises(Unavailable, match="could not be read") as caught:
        on(server, Unreachable()).start(job())
    assert not caught.value.ambiguous
    assert server.requests == []


def test_403_without_a_crumb_is_a_missing_permission() -> None:
    with JenkinsServer(users=Secrets.USERS, read_only=["admin"]) as server:
        server.add_job(JOB, PARAMETERS)

        rejected(on(server), ConfigurationError, "answered 403; allow the user of JENKINS_CREDENTIALS_SECRET Job/Read")
        assert len(server.requests) == 1


def test_the_error_for_404_mentions_a_missing_permission(jenkins: Jenkins, server: JenkinsServer) -> None:
    server.add_job("hidden", PARAMETERS, hidden_from=["admin"])

    rejected(jenkins, JobRejected, "answered 404; the job does not exist, or the user may not see it", "hidden")


def test_the_error_for_409_names_the_disabled_job(jenkins: Jenkins, server: JenkinsServer) -> None:
    server.add_job("off", PARAMETERS, disabled=True)

    rejected(jenkins, JobRejected, "answered 409; the job is disabled", "off")


def test_429_is_retried(jenkins: Jenkins, server: JenkinsServer) -> None:
    server.next.answer(429, on="POST")

    rejected(jenkins, Unavailable, "answered 429")


# A request that may have arrived is searched for, not repeated


def test_a_form_is_not_sent_again_after_a_dropped_connection(jenkins: Jenkins, server: JenkinsServer) -> None:
    """A proxy may drop the connection and still deliver the request two seconds later."""
    server.next.drop(on="POST")

    with pytest.raises(Unavailable, match="closed the connection without an answer") as caught:
        jenkins.start(job())
    assert caught.value.ambiguous
    (late,) = (request for request in server.requests if request.method == "POST")
    urllib3.request("POST", server.url + late.path, body=late.body, headers=dict(late.headers))

    run = jenkins.find(job())
    assert run is not None
    assert run.already_started
    assert len(server.waiting()) == 1


def test_a_form_is_not_sent_on_an_idle_connection(jenkins: Jenkins, server: JenkinsServer) -> None:
    jenkins.start(job("tenants/scale-down", "run-1"))
    server.close_connections()  # as happens while a function is frozen

    jenkins.start(job("tenants/scale-down", "run-2"))

    forms = [request.connection for request in server.requests if request.method == "POST"]
    others = {request.connection for request in server.requests if request.method == "GET"}
    assert len(forms) == len(set(forms)) == 2
    assert not others & set(forms)


def test_a_form_that_may_have_arrived_is_not_sent_again_if_runs_cannot_be_found(
    jenkins: Jenkins, server: JenkinsServer
) -> None:
    server.add_job("forgetful", ["tenant"])
    server.next.drop(on="POST", after_acting=True)

    rejected(jenkins, Unavailable, "closed the connection without an answer", "forgetful")
    assert len(server.waiting()) == 1


def test_the_build_of_a_lost_answer_is_found_with_its_number(server: JenkinsServer) -> None:
    jenkins = on(server)
    server.next.drop(on="POST", after_acting=True)
    # The item has left the queue before the search.
    server.next.answer(200, '{"items": []}', on="/queue")

    server.next.answer(503, on="GET /job")
    with pytest.raises(Unavailable):
        jenkins.start(job())
    server.run_queue()

    run = jenkins.find(job())
    assert run is not None
    assert (run.id, run.build_number, run.already_started) == ("1", 1, True)
    assert run.build_link == f"{server.url}/job/tenants/job/scale-down/1/"


def test_a_failed_search_after_a_lost_answer_leaves_the_start_in_doubt(jenkins: Jenkins, server: JenkinsServer) -> None:
    server.next.drop(on="POST", after_acting=True)
    server.next.answer(503, on="GET")

    rejected(jenkins, Unavailable, "closed the connection without an answer")
    assert len(posts(server)) == 1


def test_a_form_to_a_silent_server_is_sent_once(server: JenkinsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.builders.jenkins.connection.READ_TIMEOUT_SECONDS", 0.2)
    server.next.stall(on="POST")

    rejected(on(server), Unavailable, r"gave no answer \(ReadTimeout\)")
    assert len(posts(server)) == 1


def test_an_unreachable_server_is_tried_three_times() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    pauses: list[float] = []

    with pytest.raises(Unavailable, match="was not reached") as caught:
        Jenkins(Connection(url, Secrets().credentials, pause=pauses.append), pytest.fail).start(job())
    assert not caught.value.ambiguous
    assert [0.1 <= pauses[0] <= 0.3, 0.2 <= pauses[1] <= 0.6] == [True, True]
    assert len(pauses) == 2


def test_a_search_that_stops_early_is_untraceable(
    jenkins: Jenkins, server: JenkinsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.builders.jenkins.search._MAX_PAGES", 1)
    for number in range(110):
        jenkins.start(job(run_id=f"run-{number}"))
    server.run_queue()

    with pytest.raises(Untraceable, match=r"run run-0 of Jenkins job .* may have been started"):
        jenkins.find(job(run_id="run-0"))


def test_a_run_is_found_even_if_the_clock_of_jenkins_is_behind(server: JenkinsServer) -> None:
    jenkins = on(server)
    for number in range(60):
        jenkins.start(job(run_id=f"run-{number}"))
    server.run_queue()
    event = replace(job(run_id="run-0"), since=NOW + timedelta(minutes=4))

    found = jenkins.find(event)

    assert found is not None
    assert found.build_number == 1


# Run ids and results


def test_a_job_that_does_not_declare_the_run_id_is_warned_about_once(
    jenkins: Jenkins, server: JenkinsServer, warnings: list[str]
) -> None:
    server.add_job("forgetful", ["tenant"])

    jenkins.start(job("forgetful", "run-1"))
    jenkins.start(job("forgetful", "run-2"))
    jenkins.start(job(JOB))

    (warning,) = warnings
    assert warning.startswith("Jenkins job 'forgetful' does not declare the parameter ORCHESTRATOR_RUN_ID")
    assert warning.endswith("string(name: 'ORCHESTRATOR_RUN_ID', defaultValue: '')")


def test_failed_look_ups_after_the_start_do_not_fail_it(server: JenkinsServer) -> None:
    server.next.answer(503, on="GET", times=2)
    jenkins = Jenkins(Connection(server.url, Secrets().credentials, pause=no_pause), pytest.fail, build_lookup=True)

    assert jenkins.start(job()) == Run(id="1", link=f"{server.url}/queue/item/1/")


@pytest.mark.parametrize("answer", ['{"property": null}', '{"property": [null]}', "[]", "{", "<html>", ""])
def test_unusable_look_ups_after_the_start_do_not_fail_it(server: JenkinsServer, answer: str) -> None:
    server.next.answer(200, answer, on="GET", times=2)
    jenkins = Jenkins(Connection(server.url, Secrets().credentials, pause=no_pause), pytest.fail, build_lookup=True)

    assert jenkins.start(job()) == Run(id="1", link=f"{server.url}/queue/item/1/")


@pytest.mark.parametrize("answer", ['{"items": null}', '{"items": [null]}', '{"items": [{"actions": 7}]}', "[]"])
def test_an_unusable_answer_to_a_search_is_a_configuration_error(server: JenkinsServer, answer: str) -> None:
    server.next.answer(200, answer, on="GET")

    with pytest.raises(ConfigurationError, match="check JENKINS_URL"):
        on(server).find(job())


def test_a_job_counts_as_started_even_if_the_answer_is_cut_short(server: JenkinsServer) -> None:
    location = {"Location": f"{server.url}/queue/item/7/", "Content-Length": "100"}
    server.next.answer(201, "cut short", location, on="POST")

    assert on(server).start(job()).id == "7"


def test_an_answer_to_a_search_that_is_cut_short_is_unavailable(server: JenkinsServer) -> None:
    server.next.answer(200, '{"items": [', {"Content-Length": "100"}, on="GET")

    with pytest.raises(Unavailable, match="was incomplete"):
        on(server).find(job())


@pytest.mark.parametrize("started", [False, True])
def test_the_build_is_looked_up_once_if_that_is_turned_on(started: bool) -> None:
    with JenkinsServer(users=Secrets.USERS, auto_start=started) as server:
        server.add_job(JOB, PARAMETERS)
        jenkins = Jenkins(Connection(server.url, Secrets().credentials, pause=no_pause), pytest.fail, build_lookup=True)

        run = jenkins.start(job())

        looked_up = [request for request in server.requests if request.path == "/queue/item/1/api/json"]
        assert len(looked_up) == 1
        assert run.build_number == (1 if started else None)
        assert run.build_link == (f"{server.url}/job/tenants/job/scale-down/1/" if started else None)


def test_a_secret_run_id_parameter_does_not_break_the_search(jenkins: Jenkins, server: JenkinsServer) -> None:
    server.add_job(JOB, [Parameter("ORCHESTRATOR_RUN_ID", secret=True)])
    jenkins.start(job())
    server.run_queue()

    assert jenkins.find(job()) is None


def test_a_variable_that_jenkins_reserves_is_refused(jenkins: Jenkins, server: JenkinsServer) -> None:
    with pytest.raises(JobRejected, match="Jenkins reserves the variable 'delay'"):
        jenkins.start(job(delay="1000000"))
    assert server.requests == []


# Credentials


@pytest.mark.parametrize(
    "secret",
    [
        "no json",
        b"\xff\xfe",
        "[]",
        "{}",
        '{"username": "admin"}',
        '{"username": "admin", "token": ""}',
        '{"username": "ad:min", "token": "do-not-tell"}',
        '{"username": "admin", "token": "do-not-tell\\r\\nX: y"}',
        '{"username": 7, "token": "do-not-tell"}',
    ],
)
def test_a_malformed_secret_is_an_error_without_its_content(server: JenkinsServer, secret: str | bytes) -> None:
    with pytest.raises(ConfigurationError, match="secret jenkins is not of the form") as caught:
        on(server, Secrets(secret)).start(job())
    assert SECRET not in str(caught.value)
    assert server.requests == []


# TLS


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secure(authority: trustme.CA) -> Iterator[JenkinsServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with JenkinsServer(users=Secrets.USERS, ssl_context=context) as server:
        server.add_job(JOB, PARAMETERS)
        yield server


def test_a_private_authority_is_trusted_if_it_is_named(
    secure: JenkinsServer, authority: trustme.CA, tmp_path: Path
) -> None:
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))

    run = Jenkins(Connection(secure.url, Secrets().credentials, str(bundle), pause=no_pause), pytest.fail).start(job())

    assert run.link is not None
    assert run.link.startswith("https://")


def test_a_private_authority_is_not_trusted_otherwise(secure: JenkinsServer) -> None:
    rejected(on(secure), ConfigurationError, r"certificate of 127.0.0.1:\d+ is not trusted .* JENKINS_CA_BUNDLE")
    assert secure.requests == []


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_bundle_that_cannot_be_used_is_named(server: JenkinsServer, tmp_path: Path, content: str | None) -> None:
    bundle = tmp_path / "ca.pem"
    if content is not None:
        bundle.write_text(content)

    with pytest.raises(ConfigurationError, match=r"JENKINS_CA_BUNDLE '.*ca.pem' cannot be used"):
        Connection(server.url, Secrets().credentials, str(bundle), pause=no_pause)


def test_tls_to_a_server_without_it_is_unavailable(server: JenkinsServer) -> None:
    url = server.url.replace("http://", "https://")

    with pytest.raises(Unavailable, match="gave no answer"):
        Jenkins(Connection(url, Secrets().credentials, pause=no_pause), pytest.fail).start(job())


def test_a_parameter_without_a_name_is_skipped() -> None:
    holder = {"actions": [{}, {"parameters": [{}, {"name": "tenant", "value": "t1"}, {"name": "password"}]}]}

    assert parameters_of(holder) == {"tenant": "t1", "password": None}
