"""Root cause of a failure, parsed from the text of its stack trace.

The parser knows stack traces of the JVM, .NET, Python and Node. The JVM prints the outer exception first and the root
cause as the last `Caused by:`; .NET puts inner exceptions after `--->`, the innermost last; Python prints the first
exception first; Node writes `[cause]:`.
"""

from __future__ import annotations

import re

from sidecar.domain.model import RootCause

MAX_TYPE_CHARACTERS = 500
MAX_CAUSE_MESSAGE_CHARACTERS = 2_000
_JVM_CAUSE = re.compile(r"^Caused by: (?!\[CIRCULAR)(.+)", re.MULTILINE)
"""Indented causes are those of suppressed exceptions."""
_DOTNET_CAUSE = re.compile(r"^ *-{3}> (?:\(Inner Exception #\d+\) )?(.+)", re.MULTILINE)
_NODE_CAUSE = re.compile(r"\[cause\]: (.+)")
_PYTHON_START = "Traceback (most recent call last):"
_FRAME = re.compile(r"^\s+at |^\s+\.\.\. \d+ more|^\s*File \"")
_TYPE = re.compile(
    r"""
    (?:Exception\ in\ thread\ "[^"]*"\ )?
    ([A-Za-z_$][\w$]*(?:[.+/][\w$]+)*(?:[`\[<][\w.,`\[\]<>\ ]*)?)   # class, for .NET with type arguments
    (?:\ \(\d+\))?                                               # .NET: the error's number
    (?::\ ?(.*))?
    """,
    re.DOTALL | re.VERBOSE,
)
_PLAIN_WORD = re.compile(r"[a-z]+")


def parse_root_cause(stacktrace: str) -> RootCause | None:
    """Find the innermost exception of a stack trace: its class and the first line of its message.

    Returns None if no line has the form of an exception.
    """
    if _PYTHON_START in stacktrace:
        return _python_cause(stacktrace)
    for pattern in (_JVM_CAUSE, _DOTNET_CAUSE, _NODE_CAUSE):
        causes = pattern.findall(stacktrace)
        if causes:
            return _exception_line(causes[-1])
    first = next((line for line in stacktrace.split("\n", 5)[:5] if line.strip()), "")
    return None if _FRAME.match(first) else _exception_line(first)


def _python_cause(stacktrace: str) -> RootCause | None:
    """Read the first traceback, the root cause: its exception is the first line after the frames without indent."""
    _, _, rest = stacktrace.partition(_PYTHON_START)
    for line in rest.lstrip("\n").split("\n"):
        if line and not line[0].isspace():
            return _exception_line(line)
    return None


def _exception_line(line: str) -> RootCause | None:
    match = _TYPE.fullmatch(line.strip())
    if match is None or (match[2] is None and _PLAIN_WORD.fullmatch(match[1])):
        return None
    message = (match[2] or "").strip()[:MAX_CAUSE_MESSAGE_CHARACTERS]
    return RootCause(match[1][:MAX_TYPE_CHARACTERS], message or None)
