"""Suggestions of the query that was probably meant."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.query import QueryError, parse, suggest_query


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("status=rejected", "status:rejected"),
        ("status == 'rejected'", "status:rejected"),
        ("status = rejected stream = orders", "status:rejected stream:orders"),
        ("status: rejected", "status:rejected"),
        ("order 2063 failed", "aggregate:*2063 status:rejected"),
        ("order-2063 failed", "order-2063 status:rejected"),
        ("failed", "status:rejected"),
        ("status:failed", "status:rejected"),
        ("status:Rejected", "status:rejected"),
        ("stauts:rejected", "status:rejected"),
        ("code:mismatch", "code:schema.mismatch"),
        ("type!=OrderCreated", "-type:OrderCreated"),
        ("-status=ok", "-status:ok"),
        ("stream orders errors", "stream:orders status:rejected"),
        ("topic:orders", "stream:orders"),
        ("correlation_id=abc", "correlation:abc"),
        ("data.total:>100", "body.data.total:>100"),
        ("body.data.total>=100", "body.data.total:>=100"),
        ("header.tenant=a", "header.tenant:a"),
        ("status:rejected or status:duplicate", "status:rejected OR status:duplicate"),
        ("last 15m", "since:15m"),
        ("failed orders 15m", "status:rejected stream:*orders* since:15m"),
        ("2063", "*2063*"),
        ("OrderCreated", "type:*OrderCreated*"),
    ],
)
def test_what_was_probably_meant_is_suggested(text: str, meant: str) -> None:
    assert suggest_query(text) == meant
    parse(meant)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "status:rejected",
        "stream:orders type:Order* -status:ok",
        "4bf92f3577b34da6a3ce929d0e0e4736",
        "kafka://orders/0/4711",
        "foo=bar",
        '"order 2063 failed"',
        "(status=rejected",
        "x" * 5_000,
    ],
)
def test_nothing_is_suggested_without_a_better_query(text: str) -> None:
    assert suggest_query(text) is None


@given(st.text(st.sampled_from("status=:rejected<>!()'\"\\*/ -.OR\n\0é2063"), max_size=40))
@settings(max_examples=50)
def test_a_suggestion_can_be_parsed_and_is_different(text: str) -> None:
    suggestion = suggest_query(text)
    if suggestion is not None:
        assert suggestion != text
        parse(suggestion)


@pytest.mark.parametrize(
    ("text", "at"), [("status=rejected", 6), ("a version>3", 9), ("body.total=3", 10), ("header.x!=y", 8)]
)
def test_other_operators_are_refused_with_the_place(text: str, at: int) -> None:
    with pytest.raises(QueryError) as caught:
        parse(text)
    assert caught.value.at == at
    assert caught.value.did_you_mean == suggest_query(text) is not None


def test_an_id_may_contain_an_equals_sign() -> None:
    parse("tenant=7")
    parse('"status=rejected"')
