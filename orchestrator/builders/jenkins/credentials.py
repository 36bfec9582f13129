"""Reads the user and API token for Jenkins from Secrets Manager."""

import base64
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.utilities.parameters import SecretsProvider
from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError

from orchestrator.aws.errors import aws_errors
from orchestrator.errors import ConfigurationError, Unavailable

if TYPE_CHECKING:
    from types_boto3_secretsmanager import SecretsManagerClient

MAX_AGE_SECONDS = 300


class Credentials:
    """Reads the secret with the user and API token when it is first needed, and caches it for five minutes."""

    def __init__(self, secret: str, client: "Callable[[], SecretsManagerClient]") -> None:
        self._secret = secret
        self._client = client
        self._provider: SecretsProvider | None = None

    def authorization(self, *, anew: bool = False) -> str:
        """Return the value of the HTTP header `Authorization` for basic authentication.

        Args:
            anew: Whether to read the secret again, even if the cached one has not expired.

        Raises:
            ConfigurationError: The secret cannot be read, or is not of the form `{"username": "…", "token": "…"}`.
            Unavailable: Secrets Manager was unreachable or too busy.
        """
        try:
            secret = json.loads(self._read(anew))
        except ValueError:
            secret = None
        if not isinstance(secret, dict):
            secret = {}
        user, token = (_text(secret.get(name)) for name in ("username", "token"))
        if not user or ":" in user or not token:
            raise ConfigurationError(
                f'secret {self._secret} is not of the form {{"username": "…", "token": "…"}} with printable texts and '
                "no colon in the username; correct it in Secrets Manager"
            )
        return "Basic " + base64.b64encode(f"{user}:{token}".encode()).decode()

    def _read(self, anew: bool) -> str | bytes:
        try:
            with aws_errors(f"secret {self._secret} with the Jenkins credentials could not be read"):
                if self._provider is None:
                    self._provider = SecretsProvider(boto3_client=self._client())
                try:
                    value = self._provider.get(self._secret, max_age=MAX_AGE_SECONDS, force_fetch=anew)
                except GetParameterError as error:
                    raise error.__context__ or error from None
        except Unavailable as error:
            error.ambiguous = False  # Jenkins has got no request yet, or has refused it
            raise
        return value if isinstance(value, str | bytes) else ""


def _text(value: Any) -> str:
    return value if isinstance(value, str) and value.isprintable() else ""
