"""Trace context in headers, for each format."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.decoding.trace_context import parse_traceparent, read_trace_context
from sidecar.domain.model import TraceOrigin

TRACE = 0x4BF92F3577B34DA6A3CE929D0E0E4736
SPAN = 0x00F067AA0BA902B7
W3C = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def context(**headers):
    return read_trace_context(tuple((name.replace("_", "-"), value) for name, value in headers.items()))


def test_traceparent_names_the_trace_and_the_senders_span():
    found = context(traceparent=W3C)
    assert (found.trace_id, found.span_id, found.parent_span_id) == (TRACE, SPAN, None)
    assert found.origin is TraceOrigin.W3C
    assert found.sampled is True


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"00",
        W3C[:-1],
        W3C + b"0",
        W3C + b"-more",  # version 00 has exactly this length
        b"ff" + W3C[2:],
        b"0" + W3C[1:54],
        W3C.upper(),
        b"00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        b"00-" + b"0" * 32 + b"-00f067aa0ba902b7-01",
        b"00-4bf92f3577b34da6a3ce929d0e0e4736-" + b"0" * 16 + b"-01",
        b"00-4bf92f3577b34da6a3ce929d0e0e473_-00f067aa0ba902b7-01",
        b"00-4bf92f3577b34da6a3ce929d0e0e473 -00f067aa0ba902b7-01",
        b"00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        b"00-0x192f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        b"00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
        b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0G",
        b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
        b"0g-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        b"01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x",
        "00-4bf92f3577b34da6a3ce929d0e0e473\u0661-00f067aa0ba902b7-01".encode(),
        b"01-" + b"a" * 2_000_000,
    ],
)
def test_a_traceparent_against_the_specification_is_none(value):
    assert parse_traceparent(value) is None
    assert context(traceparent=value) is None


@pytest.mark.parametrize("tail", [b"", b"-", b"-what-the-future-may-bring"])
def test_a_future_version_may_go_on_after_a_dash(tail):
    assert parse_traceparent(b"cc" + W3C[2:] + tail) == (TRACE, SPAN)


def test_ids_without_any_letter_are_ids():
    digits = b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-00"
    assert parse_traceparent(digits) == (int("1" * 32, 16), int("2" * 16, 16))


@given(st.integers(1, (1 << 128) - 1), st.integers(1, (1 << 64) - 1), st.integers(0, 255))
def test_every_written_traceparent_is_read_back(trace, span, flags):
    assert parse_traceparent(b"00-%032x-%016x-%02x" % (trace, span, flags)) == (trace, span)


@given(st.binary(min_size=50, max_size=60) | st.from_regex(rb"\A[0-9a-fA-F_+ -]{55}\Z"))
def test_only_valid_headers_are_accepted(value):
    ids = parse_traceparent(value)
    if ids is not None:
        assert value[3:52] == b"%032x-%016x" % ids


def test_blanks_around_a_value_are_no_fault_and_tracestate_is_tolerated():
    found = read_trace_context((("tracestate", b"x=%%%"), ("TraceParent", b" " + W3C + b"\t"), ("tracestate", None)))
    assert found.trace_id == TRACE


def test_the_last_of_repeated_headers_counts():
    other = b"00-%032x-%016x-00" % (7, 8)
    found = read_trace_context((("traceparent", other), ("traceparent", W3C)))
    assert (found.trace_id, found.span_id) == (TRACE, SPAN)


def test_b3_single_tells_the_senders_span_and_its_parent():
    found = context(b3=b"80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1-05e3ac9a4f6e3b90")
    assert found.trace_id == 0x80F198EE56343BA864FE8B2A57D3EFF7
    assert found.span_id == 0xE457B5A2E4D86BD1
    assert found.parent_span_id == 0x05E3AC9A4F6E3B90
    assert (found.origin, found.sampled) == (TraceOrigin.B3, True)


@pytest.mark.parametrize(
    ("value", "sampled"),
    [(b"64fe8b2a57d3eff7-e457b5a2e4d86bd1", None), (b"64fe8b2a57d3eff7-e457b5a2e4d86bd1-0", False)],
)
def test_b3_single_without_parent_and_with_a_64_bit_trace(value, sampled):
    found = context(b3=value)
    assert (found.trace_id, found.parent_span_id, found.sampled) == (0x64FE8B2A57D3EFF7, None, sampled)


@pytest.mark.parametrize("value", [b"0", b"1", b"d", b"", b"64fe8b2a57d3eff7", b"64fe8b2a57d3eff7-e457b5a2e4d86bd1-x"])
def test_b3_single_without_ids_names_no_trace(value):
    assert context(b3=value) is None


def test_b3_multi_in_any_spelling():
    found = read_trace_context(
        (
            ("X-B3-TraceId", b"463ac35c9f6413ad48485a3953bb6124"),
            ("x-b3-spanid", b"a2fb4a1d1a96d312"),
            ("X-B3-PARENTSPANID", b"0020000000000001"),
            ("X-B3-Sampled", b"0"),
        )
    )
    assert found.trace_id == 0x463AC35C9F6413AD48485A3953BB6124
    assert (found.span_id, found.parent_span_id) == (0xA2FB4A1D1A96D312, 0x20000000000001)
    assert (found.origin, found.sampled) == (TraceOrigin.B3, False)


def test_b3_multi_debug_means_sampled():
    found = context(X_B3_TraceId=b"48485a3953bb6124", X_B3_SpanId=b"a2fb4a1d1a96d312", X_B3_Flags=b"1")
    assert (found.trace_id, found.sampled) == (0x48485A3953BB6124, True)


@pytest.mark.parametrize("trace", [b"", b"0" * 32, b"48485A3953BB6124", b"484", b"48485a3953bb612g"])
def test_a_malformed_b3_trace_id_is_none(trace):
    assert context(X_B3_TraceId=trace, X_B3_SpanId=b"a2fb4a1d1a96d312") is None


@pytest.mark.parametrize("colon", [b":", b"%3A", b"%3a"])
def test_jaeger_plain_and_url_encoded(colon):
    found = context(uber_trace_id=colon.join((b"3ce929d0e0e4736", b"f067aa0ba902b7", b"abc", b"1")))
    assert found.trace_id == 0x3CE929D0E0E4736  # leading zeros may be absent
    assert (found.span_id, found.parent_span_id) == (0xF067AA0BA902B7, 0xABC)
    assert (found.origin, found.sampled) == (TraceOrigin.JAEGER, True)


def test_jaegers_parent_of_zero_is_no_parent():
    assert context(uber_trace_id=b"1:2:0:0").parent_span_id is None


@pytest.mark.parametrize(
    "value", [b"1:2:3", b"0:2:0:1", b"x:2:0:1", b"1:2:0:1:5", b"%3A%3A%3A", b"%zz", b"1" * 33 + b":2:0:1"]
)
def test_a_malformed_jaeger_id_is_none(value):
    assert context(uber_trace_id=value) is None


def test_datadog_puts_the_upper_half_into_a_tag():
    found = context(
        x_datadog_trace_id=b"11803532876627986230",
        x_datadog_parent_id=b"67667974448284343",
        x_datadog_sampling_priority=b"1",
        x_datadog_tags=b"_dd.p.dm=-1,_dd.p.tid=4bf92f3577b34da6",
    )
    assert (found.trace_id, found.span_id) == (TRACE, SPAN)
    assert (found.origin, found.sampled) == (TraceOrigin.DATADOG, True)


def test_datadog_with_64_bits_only_and_a_broken_tag():
    found = context(x_datadog_trace_id=b"77", x_datadog_tags=b"_dd.p.tid=xyz", x_datadog_sampling_priority=b"-1")
    assert (found.trace_id, found.span_id, found.sampled) == (77, None, False)


@pytest.mark.parametrize("value", [b"0", b"-1", b"", b"18446744073709551616", b"0x7", b"7.0", b"9" * 1000])
def test_a_malformed_datadog_id_is_none(value):
    assert context(x_datadog_trace_id=value) is None


def test_xray_fields_are_accepted_in_any_order():
    found = context(
        X_Amzn_Trace_Id=b"Sampled=0; Parent=53995c3f42cd8ad8;Root=1-5759e988-bd862e3fe1be46a994272793;Lineage=a:0"
    )
    assert found.trace_id == 0x5759E988BD862E3FE1BE46A994272793
    assert (found.span_id, found.sampled, found.origin) == (0x53995C3F42CD8AD8, False, TraceOrigin.XRAY)


def test_xray_without_parent_still_names_the_trace():
    found = context(X_Amzn_Trace_Id=b"Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=?")
    assert (found.span_id, found.sampled) == (None, None)


@pytest.mark.parametrize(
    "value", [b"Root=2-5759e988-bd862e3fe1be46a994272793", b"Root=1-5759e988", b"Parent=1", b";;;", b"="]
)
def test_a_malformed_xray_header_is_none(value):
    assert context(X_Amzn_Trace_Id=value) is None


def test_the_cloudevents_extension_names_the_trace_and_no_span():
    found = read_trace_context((("ce_traceparent", W3C),))
    assert (found.trace_id, found.span_id, found.parent_span_id) == (TRACE, None, None)
    assert found.origin is TraceOrigin.CLOUDEVENTS


def test_a_malformed_header_is_skipped_for_the_next_format():
    b3 = b"80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1"
    assert context(traceparent=b"00-nonsense", b3=b3).origin is TraceOrigin.B3
    assert context(b3=b"garbage", uber_trace_id=b"1:2:3:1").origin is TraceOrigin.JAEGER
    assert context(traceparent=W3C, b3=b3).origin is TraceOrigin.W3C


def test_a_null_header_counts_as_absent():
    assert read_trace_context((("traceparent", W3C), ("traceparent", None))).trace_id == TRACE
    assert read_trace_context((("traceparent", None), ("b3", None))) is None


_names = st.sampled_from(
    [
        "traceparent",
        "b3",
        "X-B3-TraceId",
        "x-b3-spanid",
        "uber-trace-id",
        "x-datadog-trace-id",
        "x-datadog-tags",
        "X-Amzn-Trace-Id",
        "ce_traceparent",
        "other",
    ]
)
_values = st.none() | st.binary(max_size=80) | st.text("0123456789abcdefABCDEF-:;=%_ .,", max_size=80).map(str.encode)


@given(st.lists(st.tuples(_names, _values), max_size=6).map(tuple))
def test_no_headers_raise_and_ids_are_in_bounds(headers):
    found = read_trace_context(headers)
    if found is not None:
        assert 0 < found.trace_id < 1 << 128
        assert found.span_id is None or 0 < found.span_id < 1 << 64
        assert found.parent_span_id is None or 0 < found.parent_span_id < 1 << 64


def test_quotes_around_a_value_are_ignored():
    quoted = (("traceparent", b'"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"'),)
    context = read_trace_context(quoted)
    assert context is not None
    assert context.trace_id == TRACE
