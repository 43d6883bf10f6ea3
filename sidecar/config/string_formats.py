"""Formats of texts in the configuration.

Each has a description of the expected text, a check, and a pattern for the JSON Schema, which is never stricter than
the check.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from sidecar.config.value_types import StartPosition
from sidecar.domain import timestamps
from sidecar.domain.json_path import InvalidPath, JsonPath

TEMPLATE_WORDS = ("stream", "service", "group")

_TOPIC = r"[A-Za-z0-9._-]{1,249}"
_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252})|\[[0-9A-Fa-f:.%]+\]"
_STEP = r"""[^.\[\]\s"]+"""
_IN_BRACKETS = r"""\[(?:[0-9]{1,9}|\*|"(?:[^"\\]|\\.)*")\]"""
_PATH = rf"(?:{_STEP}|{_IN_BRACKETS})(?:\.{_STEP}|{_IN_BRACKETS})*"
_HEADER = r"[^\s:][^\r\n]*"
_HTTP_URL = re.compile(r"https?://[^\s]+")
_BRACES = re.compile(r"\{([^{}]*)\}")
_SIZE = r"([0-9]{1,12}(?:\.[0-9]{1,6})?)(B|KB|MB|GB|TB)"
_SIZE_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_BUCKET_URL = re.compile(r"(?:s3|gs|az)://[a-z0-9][a-z0-9._-]{1,221}(?:/[^\s?#]*)?")
_REDIS_SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")


@dataclass(frozen=True, slots=True)
class StringFormat:
    """A format of text."""

    expected: str
    fits: Callable[[str], bool]
    pattern: str | None = None
    """Pattern for the JSON Schema. Every valid text contains a match."""
    why_not: Callable[[str], str | None] = lambda text: None
    """Function that explains why a text is invalid, if more can be said than what was expected."""


def _build_format(expected: str, pattern: str) -> StringFormat:
    compiled = re.compile(pattern)
    return StringFormat(expected, lambda text: compiled.fullmatch(text) is not None, f"^(?:{pattern})$")


def parse_start(text: str) -> StartPosition:
    """Parse `latest`, `earliest`, a duration back from now, or an RFC 3339 time. Raises ValueError."""
    if text in ("latest", "earliest"):
        return StartPosition("latest" if text == "latest" else "earliest")
    try:
        return StartPosition("ago", round(timestamps.parse_duration(text) * 1000))
    except ValueError:
        return StartPosition("at", timestamps.parse_rfc3339(text) // 1000)


def parse_size(text: str) -> int:
    """Parse a size such as `50GB` into bytes: decimal units, 1 KB is 1,000 bytes. Raises ValueError."""
    match = re.fullmatch(_SIZE, text)
    if match is None:
        raise ValueError(f"not a size such as 500MB or 50GB: {text[:64]!r}")
    return int(float(match[1]) * _SIZE_UNITS[match[2]])


def format_start(start: StartPosition) -> str:
    """Format a start position as `parse_start` parses it."""
    if start.kind == "ago":
        return timestamps.format_duration(start.value / 1000)
    return timestamps.format_rfc3339(start.value * 1000) or "latest" if start.kind == "at" else start.kind


def _is_topic_or_pattern(text: str) -> bool:
    return _pattern_problem(text) is None if text.startswith("^") else _is_topic(text)


def _is_topic(text: str) -> bool:
    return re.fullmatch(_TOPIC, text) is not None and text not in (".", "..")


def _pattern_problem(text: str) -> str | None:
    if not text.startswith("^"):
        return None
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        return f"{text!r}, which is none: {error}"
    return None


def _is_server_list(text: str) -> bool:
    return all(_is_server(server.strip()) for server in text.split(","))


def _is_server(text: str) -> bool:
    host, colon, port = text.rpartition(":")
    return bool(colon) and _is_host(host) and _is_port(port)


def _is_host(text: str) -> bool:
    if re.fullmatch(_HOST, text):
        return True
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) <= 65_535


def _is_http_url(text: str) -> bool:
    if not _HTTP_URL.fullmatch(text):
        return False
    try:
        parts = urlsplit(text)
        return bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def _is_history_url(text: str) -> bool:
    return bool(text) if "://" not in text else _BUCKET_URL.fullmatch(text) is not None


def _is_redis_url(text: str) -> bool:
    scheme, separator, rest = text.partition("://")
    if scheme not in _REDIS_SCHEMES or not separator or re.search(r"\s", rest):
        return False
    if scheme == "unix":
        return bool(rest)
    servers, _, path = rest.partition("?")[0].rpartition("@")[2].partition("/")
    name, _, database = path.partition("/") if scheme.endswith("sentinel") else ("", "", path)
    if scheme.endswith("sentinel") and not name:
        return False
    is_single_or_cluster = "," not in servers or "+" in scheme
    return (
        is_single_or_cluster
        and all(map(_is_redis_server, servers.split(",")))
        and (not database or database.isdecimal())
    )


def _is_redis_server(text: str) -> bool:
    host, colon, port = text.rpartition(":")
    if text.endswith("]") or not colon:
        return _is_host(text)
    return _is_host(host) and _is_port(port)


def _is_place(text: str) -> bool:
    kind, colon, rest = text.partition(":")
    if kind == "body" and colon:
        try:
            JsonPath.parse(rest)
        except InvalidPath:
            return False
        return re.fullmatch(_PATH, rest) is not None
    return text == "key" or (kind == "header" and re.fullmatch(_HEADER, rest) is not None)


def _template_problem(text: str) -> str | None:
    words = _BRACES.findall(text)
    unknown = [word for word in words if word not in TEMPLATE_WORDS]
    if unknown:
        return f"{{{unknown[0]}}} in {text!r}"
    if "{" in _BRACES.sub("", text) or "}" in _BRACES.sub("", text):
        return f"an unmatched brace in {text!r}"
    if words.count("stream") > 1:
        return f"{{stream}} twice in {text!r}"
    if text == "{stream}":
        return "the stream itself"
    return "empty text" if not text else None


KINDS: dict[str, StringFormat] = {
    "text": StringFormat("some text", bool, "."),
    "name": _build_format(
        "a name of letters, digits, dots, dashes and underscores", r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
    ),
    "servers": StringFormat("HOST:PORT of some brokers, separated by commas", _is_server_list, ":[0-9]{1,5} *$"),
    "topic": StringFormat(
        "the name of a Kafka topic (letters, digits, dots, dashes, underscores)", _is_topic, f"^{_TOPIC}$"
    ),
    "topic_pattern": StringFormat(
        "the name of a Kafka topic, or a regular expression after a ^",
        _is_topic_or_pattern,
        rf"^(?:{_TOPIC}|\^[\s\S]*)$",
        _pattern_problem,
    ),
    "http_url": StringFormat("a URL such as https://HOST:PORT", _is_http_url, "^https?://"),
    "redis_url": StringFormat(
        "a URL such as redis://HOST:PORT/DB, rediss://…, redis+sentinel://H1:P1,H2:P2/MASTER/DB or redis+cluster://H1:P1,H2:P2",
        _is_redis_url,
        rf"^(?:{'|'.join(re.escape(scheme) for scheme in _REDIS_SCHEMES)})://",
    ),
    "history_url": StringFormat(
        "a directory, or s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX", _is_history_url, "."
    ),
    "size": StringFormat(
        "a size such as 500MB or 50GB", lambda text: re.fullmatch(_SIZE, text) is not None, f"^(?:{_SIZE})$"
    ),
    "template": StringFormat(
        "the name of a stream, with {stream}, {service} and {group} for what differs",
        lambda text: _template_problem(text) is None,
        r"^(?:[^{}]|\{(?:stream|service|group)\})+$",
        _template_problem,
    ),
    "place": StringFormat(
        'body:PATH (such as body:data.items[0].id or body:data["a.b"]), header:NAME or key',
        _is_place,
        rf"^(?:body:{_PATH}|header:{_HEADER}|key)$",
    ),
    "redacted": StringFormat(
        'body:PATH (* for any name, such as body:card.* or body:limits["a.b"]) or header:NAME',
        lambda text: text != "key" and _is_place(text),
        rf"^(?:body:{_PATH}|header:{_HEADER})$",
    ),
    "host": StringFormat("an address or host name to listen on", _is_host, "."),
    "reducer": _build_format(
        "auto, merge, merge-patch, after-image, or a function as module:function",
        r"auto|merge|merge-patch|after-image|[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*",
    ),
    "bearer": _build_format("a token of visible ASCII characters, without spaces", r"[!-~]+"),
}
