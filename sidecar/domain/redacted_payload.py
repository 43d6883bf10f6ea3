"""Body and headers of a record as JSON values, redacted: for answers of the API and for files of the history."""

from __future__ import annotations

from sidecar.domain.json_safe import bytes_to_json, to_json, to_text, with_all_digits
from sidecar.domain.model import Decoded, Headers
from sidecar.domain.redaction import Redactor


def redact_headers(redactor: Redactor, decoded: Decoded) -> Headers:
    """Return the record's headers."""
    record = decoded.record
    return redactor.headers(record.headers, flat=record.value is None)


def headers_to_json(headers: Headers) -> list[tuple[str, object]]:
    """Convert headers; values that are not text become `{"base64": …}`."""
    return [(to_text(name), bytes_to_json(value)) for name, value in headers]


def redact_exact_body(redactor: Redactor, decoded: Decoded) -> object:
    """Return the decoded body, its numbers with all their digits."""
    return redactor.body(with_all_digits(decoded.value, decoded.body), flat=decoded.record.value is None)


def body_to_json(redactor: Redactor, decoded: Decoded) -> object:
    """Convert the body; if it could not be decoded, its bytes."""
    if decoded.body is None:
        return bytes_to_json(redactor.raw(decoded.value))
    return to_json(redact_exact_body(redactor, decoded))
