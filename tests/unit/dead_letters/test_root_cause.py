"""Root causes in stack traces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.dead_letters.root_cause import parse_root_cause
from sidecar.domain.model import RootCause

PYTHON = """Traceback (most recent call last):
  File "a.py", line 1, in <module>
    connect()
ConnectionRefusedError: [Errno 111] Connection refused

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "a.py", line 3, in <module>
    raise PaymentError("no bank") from error
shop.PaymentError: no bank
"""
DOTNET = """System.InvalidOperationException: outer
 ---> System.Net.Http.HttpRequestException: middle
 ---> System.Net.Sockets.SocketException (111): Connection refused
   at System.Net.Sockets.Socket.Connect()
   --- End of inner exception stack trace ---
"""
NODE = """Error: outer
    at main (/app/a.js:1:1) {
  [cause]: TypeError: total is undefined
      at inner (/app/b.js:2:2)
}"""


@pytest.mark.parametrize(
    ("stacktrace", "expected"),
    [
        ("java.lang.Error: no price\n\tat App.main(App.java:27)", "java.lang.Error: no price"),
        ("a.B: x\n\tat c.D\nCaused by: e.F: y: z\n\t... 3 more\n", "e.F: y: z"),
        ("a.B: x\nCaused by: e.F: y\nCaused by: [CIRCULAR REFERENCE: a.B: x]\n", "e.F: y"),
        ("a.B\n\tSuppressed: c.D\n\tCaused by: e.F: y\n", "a.B"),
        ("a.B: x\nCaused by: com.Fmt: Cannot read `double` from \"lots\": no\n at [Source: UNKNOWN]\n",
         'com.Fmt: Cannot read `double` from "lots": no'),
        ('Exception in thread "main" java.lang.Error: x\n\tat a.B', "java.lang.Error: x"),
        ("java.lang.NullPointerException\n\tat a.B", "java.lang.NullPointerException"),
        (PYTHON, "ConnectionRefusedError: [Errno 111] Connection refused"),
        (NODE, "TypeError: total is undefined"),
        ("\tat a.B(C.java:1)", None),
        ("something went wrong", None),
        ("boom", None),
        ("", None),
    ],
)  # fmt: skip
def test_the_innermost_exception_is_found(stacktrace: str, expected: str | None) -> None:
    cause = parse_root_cause(stacktrace)
    told = None if cause is None else f"{cause.type}: {cause.message}" if cause.message else cause.type
    assert told == expected


def test_dotnet_writes_codes_behind_types() -> None:
    assert parse_root_cause(DOTNET) == RootCause("System.Net.Sockets.SocketException", "Connection refused")


@given(st.text(max_size=200) | st.text(alphabet="aAtCcused by:\n\t.>- ", max_size=200))
def test_no_text_raises(text: str) -> None:
    parse_root_cause(text)
    parse_root_cause(f"Caused by: {text}")
