"""Makes once in a process what AWS's SDK, moto and `ssl` would make anew in each test, although it never changes."""

import functools
import ssl
from collections.abc import Callable
from types import CodeType
from typing import Any

import pytest
from botocore import hooks, session
from moto.core import models
from moto.kms import utils


def make_once(patch: pytest.MonkeyPatch) -> None:
    """Share the service models, what is known of event handlers, keys, and the context with the system's certificates.

    A test that changes a context creates it with `ssl.SSLContext`.
    """
    loader = session.create_loader()
    patch.setattr(session, "create_loader", lambda search_path_string=None: loader)
    patch.setattr(hooks, "accepts_kwargs", _once_for_code(hooks.accepts_kwargs))
    aliaser: Any = hooks.EventAliaser
    patch.setattr(aliaser, "_alias_event_name", _once_for_name(aliaser._alias_event_name))
    patch.setattr(ssl, "create_default_context", _once_without_arguments(ssl.create_default_context))
    # Keys that nothing encrypts with: each table has one.
    patch.setattr(utils, "RSAPrivateKey", functools.cache(utils.RSAPrivateKey))
    # For each of these, moto creates hundreds of patterns for the library `requests`; boto3 needs none of them.
    patch.setattr(models, "RESPONSES_METHODS", [])


def _once_for_code(accepts: Callable[[Any], Any]) -> Callable[[Any], Any]:
    # A cache of the handlers themselves would keep what they refer to.
    known: dict[CodeType, Any] = {}

    def accepts_kwargs(handler: Any) -> Any:
        code = getattr(handler, "__code__", None)
        if code is None:
            return accepts(handler)
        if code not in known:
            known[code] = accepts(handler)
        return known[code]

    return accepts_kwargs


def _once_for_name(alias: Callable[[Any, str], str]) -> Callable[[Any, str], str]:
    names: dict[str, str] = {}

    def alias_event_name(aliaser: Any, name: str) -> str:
        if name not in names:
            names[name] = alias(aliaser, name)
        return names[name]

    return alias_event_name


def _once_without_arguments(create: Callable[..., ssl.SSLContext]) -> Callable[..., ssl.SSLContext]:
    shared = functools.cache(create)
    return lambda *values, **named: create(*values, **named) if any((*values, *named.values())) else shared()
