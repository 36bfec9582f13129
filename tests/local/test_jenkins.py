"""The local Jenkins answers as Jenkins does, so that clients written for Jenkins work on it unchanged."""

from __future__ import annotations

import doctest
import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlsplit

import api4jenkins  # type: ignore[import-untyped]  # it ships no types
import jenkins as python_jenkins  # type: ignore[import-untyped]  # it ships no types
import pytest
import urllib3

from orchestrator.local.jenkins import JenkinsServer, Parameter
from orchestrator.local.jenkins import server as module

USERS = {"admin": "s3cret-token", "viewer": "viewer-token"}
JOB = "tenants/scale-down"
JOB_URL = "/job/tenants/job/scale-down"
RUN_TREE = "actions[parameters[name,value]]"
AWKWARD_NAMES = [
    "tenants/scale down",
    "Mandanten/Größe ändern",
    "shop/feature%2Flogin",
    "a/b/c/deep",
    "top-level",
    "odd/it's (50%) #1?",
]


class Client:
    """A client without redirects and retries."""

    def __init__(self, server: JenkinsServer, user: str = "admin", token: str | None = None) -> None:
        self._http = urllib3.PoolManager(retries=False, timeout=30)
        self._url = server.url
        self._auth = urllib3.make_headers(basic_auth=f"{user}:{token or USERS[user]}") if user else {}

    def get(self, path: str) -> urllib3.BaseHTTPResponse:
        return self._http.request("GET", self._url + path, headers=self._auth, redirect=False)

    def json(self, path: str) -> Any:
        response = self.get(path)
        assert response.status == 200, response.data
        return response.json()

    def post(
        self, path: str, fields: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> urllib3.BaseHTTPResponse:
        return self._http.request(
            "POST",
            self._url + path,
            fields=dict(fields or {}),
            headers={**self._auth, **(headers or {})},
            encode_multipart=False,
            redirect=False,
        )

    def start(self, headers: Mapping[str, str] | None = None, **fields: str) -> urllib3.BaseHTTPResponse:
        return self.post(f"{JOB_URL}/buildWithParameters", fields, headers)

    def crumb(self) -> dict[str, str]:
        response = self.get("/crumbIssuer/api/json")
        issued = response.json()
        cookie = response.headers["Set-Cookie"].split(";")[0]
        return {issued["crumbRequestField"]: issued["crumb"], "Cookie": cookie}


@pytest.fixture
def server() -> Iterator[JenkinsServer]:
    with JenkinsServer(users=USERS, read_only=["viewer"]) as server:
        server.add_job(JOB, ["tenant", "ORCHESTRATOR_RUN_ID"])
        server.add_job("plain", parameterised=False)
        yield server


@pytest.fixture
def guarded() -> Iterator[JenkinsServer]:
    with JenkinsServer(users=USERS, crumb_required=True) as server:
        server.add_job(JOB, ["tenant", "size"])
        server.add_job("plain", parameterised=False)
        yield server


@pytest.fixture
def client(server: JenkinsServer) -> Client:
    return Client(server)


# Starting a job


def test_a_scheduled_build_is_answered_201_with_the_address_of_its_queue_item(
    server: JenkinsServer, client: Client
) -> None:
    response = client.start(tenant="acme")

    assert response.status == 201
    assert response.headers["Location"] == f"{server.url}/queue/item/1/"


def test_an_identical_waiting_item_is_answered_303_with_the_same_address(server: JenkinsServer, client: Client) -> None:
    first = client.start(tenant="acme")
    second = client.start(tenant="acme")

    assert second.status == 303
    assert second.headers["Location"] == first.headers["Location"]
    assert len(server.run_queue()) == 1


def test_items_with_other_parameters_wait_side_by_side(server: JenkinsServer, client: Client) -> None:
    assert [client.start(tenant=tenant).status for tenant in ("acme", "globex")] == [201, 201]
    assert len(server.waiting()) == 2


def test_identical_requests_at_the_same_moment_make_one_item(server: JenkinsServer) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: Client(server).start(tenant="acme").status, range(8)))

    assert sorted(answers) == [201] + [303] * 7
    assert len(server.waiting()) == 1


def test_an_item_that_already_left_the_queue_is_not_joined(server: JenkinsServer, client: Client) -> None:
    client.start(tenant="acme")
    server.run_queue()

    assert client.start(tenant="acme").status == 201
    assert [build.number for build in server.run_queue()] == [2]


def test_a_refused_build_is_redirected_to_the_page_of_the_job(server: JenkinsServer, client: Client) -> None:
    server.add_job("stubborn", ["tenant"]).refusing = True

    response = client.post("/job/stubborn/buildWithParameters", {"tenant": "acme"})

    assert response.status == 302
    assert response.headers["Location"] == "/job/stubborn/"
    assert not server.waiting()


def test_an_undeclared_parameter_is_dropped_and_one_that_is_not_sent_has_its_default(
    server: JenkinsServer, client: Client
) -> None:
    assert client.start(tenant="acme", colour="red").status == 201
    assert client.start(tenant="acme", colour="blue").status == 303
    assert server.run_queue()[0].values == {"tenant": "acme", "ORCHESTRATOR_RUN_ID": ""}


def test_the_value_of_a_password_parameter_is_never_shown(server: JenkinsServer, client: Client) -> None:
    server.add_job("grow", [Parameter("secret", secret=True)])
    client.post("/job/grow/buildWithParameters", {"secret": "hush"})
    server.run_queue()

    queued, built = client.get("/queue/item/1/api/json"), client.get("/job/grow/1/api/json")

    assert b"hush" not in queued.data + built.data
    assert built.json()["actions"][0]["parameters"] == [
        {"_class": "hudson.model.PasswordParameterValue", "name": "secret"}
    ]


@pytest.mark.parametrize(
    ("path", "verb", "reason"),
    [
        ("/job/plain", "buildWithParameters", b"plain is not parameterized"),
        (JOB_URL, "build", b"Nothing is submitted"),
    ],
)
def test_the_verb_for_the_other_type_of_job_is_answered_400(
    server: JenkinsServer, client: Client, path: str, verb: str, reason: bytes
) -> None:
    response = client.post(f"{path}/{verb}", {"tenant": "acme"})

    assert response.status == 400
    assert reason in response.data
    assert not server.waiting()


def test_a_plain_job_that_already_waits_is_answered_201_and_not_queued_again(
    server: JenkinsServer, client: Client
) -> None:
    answers = [client.post("/job/plain/build") for _ in range(2)]

    assert [answer.status for answer in answers] == [201, 201]
    assert len({answer.headers["Location"] for answer in answers}) == 1
    assert [build.job.path for build in server.run_queue()] == ["plain"]


def test_a_job_that_is_unknown_or_hidden_from_the_user_is_answered_404(server: JenkinsServer) -> None:
    server.add_job("hidden", ["tenant"], hidden_from=["viewer"])
    viewer = Client(server, "viewer")

    assert viewer.post("/job/hidden/buildWithParameters").status == 404
    assert viewer.post("/job/tenants/job/nobody/buildWithParameters").status == 404


@pytest.mark.parametrize("verb", ["build", "buildWithParameters"])
def test_a_disabled_job_is_answered_409(server: JenkinsServer, client: Client, verb: str) -> None:
    server.add_job("resting", ["tenant"], disabled=True)

    response = client.post(f"/job/resting/{verb}", {"tenant": "acme"})

    assert response.status == 409
    assert b"resting is not buildable" in response.data


def test_a_get_starts_nothing(server: JenkinsServer, client: Client) -> None:
    assert client.get(f"{JOB_URL}/buildWithParameters?tenant=acme").status == 404
    assert not server.waiting()


# Names


@pytest.mark.parametrize("path", AWKWARD_NAMES)
def test_every_name_that_jenkins_allows_can_be_addressed(server: JenkinsServer, client: Client, path: str) -> None:
    server.add_job(path, ["tenant"])
    url = "".join(f"/job/{quote(name, safe='')}" for name in path.split("/"))

    assert client.post(f"{url}/buildWithParameters", {"tenant": "acme"}).status == 201
    server.run_queue()
    shown = client.json(f"{url}/api/json?tree=fullName,url,builds[url]")
    assert shown["fullName"] == path
    assert client.json(urlsplit(shown["builds"][0]["url"]).path + "api/json?tree=number")["number"] == 1


def test_a_name_is_decoded_once(server: JenkinsServer, client: Client) -> None:
    server.add_job("shop/feature%2Flogin", ["tenant"])

    assert client.get("/job/shop/job/feature%252Flogin/api/json").status == 200
    assert client.get("/job/shop/job/feature%2Flogin/api/json").status == 404
    assert client.get("/job/shop%2Ffeature%252Flogin/api/json").status == 404


def test_a_folder_is_no_job(client: Client) -> None:
    assert [job["name"] for job in client.json("/job/tenants/api/json")["jobs"]] == ["scale-down"]
    assert client.post("/job/tenants/buildWithParameters").status == 404
    assert client.get("/job/nothing/api/json").status == 404


def test_jenkins_can_live_under_a_path() -> None:
    with JenkinsServer(users=USERS, context_path="/jenkins") as server:
        server.add_job("grow", ["tenant"])
        client = Client(server)

        response = client.post("/job/grow/buildWithParameters", {"tenant": "acme"})

        assert response.headers["Location"] == f"{server.url}/queue/item/1/"
        assert client.json("/job/grow/api/json?tree=url")["url"] == f"{server.url}/job/grow/"
        root, headers = server.url.removesuffix("/jenkins"), urllib3.make_headers(basic_auth=f"admin:{USERS['admin']}")
        assert urllib3.request("GET", f"{root}/job/grow/api/json", headers=headers, retries=False).status == 404


# Users


@pytest.mark.parametrize(("user", "token"), [("admin", "wrong"), ("nobody", "s3cret-token"), ("", None)])
def test_a_request_without_the_right_credentials_is_answered_401(
    server: JenkinsServer, user: str, token: str | None
) -> None:
    assert Client(server, user, token).start(tenant="acme").status == 401
    assert not server.waiting()


def test_a_user_who_may_only_look_is_answered_403(server: JenkinsServer) -> None:
    viewer = Client(server, "viewer")

    response = viewer.start(tenant="acme")

    assert response.status == 403
    assert b"viewer is missing the Job/Build permission" in response.data
    assert viewer.json(f"{JOB_URL}/api/json")["buildable"] is True


def test_a_token_can_be_replaced_while_the_server_runs(server: JenkinsServer, client: Client) -> None:
    server.users["admin"] = "rotated"

    assert client.start().status == 401
    assert Client(server, "admin", "rotated").start().status == 201


def test_a_post_without_the_demanded_crumb_is_answered_403(guarded: JenkinsServer) -> None:
    response = Client(guarded).start(tenant="acme")

    assert response.status == 403
    assert b"No valid crumb was included in the request" in response.data
    assert not guarded.waiting()


def test_a_crumb_works_with_the_session_it_was_issued_in(guarded: JenkinsServer) -> None:
    client = Client(guarded)
    crumb = client.crumb()

    assert client.start(headers=crumb).status == 201
    assert client.start(headers={"Jenkins-Crumb": crumb["Jenkins-Crumb"]}).status == 403


def test_a_crumb_ends_with_its_session(guarded: JenkinsServer) -> None:
    client = Client(guarded)
    crumb = client.crumb()
    guarded.expire_sessions()

    assert client.start(headers=crumb).status == 403
    assert client.start(headers=client.crumb()).status == 201


# From the queue to the build


def test_a_waiting_item_has_a_reason_and_no_build(client: Client) -> None:
    client.start(tenant="acme")

    item = client.json("/queue/item/1/api/json")

    assert item["_class"] == "hudson.model.Queue$WaitingItem"
    assert item["why"] == "In the quiet period. Expires in 5.0 sec"
    assert "executable" not in item


def test_an_item_that_left_the_queue_names_its_build(server: JenkinsServer, client: Client) -> None:
    client.start(tenant="acme")
    server.run_queue()

    item = client.json("/queue/item/1/api/json")

    assert item["why"] is None
    assert item["executable"] == {
        "_class": "org.jenkinsci.plugins.workflow.job.WorkflowRun",
        "number": 1,
        "url": f"{server.url}{JOB_URL}/1/",
    }


def test_the_quiet_period_ends_when_the_clock_says_so(server: JenkinsServer, client: Client) -> None:
    client.start(tenant="acme")

    server.advance(4.9)
    assert not server.builds(JOB)
    server.advance(0.1)
    assert [build.number for build in server.builds(JOB)] == [1]


def test_a_cancelled_item_has_no_build(server: JenkinsServer, client: Client) -> None:
    client.start(tenant="acme")

    assert client.post("/queue/cancelItem?id=1").status == 204
    item = client.json("/queue/item/1/api/json")
    assert (item["cancelled"], item["executable"]) == (True, None)
    assert server.run_queue() == []


@pytest.mark.parametrize("verb", ["GET", "POST"])
def test_an_unknown_item_is_answered_404(client: Client, verb: str) -> None:
    response = client.get("/queue/item/7/api/json") if verb == "GET" else client.post("/queue/cancelItem?id=7")

    assert response.status == 404


def test_an_item_starts_at_once_on_a_server_that_starts_builds_itself() -> None:
    with JenkinsServer(users=USERS, auto_start=True) as server:
        server.add_job(JOB, ["tenant"])

        Client(server).start(tenant="acme")

        assert [build.number for build in server.builds(JOB)] == [1]


@pytest.mark.parametrize("result", ["SUCCESS", "FAILURE", "ABORTED"])
def test_a_build_runs_until_it_is_given_a_result(server: JenkinsServer, client: Client, result: str) -> None:
    server.enqueue(JOB, {"tenant": "acme"})
    server.run_queue()

    running = client.json(f"{JOB_URL}/1/api/json")
    server.finish(JOB, 1, result)
    ended = client.json(f"{JOB_URL}/1/api/json")

    assert (running["building"], running["result"]) == (True, None)
    assert (ended["building"], ended["result"]) == (False, result)


# Reading


def test_the_declared_parameters_of_a_job_can_be_listed(client: Client) -> None:
    declared = client.json(f"{JOB_URL}/api/json?tree=property[parameterDefinitions[name]]")
    none = client.json("/job/plain/api/json?tree=property[parameterDefinitions[name]]")

    names = [p["name"] for p in declared["property"][0]["parameterDefinitions"]]
    assert names == ["tenant", "ORCHESTRATOR_RUN_ID"]
    assert set(declared) == {"_class", "property"}
    assert none["property"] == []


def test_builds_and_their_parameters_can_be_listed_newest_first(server: JenkinsServer, client: Client) -> None:
    for tenant in ("acme", "globex", "initech"):
        server.enqueue(JOB, {"tenant": tenant})
    server.run_queue()

    builds = client.json(f"{JOB_URL}/api/json?tree=builds[number,url,{RUN_TREE}]{{0,2}}")["builds"]

    assert [build["number"] for build in builds] == [3, 2]
    assert set(builds[0]) == {"_class", "number", "url", "actions"}
    assert builds[0]["actions"] == [
        {
            "_class": "hudson.model.ParametersAction",
            "parameters": [{"_class": "hudson.model.StringParameterValue", "name": "tenant", "value": "initech"}],
        },
        {"_class": "hudson.model.CauseAction"},
        {},
    ]


def test_only_the_newest_hundred_builds_are_listed_unless_a_tree_names_all(
    server: JenkinsServer, client: Client
) -> None:
    for number in range(103):
        server.enqueue(JOB, {"tenant": str(number)})
    server.run_queue()

    shown = client.json(f"{JOB_URL}/api/json?tree=builds[number],allBuilds[number]")
    page = client.json(f"{JOB_URL}/api/json?tree=allBuilds[number]{{100,200}}")["allBuilds"]

    assert [len(shown["builds"]), len(shown["allBuilds"])] == [100, 103]
    assert [build["number"] for build in page] == [3, 2, 1]
    assert "allBuilds" not in client.json(f"{JOB_URL}/api/json")


def test_waiting_items_and_their_parameters_can_be_listed(server: JenkinsServer, client: Client) -> None:
    client.start(tenant="acme", ORCHESTRATOR_RUN_ID="run-1")

    queue = client.json(f"/queue/api/json?tree=items[id,url,task[url],{RUN_TREE}]")

    [item] = queue["items"]
    assert (item["id"], item["url"]) == (1, "queue/item/1/")
    assert item["task"]["url"] == f"{server.url}{JOB_URL}/"
    values = {p["name"]: p["value"] for p in item["actions"][0]["parameters"]}
    assert values == {"tenant": "acme", "ORCHESTRATOR_RUN_ID": "run-1"}
    server.run_queue()
    assert client.json("/queue/api/json")["items"] == []


@pytest.mark.parametrize("tree", ["a[b", "a]", "a[]", "", "a{x}", "a{1", ",a", "a,"])
def test_a_malformed_tree_is_answered_500(client: Client, tree: str) -> None:
    response = client.get(f"/api/json?tree={quote(tree)}")

    assert response.status == 500
    assert b"Malformed tree expression" in response.data


def test_a_depth_is_refused_unless_a_tree_overrides_it(client: Client) -> None:
    assert client.get("/api/json?depth=1").status == 501
    assert client.get("/api/json?depth=1&tree=url").status == 200


# Faults


def test_the_next_answer_can_be_scripted(server: JenkinsServer, client: Client) -> None:
    server.next.answer(503, "try later", {"Retry-After": "7"}, times=2)

    first, second, third = (client.start(tenant="acme") for _ in range(3))

    assert (first.status, first.data, first.headers["Retry-After"]) == (503, b"try later", "7")
    assert (second.status, third.status) == (503, 201)


def test_a_script_can_pick_its_request(server: JenkinsServer, client: Client) -> None:
    server.next.answer(500, on="GET /queue")

    assert client.start(tenant="acme").status == 201
    assert client.get("/queue/api/json").status == 500
    assert client.get("/queue/api/json").status == 200


@pytest.mark.parametrize("after_acting", [False, True])
def test_a_connection_can_be_closed_without_an_answer(
    server: JenkinsServer, client: Client, after_acting: bool
) -> None:
    server.next.drop(on="POST", after_acting=after_acting)

    with pytest.raises(urllib3.exceptions.ProtocolError):
        client.start(tenant="acme")
    assert len(server.waiting()) == after_acting


def test_an_answer_can_be_replaced_after_the_request_took_effect(server: JenkinsServer, client: Client) -> None:
    server.next.answer(502, after_acting=True)

    assert client.start(tenant="acme").status == 502
    assert len(server.waiting()) == 1


def test_an_answer_can_break_off_in_the_middle(server: JenkinsServer, client: Client) -> None:
    server.next.answer(200, '{"jobs":', {"Content-Length": "4096"})

    with pytest.raises(urllib3.exceptions.ProtocolError):
        client.get("/api/json")


@pytest.mark.parametrize("after_acting", [False, True])
def test_a_request_can_be_left_without_an_answer(server: JenkinsServer, after_acting: bool) -> None:
    impatient = urllib3.PoolManager(retries=False, timeout=0.05)
    headers = urllib3.make_headers(basic_auth=f"admin:{USERS['admin']}")
    held = server.next.stall(after_acting=after_acting)

    with pytest.raises(urllib3.exceptions.ReadTimeoutError):
        impatient.request("POST", f"{server.url}{JOB_URL}/buildWithParameters", headers=headers)
    assert held.wait(timeout=30)
    assert len(server.waiting()) == after_acting


def test_a_connection_is_kept_alive_until_the_server_closes_it(server: JenkinsServer, client: Client) -> None:
    client.get("/api/json")
    client.start(tenant="acme")
    server.close_connections()
    client.get("/api/json")

    first, second, third = (request.connection for request in server.requests)
    assert first == second != third


def test_a_stopped_server_accepts_no_connection() -> None:
    with JenkinsServer(users=USERS) as server:
        address = urlsplit(server.url)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address.hostname or "", address.port or 0))


def test_every_request_is_logged(server: JenkinsServer, client: Client) -> None:
    client.post(f"{JOB_URL}/buildWithParameters?delay=0", {"tenant": "acme & söhne"}, {"X-Trace": "1"})

    [request] = server.requests
    assert (request.method, request.path) == ("POST", f"{JOB_URL}/buildWithParameters")
    assert request.fields == {"delay": "0", "tenant": "acme & söhne"}
    assert dict(request.form) == {"tenant": "acme & söhne"}
    assert request.headers["x-trace"] == "1"


# Independent clients


@pytest.fixture
def foreign(server: JenkinsServer) -> JenkinsServer:
    for path in (JOB, *AWKWARD_NAMES):
        server.add_job(path, ["tenant", "size"])
    return server


def log_in(server: JenkinsServer) -> python_jenkins.Jenkins:
    return python_jenkins.Jenkins(server.url, "admin", USERS["admin"], timeout=30)


def follow_by_python_jenkins(server: JenkinsServer, path: str) -> None:
    client = log_in(server)

    number = client.build_job(path, {"tenant": "acme"})
    waiting = client.get_queue_item(number)
    server.run_queue()
    started = client.get_queue_item(number)["executable"]["number"]
    running = client.get_build_info(path, started)
    server.finish(path, started, "UNSTABLE")
    ended = client.get_build_info(path, started)

    assert waiting["why"]
    parameters = next(a["parameters"] for a in running["actions"] if "parameters" in a)
    assert {p["name"]: p["value"] for p in parameters} == {"tenant": "acme", "size": ""}
    assert (running["building"], running["result"]) == (True, None)
    assert (ended["building"], ended["result"]) == (False, "UNSTABLE")


@pytest.mark.parametrize("path", [JOB, *AWKWARD_NAMES])
def test_python_jenkins_starts_a_job_and_follows_it_to_its_result(foreign: JenkinsServer, path: str) -> None:
    follow_by_python_jenkins(foreign, path)


def test_python_jenkins_starts_a_job_where_crumbs_are_demanded(guarded: JenkinsServer) -> None:
    follow_by_python_jenkins(guarded, JOB)


def test_python_jenkins_queues_nothing_new_when_it_starts_the_same_twice(foreign: JenkinsServer) -> None:
    # It follows the 303 as a browser does, but a queue item has no page.
    client = log_in(foreign)
    client.build_job(JOB, {"tenant": "acme"})

    with pytest.raises(python_jenkins.NotFoundException):
        client.build_job(JOB, {"tenant": "acme"})
    assert len(client.get_queue_info()) == 1


def test_python_jenkins_starts_a_plain_job(foreign: JenkinsServer) -> None:
    client = log_in(foreign)

    number = client.build_job("plain")
    foreign.run_queue()

    assert client.get_queue_item(number)["executable"]["number"] == 1
    assert client.get_job_info("plain")["lastBuild"]["number"] == 1


def test_python_jenkins_finds_the_jobs_that_exist(foreign: JenkinsServer) -> None:
    client = log_in(foreign)

    assert client.job_exists(JOB)
    assert not client.job_exists("tenants/nobody")


def test_python_jenkins_cancels_an_item(foreign: JenkinsServer) -> None:
    client = log_in(foreign)
    number = client.build_job(JOB, {"tenant": "acme"})

    client.cancel_queue(number)

    assert client.get_queue_info() == []


def test_python_jenkins_raises_its_own_error_for_a_wrong_token(foreign: JenkinsServer) -> None:
    client = python_jenkins.Jenkins(foreign.url, "admin", "wrong", timeout=30)

    with pytest.raises(python_jenkins.JenkinsException, match="401"):
        client.build_job(JOB, {"tenant": "acme"})


@contextmanager
def api4jenkins_on(server: JenkinsServer, token: str = USERS["admin"]) -> Iterator[api4jenkins.Jenkins]:
    # Reading the system's certificates takes longer than a test, and there is no TLS.
    client = api4jenkins.Jenkins(server.url, auth=("admin", token), verify=False)
    try:
        yield client
    finally:
        client.http_client.close()


@pytest.fixture
def api4(foreign: JenkinsServer) -> Iterator[api4jenkins.Jenkins]:
    with api4jenkins_on(foreign) as client:
        yield client


def follow_by_api4jenkins(server: JenkinsServer, client: api4jenkins.Jenkins, path: str) -> None:
    server.enqueue(path, {"tenant": "globex"})
    server.run_queue()  # an older build, still running
    item = client.build_job(path, tenant="acme")
    waiting = item.get_build()
    server.run_queue()
    build = item.get_build()
    server.finish(path, 2, "FAILURE")

    assert waiting is None
    parameters = {parameter.name: parameter.value for parameter in build.get_parameters()}
    assert parameters == {"tenant": "acme", "size": ""}
    assert (build.building, build.result) == (False, "FAILURE")


@pytest.mark.parametrize("path", [JOB, *AWKWARD_NAMES])
def test_api4jenkins_starts_a_job_and_follows_it_to_its_result(
    foreign: JenkinsServer, api4: api4jenkins.Jenkins, path: str
) -> None:
    follow_by_api4jenkins(foreign, api4, path)


def test_api4jenkins_starts_a_job_where_crumbs_are_demanded(guarded: JenkinsServer) -> None:
    with api4jenkins_on(guarded) as client:
        follow_by_api4jenkins(guarded, client, JOB)


def test_api4jenkins_gets_the_waiting_item_when_it_starts_the_same_twice(
    foreign: JenkinsServer, api4: api4jenkins.Jenkins
) -> None:
    first, second = (api4.build_job(JOB, tenant="acme") for _ in range(2))

    assert first == second
    assert [item.id for item in api4.queue] == [first.id]


def test_api4jenkins_starts_a_plain_job(foreign: JenkinsServer, api4: api4jenkins.Jenkins) -> None:
    item = api4.build_job("plain")
    foreign.run_queue()

    assert item.get_build().number == 1
    assert item.get_job().full_name == "plain"


def test_api4jenkins_cancels_an_item(foreign: JenkinsServer, api4: api4jenkins.Jenkins) -> None:
    api4.build_job(JOB, tenant="acme").cancel()

    assert not foreign.waiting()


def test_api4jenkins_reads_a_job_and_its_builds(foreign: JenkinsServer, api4: api4jenkins.Jenkins) -> None:
    foreign.enqueue(JOB, {"tenant": "acme"})
    foreign.run_queue()
    job = api4.get_job(JOB)

    assert [parameter["name"] for parameter in job.get_parameters()] == ["tenant", "size"]
    assert [build.number for build in job] == [1]
    assert job.building is True
    assert api4.get_job("tenants/nobody") is None


def test_api4jenkins_raises_its_own_error_for_a_wrong_token(foreign: JenkinsServer) -> None:
    with api4jenkins_on(foreign, "wrong") as client, pytest.raises(api4jenkins.exceptions.AuthenticationError):
        client.build_job(JOB, tenant="acme")


def test_the_example_in_the_documentation_works() -> None:
    assert doctest.testmod(module).failed == 0
