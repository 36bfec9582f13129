"""Sends requests to one Jenkins server, with authentication and time limits.

If Jenkins demands a crumb (its token against cross-site request forgery), the crumb is requested, and the request is
sent again with the crumb.
"""

import contextlib
import json
import random
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, NoReturn
from urllib.parse import urlencode, urlsplit

import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, SSLError

from orchestrator.builders.jenkins.credentials import Credentials
from orchestrator.errors import ConfigurationError, JobRejected, Unavailable, shown
from orchestrator.timing import deadline
from orchestrator.timing.http import HTTPPool, HTTPSPool

CONNECT_TIMEOUT_SECONDS = 2
READ_TIMEOUT_SECONDS = 10
CONNECT_ATTEMPTS = 3
_PAUSE_SECONDS = 0.2
_MAX_CONNECTIONS = 32
_MAX_ANSWER_BYTES = 16 * 1024 * 1024
_CHUNK_BYTES = 64 * 1024

# These errors occur before the first byte of a request is sent.
_NOT_SENT = (NewConnectionError, ConnectTimeoutError)
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Unanswered(Exception):
    """A request was sent, but no answer says whether Jenkins carried it out.

    If it was a request to start a job, the caller searches for the run. If the search finds none, the caller raises
    `Unavailable` with this exception's text.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer to an HTTP request to Jenkins.

    Attributes:
        status: The HTTP status.
        headers: The headers; their names are compared without regard to case. If the answer sets cookies, a header
            `Cookie` is added, which a later request can send.
        body: The body. It may hold secrets and is not in `repr`.
        is_whole: Whether the body was read to its end.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    is_whole: bool = True

    @property
    def location(self) -> str:
        """The value of the header `Location`, or an empty text if the answer has no such header."""
        return self.headers.get("Location", "")


class Connection:
    """Sends requests to one Jenkins server.

    Connections for GET requests stay open between events. Lambda freezes the function between events, so an open
    connection may be dead. A POST request that is lost on a dead connection must not be sent again, because Jenkins may
    have acted on the request. Each POST request therefore gets a new connection.

    Attributes:
        url: Jenkins' URL.
        host: The host in Jenkins' URL, and the port if the URL contains one.
    """

    def __init__(
        self,
        url: str,
        credentials: Credentials,
        ca_bundle: str | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Create the connection.

        Args:
            url: Jenkins' URL without a trailing slash. It includes Jenkins' context path, such as `/jenkins`, if there
                is one.
            credentials: Reads the user and API token.
            ca_bundle: Path of a file with the certificates, in PEM form, of the certificate authorities to trust.
                `None` trusts the authorities that the operating system trusts.
            pause: Waits for a number of seconds before another attempt to connect.

        Raises:
            ConfigurationError: The file with the certificates cannot be read, or holds no valid certificate.
        """
        self.url = url
        self.host = urlsplit(url).netloc
        self._credentials = credentials
        self._pause = pause
        self._crumb: Mapping[str, str] = {}
        self._ssl_context = _trusting(ca_bundle)
        self._pool = self._new_pool()

    def post(self, path: str, form: Mapping[str, str], failure: str) -> Answer:
        """Send a form in a POST request.

        Args:
            path: Path below Jenkins' URL, such as `/job/scale-down/build`.
            form: The form's fields; they may hold secrets.
            failure: The beginning of error messages, such as `Jenkins job 'x' was not started`.

        Returns:
            Jenkins' answer. Its status is below 500, but may be a refusal, such as 404.

        Raises:
            Unanswered: Jenkins may have carried out the request. The caller must search for the run before it sends the
                request again.
            Unavailable: Jenkins or Secrets Manager was unreachable or too busy, or too little of the invocation's time
                is left. In each case, Jenkins did not carry out the request.
            ConfigurationError: Jenkins refused the user (401 or 403), the credentials cannot be read, or the server's
                certificate is not trusted.
        """
        answer = self._authenticated("POST", path, urlencode(form).encode(), failure)
        if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise Unanswered(f"{failure}: Jenkins on {self.host} answered {answer.status}; a retry may succeed")
        return answer

    def get(self, path: str, tree: str, failure: str) -> dict[str, Any]:
        """Read an object of Jenkins' remote API (https://www.jenkins.io/doc/book/using/remote-access-api/).

        Args:
            path: Path of the object below Jenkins' URL, without `/api/json`.
            tree: The object's properties to read, in the syntax of the API's parameter `tree`, such as
                `builds[number,url]`.
            failure: The beginning of error messages, such as `Jenkins job 'x' could not be searched`.

        Raises:
            JobRejected: The object does not exist, or the function's Jenkins user may not see it.
            Unavailable: Jenkins or Secrets Manager was unreachable or too busy; Jenkins' answer was missing or
                incomplete, or its status was 500 or above; or too little of the invocation's time is left.
            ConfigurationError: Jenkins refused the function's user (401 or 403), the credentials cannot be read, the
                server's certificate is not trusted, or the answer does not come from Jenkins.
        """
        try:
            answer = self._authenticated("GET", f"{path}/api/json?{urlencode({'tree': tree})}", None, failure)
        except Unanswered as error:
            raise Unavailable(str(error)) from None
        if answer.status == HTTPStatus.NOT_FOUND:
            raise JobRejected(f"{failure}: {self.no_such_job}")
        if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise Unavailable(f"{failure}: Jenkins on {self.host} answered {answer.status}; a retry may succeed")
        if not answer.is_whole:
            raise Unavailable(f"{failure}: the answer of {self.host} was incomplete; a retry may succeed")
        try:
            found = json.loads(answer.body) if answer.status == HTTPStatus.OK else None
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise self.unlike_jenkins(answer, failure)
        return found

    @property
    def no_such_job(self) -> str:
        """The end of the error message for the status 404. The caller adds the beginning, which says what failed."""
        return (
            f"Jenkins on {self.host} answered 404; the job does not exist, or the user may not see it: "
            "create it, correct its name, or allow the user Job/Read"
        )

    def unlike_jenkins(self, answer: Answer, failure: str) -> ConfigurationError:
        """Build the error for an answer that does not come from Jenkins, but from a login page or another server.

        Args:
            answer: The answer.
            failure: The beginning of the error message, such as `Jenkins job 'x' was not started`.
        """
        if answer.status in _REDIRECTS:
            return ConfigurationError(
                f"{failure}: {self.host} redirects ({answer.status}){_destination(answer.location)}; set JENKINS_URL "
                "to the URL at which Jenkins itself answers, behind any login page"
            )
        return ConfigurationError(
            f"{failure}: {self.host} answered {answer.status}, but not as Jenkins does; check JENKINS_URL, and whether "
            "a login page or another server answers in its place"
        )

    def _authenticated(self, method: str, path: str, body: bytes | None, failure: str) -> Answer:
        """Send a request with the user's credentials.

        After the status 401, the credentials are read again. If they have changed, the request is repeated with the new
        credentials. After a 403 that mentions a crumb, the request is repeated with a new crumb. If the last answer is
        401 or 403, `ConfigurationError` is raised; if it is 429, `Unavailable` is raised. Every other answer is
        returned.
        """
        authorization = self._credentials.authorization()
        answer = self._sent(method, path, body, {"Authorization": authorization, **self._crumb}, failure)
        if answer.status == HTTPStatus.UNAUTHORIZED:
            # The token may have been replaced in Secrets Manager. If it was not, Jenkins would only refuse it again.
            replaced = self._credentials.authorization(anew=True)
            if replaced != authorization:
                authorization = replaced
                answer = self._sent(method, path, body, {"Authorization": authorization}, failure)
        if answer.status == HTTPStatus.FORBIDDEN and b"crumb" in answer.body.lower():
            self._crumb = self._new_crumb(authorization, failure)
            answer = self._sent(method, path, body, {"Authorization": authorization, **self._crumb}, failure)
        if answer.status == HTTPStatus.UNAUTHORIZED:
            raise ConfigurationError(
                f"{failure}: Jenkins on {self.host} answered 401; it does not accept the user and token of "
                "JENKINS_CREDENTIALS_SECRET: store a valid API token there"
            )
        if answer.status == HTTPStatus.FORBIDDEN:
            raise ConfigurationError(
                f"{failure}: Jenkins on {self.host} answered 403; allow the user of JENKINS_CREDENTIALS_SECRET "
                "Job/Read and Job/Build for this job, and give it an API token, which needs no crumb"
            )
        if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
            raise Unavailable(f"{failure}: Jenkins on {self.host} answered 429; a retry may succeed", ambiguous=False)
        return answer

    def _new_crumb(self, authorization: str, failure: str) -> Mapping[str, str]:
        # Jenkins has refused the request that needs the crumb, so nothing that fails here is in doubt.
        try:
            answer = self._sent("GET", "/crumbIssuer/api/json", None, {"Authorization": authorization}, failure)
        except Unanswered as error:
            raise Unavailable(str(error), ambiguous=False) from None
        is_down = answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR or answer.status == HTTPStatus.TOO_MANY_REQUESTS
        if is_down or not answer.is_whole:
            raise Unavailable(
                f"{failure}: Jenkins on {self.host} demands a crumb but issued none ({answer.status}); a retry may "
                "succeed",
                ambiguous=False,
            )
        try:
            issued = json.loads(answer.body)
            crumb = {str(issued["crumbRequestField"]): str(issued["crumb"])}
        except (ValueError, KeyError, TypeError):
            raise ConfigurationError(
                f"{failure}: Jenkins on {self.host} demands a crumb but issues none ({answer.status}); give the user "
                "an API token, which needs no crumb"
            ) from None
        # A crumb is valid only together with the cookies of the answer that issued it.
        return {**crumb, "Cookie": answer.headers["Cookie"]} if "Cookie" in answer.headers else crumb

    def _sent(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], failure: str) -> Answer:
        form = {"Content-Type": "application/x-www-form-urlencoded"} if body is not None else {}
        attempt = 1
        while True:
            deadline.require(failure, ambiguous=False)
            try:
                return self._exchange(method, self.url + path, body, {**form, **headers})
            except _NOT_SENT as error:
                pause = attempt * _PAUSE_SECONDS * random.uniform(0.5, 1.5)  # noqa: S311 (jitter)
                if attempt == CONNECT_ATTEMPTS or not deadline.has_time(pause):
                    raise Unavailable(
                        f"{failure}: {self.host} was not reached ({_reason(error)}); a retry may succeed; if none "
                        "does, check JENKINS_URL and the network (VPC, security group)",
                        ambiguous=False,
                    ) from None
                self._pause(pause)
                attempt += 1
            except HTTPError as error:
                self._raise_unanswered(error, failure)

    def _raise_unanswered(self, error: HTTPError, failure: str) -> NoReturn:
        cause = error.args[0] if isinstance(error, SSLError) and error.args else None
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise ConfigurationError(
                f"{failure}: the certificate of {self.host} is not trusted ({cause.verify_message}); name the file "
                "with its authority's certificate in JENKINS_CA_BUNDLE"
            ) from None
        is_closed = isinstance(error, urllib3.exceptions.ProtocolError)
        how = "closed the connection without an answer" if is_closed else f"gave no answer ({_reason(error)})"
        raise Unanswered(f"{failure}: {self.host} {how}; a retry may succeed") from None

    def _new_pool(self) -> urllib3.PoolManager:
        pool = urllib3.PoolManager(
            maxsize=_MAX_CONNECTIONS,
            retries=False,
            timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_SECONDS, read=READ_TIMEOUT_SECONDS),
            ssl_context=self._ssl_context,
        )
        pool.pool_classes_by_scheme = {"http": HTTPPool, "https": HTTPSPool}
        return pool

    def _exchange(self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        with contextlib.ExitStack() as stack:
            # A connection that was kept may be dead, because Lambda may have frozen the function since. A form that is
            # lost on it could not be sent again, so each form gets a new connection.
            pool = self._pool if body is None else stack.enter_context(self._new_pool())
            response = pool.request(
                method, url, body=body, headers=headers, redirect=False, preload_content=False, decode_content=True
            )
            content, is_whole = _read(response)
        cookies = "; ".join(cookie.partition(";")[0] for cookie in response.headers.getlist("Set-Cookie"))
        kept = urllib3.HTTPHeaderDict(response.headers)
        if cookies:
            kept["Cookie"] = cookies
        return Answer(status=response.status, headers=kept, body=content, is_whole=is_whole)


def _read(response: urllib3.BaseHTTPResponse) -> tuple[bytes, bool]:
    """Return the body of an answer, and whether the body was read to its end.

    An incomplete body raises no error, because the status and headers alone show whether Jenkins accepted the request.
    A body of more than 16 MiB is cut, and counts as incomplete.
    """
    content = bytearray()
    try:
        while chunk := response.read1(_CHUNK_BYTES):
            content += chunk
            if len(content) > _MAX_ANSWER_BYTES:
                response.close()
                return bytes(content), False
    except HTTPError:
        response.close()
        return bytes(content), False
    # A connection can be reused only after its answer has been read to the end.
    response.release_conn()
    return bytes(content), True


def _destination(location: str) -> str:
    """Describe a redirect's target for an error message, for example ` to 'https://login.example.com'`.

    The text contains only the URL's scheme and host, because the rest of the URL may hold secrets. If the URL has no
    host, the text is empty.

    Args:
        location: The value of the header `Location`.
    """
    try:
        target = urlsplit(location)
    except ValueError:
        return ""
    return f" to {shown(f'{target.scheme}://{target.hostname}')}" if target.hostname else ""


def _trusting(ca_bundle: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_bundle)
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise ConfigurationError(
            f"JENKINS_CA_BUNDLE {shown(ca_bundle)} cannot be used ({reason}); name a file of the function (in its "
            "package or a layer) that holds certificates in PEM form"
        ) from None


def _reason(error: Exception) -> str:
    return type(error).__name__.removesuffix("Error")
