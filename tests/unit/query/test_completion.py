"""Completions of a query."""

from sidecar.query.completion import complete


def test_fields_are_offered_by_their_beginning() -> None:
    assert complete("st", 2) == (0, ["stream:", "status:", "stage:", "stacktrace:", "state:"])
    assert complete("stream:a -(ty", 13) == (11, ["type:"])
    assert complete("h", 1, {"header.": ["traceparent"]}) == (0, ["header.", "header.traceparent:"])


def test_values_are_offered_where_they_are_known() -> None:
    assert complete("status:re", 9) == (7, ["replayed", "rejected"])
    assert complete("stream:o", 8, {"stream": ["orders", "payments", "other"]}) == (7, ["orders", "other"])
    assert complete("since:", 6) == (6, ["5m", "15m", "1h", "24h"])
    assert complete("trace_id:4", 10, {"trace": ["4bf9"]}) == (9, ["4bf9"])


def test_nothing_is_offered_within_quotes() -> None:
    assert complete('type:"Or', 8, {"type": ["Order"]}) == (8, [])
