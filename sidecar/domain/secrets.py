"""Masking of secrets in all printed text: which keys hold them, and how their values are shown instead."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"
_SECRET_KEY = re.compile(
    r"(?:^|[_-])(?:password|passwd|secret|token|credentials?|api[_-]?key|authorization)$", re.IGNORECASE
)
_SECRET_MAPPING = re.compile(r"^(?:headers|oauth\w*)$", re.IGNORECASE)
_SECRET_VARIABLE = re.compile(r"PASS|SECRET|TOKEN|KEY|CREDENTIAL", re.IGNORECASE)
_USERINFO = re.compile(r"(//|\A(?=[^\s/@]+:[^/]*@)).*@", re.DOTALL)
"""Up to the last `@`: passwords that were not escaped hold slashes, spaces and `@` themselves."""
_URL_CREDENTIALS = re.compile(r"([a-z][a-z0-9+.-]*://)[^\s/@:]*:(?![0-9]+/)[^\s@]*@(?=[\w\[])", re.IGNORECASE)
_BARE_CREDENTIALS = re.compile(r"(?<![\w/@:])[^\s/@:'\"(]+:[^\s/@]+@(?=[\w.-]+:[0-9]|\[)")
"""User and password before a host and port, as client libraries quote addresses without their scheme."""
_TOKEN_AS_USER = re.compile(r"(https?://)[^\s/@]+@(?=[\w\[])", re.IGNORECASE)
_URL_PARAMETER = re.compile(
    r"([?&][\w.%-]*(?:pass|pwd|secret|token|key|credential|signature|sig|auth)[\w.%-]*=)[^&#\s]*", re.IGNORECASE
)


def is_secret(key: str) -> bool:
    """Check whether the value under this key of the configuration is a secret, which is never shown."""
    return _SECRET_KEY.search(key) is not None or _SECRET_MAPPING.match(key) is not None


def is_secret_variable(name: str) -> bool:
    """Check whether the name of an environment variable suggests that it holds a secret."""
    return _SECRET_VARIABLE.search(name) is not None


def mask_url(text: str) -> str:
    """Mask the user information and secret query parameters of all URLs in a text."""
    return _URL_PARAMETER.sub(rf"\1{HIDDEN}", _USERINFO.sub(rf"\1{HIDDEN}@", text))


def mask_credentials(text: str) -> str:
    """Mask user and password of addresses within a sentence, such as an error of a client library."""
    if "@" in text:
        text = _TOKEN_AS_USER.sub(rf"\1{HIDDEN}@", _URL_CREDENTIALS.sub(rf"\1{HIDDEN}@", text))
        text = _BARE_CREDENTIALS.sub(f"{HIDDEN}@", text)
    return _URL_PARAMETER.sub(rf"\1{HIDDEN}", text) if "://" in text else text


def mask_secrets(value: Any, key: str = "") -> Any:
    """Return plain data that may be shown: the values of secret keys are masked at any depth; empty ones stay empty."""
    if is_secret(key):
        return dict.fromkeys(value, HIDDEN) if isinstance(value, Mapping) else HIDDEN if value else value
    if isinstance(value, str):
        return mask_url(value)
    if isinstance(value, Mapping):
        return {name: mask_secrets(item, str(name)) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [mask_secrets(item, key) for item in value]
    return value
