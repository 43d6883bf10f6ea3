"""Limits of JSON texts, tested before their values are made: a parser in C cannot be interrupted."""

from __future__ import annotations

import re

MAX_JSON_VALUES = 1_000_000
"""Values in one JSON text, as many as in one event of any other format. A list takes 30 times its bytes in memory."""
_MIN_VALUE_BYTES = 2
"""A value, and the comma or bracket before it."""
_VALUE_MARK = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[^",\[{]++|([,\[{])', re.DOTALL)
"""A string, text between marks, or one of the marks before values. Possessive: nothing is remembered to go back to."""


def has_too_many_values(text: bytes) -> bool:
    """Test whether a JSON text has more than MAX_JSON_VALUES values."""
    if len(text) <= MAX_JSON_VALUES * _MIN_VALUE_BYTES:
        return False
    marks = text.count(b",") + text.count(b"[") + text.count(b"{")
    if marks <= MAX_JSON_VALUES:
        return False
    values = 0  # some of the marks may be within strings
    for part in _VALUE_MARK.finditer(text):
        if part[1] is not None:
            values += 1
            if values > MAX_JSON_VALUES:
                return True
    return False
