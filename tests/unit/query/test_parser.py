"""Parsing of queries, and messages about invalid ones."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sidecar.domain.errors import QueryError
from sidecar.query import parse, render
from sidecar.query.ast import And, ExactText, Expression, Not, Or, RegexText, Term, Wildcard, write
from sidecar.query.fields import CODES, STAGES, STATUSES
from sidecar.query.parser import MAX_DEPTH, parse_expression


def word(text: str) -> Term:
    return Term(None, ExactText(text))


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("", And(())),
        ("   ", And(())),
        ("4711", word("4711")),
        ("a b", And((word("a"), word("b")))),
        ("a AND b", And((word("a"), word("b")))),
        ("a OR b c", Or((word("a"), And((word("b"), word("c")))))),
        ("(a OR b) c", And((Or((word("a"), word("b"))), word("c")))),
        ("-a", Not(word("a"))),
        ("- a", Not(word("a"))),
        ("NOT (a b)", Not(And((word("a"), word("b"))))),
        ("or", word("or")),
        ("ORDER", word("ORDER")),
        ('"OR"', word("OR")),
        ("-4711", Not(word("4711"))),
        ('"-4711"', word("-4711")),
        ("kafka://orders/0/4711", word("kafka://orders/0/4711")),
        ("shop@redis://orders/1700000000000-0", word("shop@redis://orders/1700000000000-0")),
        ("stream:orders", Term("stream", ExactText("orders"))),
        ("event_id:e", Term("event", ExactText("e"))),
        ('type:"Order Created"', Term("type", ExactText("Order Created"))),
        (r'type:"a \"b\" \\"', Term("type", ExactText('a "b" \\'))),
        ("type:Order*", Term("type", Wildcard(("Order", "")))),
        ("type:*Created", Term("type", Wildcard(("", "Created")))),
        ("type:a**b*", Term("type", Wildcard(("a", "b", "")))),
        (r"type:a\*b", Term("type", ExactText("a*b"))),
        ('type:"a*"', Term("type", ExactText("a*"))),
        ("type:/^Order(Paid|Sent)$/", Term("type", RegexText("^Order(Paid|Sent)$"))),
        (r"type:/a\/b\d/i", Term("type", RegexText(r"a/b\d", True))),
        ("version:>=2", Term("version", ExactText("2"), ">=")),
        ("schema:orders-value:v3", Term("schema", ExactText("orders-value:v3"))),
        ("trace:4BF92F3577B34DA6A3CE929D0E0E4736", Term("trace", ExactText("4bf92f3577b34da6a3ce929d0e0e4736"))),
        ("trace:A3CE929D0E0E4736", Term("trace", ExactText("0000000000000000a3ce929d0e0e4736"))),
        ("trace:4BF9*", Term("trace", Wildcard(("4bf9", "")))),
        ("header.Content-Type:json", Term("header", ExactText("json"), "", ("Content-Type",))),
        ("header.tracecar.code:*", Term("header", Wildcard(("", "")), "", ("tracecar.code",))),
        ('header."odd: name":x', Term("header", ExactText("x"), "", ("odd: name",))),
        ("body.data.total:>-1.5e3", Term("body", ExactText("-1.5e3"), ">", ("data", "total"))),
        ("body.items[2].qty:1", Term("body", ExactText("1"), "", ("items", 2, "qty"))),
        ("body[0].a[*]:1", Term("body", ExactText("1"), "", (0, "a", None))),
        ('body."a b"."c.d":x', Term("body", ExactText("x"), "", ("a b", "c.d"))),
        ("body.at:<2026-01-31T12:00:00Z", Term("body", ExactText("2026-01-31T12:00:00Z"), "<", ("at",))),
        ("body.at", word("body.at")),
        ("since:15m", Term("since", ExactText("15m"))),
        ("until:2026-01-31", Term("until", ExactText("2026-01-31"))),
    ],
)
def test_a_query_is_understood(text: str, expression: Expression) -> None:
    assert parse(text).expression == expression


def test_the_example_of_the_documentation() -> None:
    text = "stream:orders type:Order* status:rejected body.data.total:>100 since:15m"
    assert str(parse(text)) == text


@pytest.mark.parametrize(
    ("text", "at", "message"),
    [
        (
            "stauts:rejected",
            0,
            "expected a field (perhaps status:), found 'stauts' (in quotes, it is searched for literally)",
        ),
        ("a data.total:>5", 2, "expected a field (perhaps body.data.total:), found 'data.total' (in quotes"),
        ("urn:uuid:5", 0, "expected a field (one of stream, type, "),
        (
            "status:rejectd",
            7,
            "expected one of ok, unchecked, replayed, duplicate, rejected, found 'rejectd' (perhaps rejected)",
        ),
        ("code:schema", 5, "expected one of decode.truncated, "),
        ("stage:no", 6, "expected one of decode, schema, envelope, reported, delivery, found 'no'"),
        ("a OR", 4, "expected a condition, found the end of the query"),
        ("OR a", 0, 'expected a condition, found OR (in quotes, to search for it: "OR")'),
        ("a AND OR b", 6, "expected a condition, found OR"),
        ("(a b", 0, "expected a ) for this ("),
        ("a) b", 1, "expected a ( before this )"),
        ("()", 1, "expected a condition, found )"),
        ("-", 1, "expected a condition, found the end of the query"),
        ("stream:", 7, "expected a value, found the end of the query"),
        ("stream: orders", 7, "expected a value, found a space"),
        ('type:"a', 5, 'expected a " to end this text'),
        ('"a"b', 3, "expected a space, found b (in quotes, it is searched for literally)"),
        ("type:f(x)", 6, "expected a space, found ( (in quotes, it is searched for literally)"),
        ("type:/a", 5, "expected a / to end this regular expression (in quotes, / is searched for literally)"),
        ("type:/(a/", 5, "expected a regular expression (of RE2), found missing ): (a"),
        (r"type:/(?=a)\1/", 5, "expected a regular expression (of RE2), found invalid"),
        ("type:>3", 5, "expected a value: type does not support >"),
        ("version:>new", 9, "expected a number or a time after >"),
        ("body.total:>1*", 12, "expected a number or a time after >"),
        ("trace:4bf9", 6, "expected a trace id of 32 (or 16) hex digits, or the beginning of one and a *"),
        ("trace:order*", 6, "expected a trace id of 32 (or 16) hex digits"),
        ("since:yesterday", 6, "expected a duration such as 15m, or a time such as 2026-01-31T12:00:00Z, found"),
        ("since:>15m", 6, "expected a duration such as 15m"),
        ("until:15*", 6, "expected a duration such as 15m"),
        ("header:x", 0, "expected header.NAME, such as header.traceparent:*"),
        ("body:x", 0, "expected body.PATH, such as body.data.total:>100"),
        ("a body.items[x]:1", 2, "expected body.PATH: and a value"),
        ("a\\", 1, "expected a character after this \\"),
        ("a" * 2_001, 2_000, "expected at most 2000 characters, found 2001"),
        ("(" * 40, MAX_DEPTH, "expected at most 30 parentheses and negations within one another"),
        ("-" * 40, MAX_DEPTH + 1, "expected at most 30 parentheses and negations within one another"),
    ],
)
def test_a_wrong_query_says_where_and_what_was_expected(text: str, at: int, message: str) -> None:
    with pytest.raises(QueryError) as refused:
        parse(text)
    assert str(refused.value)[: len(message)] == message
    assert refused.value.at == at


def rendered(text: str) -> str:
    with pytest.raises(QueryError) as refused:
        parse(text)
    return render(refused.value)


def test_a_caret_marks_the_unexpected_character() -> None:
    assert rendered("stream:a status:no") == (
        "stream:a status:no\n"
        "                ^\n"
        "expected one of ok, unchecked, replayed, duplicate, rejected, found 'no'"
    )


def test_wide_and_unprintable_characters_do_not_move_the_caret() -> None:
    assert rendered('"注文\x1b[31m" a)').splitlines()[:2] == ['"注文·[31m" a)', "             ^"]


def test_a_long_query_is_shown_around_the_mistake() -> None:
    shown, caret, _ = rendered("x " * 200 + "stauts:y" + " z" * 200).splitlines()
    assert len(shown) < 130
    assert shown[caret.index("^") :].startswith("stauts")


texts = st.text(min_size=1, max_size=10)
plain = st.one_of(
    st.builds(ExactText, texts),
    st.builds(
        Wildcard,
        st.lists(st.text(min_size=1, max_size=5), min_size=0, max_size=2).flatmap(
            lambda between: st.tuples(st.text(max_size=5), st.just(between), st.text(max_size=5)).map(
                lambda t: (t[0], *t[1], t[2])
            )
        ),
    ),
    st.builds(RegexText, st.sampled_from(["", "a", "a/b", r"\d+", r"^x\\$", "[(]", "a b", '"']), st.booleans()),
)
limits = st.sampled_from(["5", "-1.5", "1e3", "2026-01-31", "2026-01-31T12:00:00Z"]).map(ExactText)
comparisons = st.sampled_from([">", ">=", "<", "<="])
steps = st.one_of(texts, st.integers(0, 99), st.none())
hexes = st.integers(0, 2**128 - 1).map(lambda n: f"{n:032x}")
terms = st.one_of(
    st.builds(Term, st.sampled_from([None, "stream", "type", "event", "schema", "key", "group"]), plain),
    st.builds(Term, st.sampled_from(["version", "key", "partition"]), limits, comparisons),
    st.builds(Term, st.just("header"), plain, st.just(""), st.tuples(texts)),
    st.builds(Term, st.just("body"), plain, st.just(""), st.lists(steps, min_size=1, max_size=3).map(tuple)),
    st.builds(Term, st.just("body"), limits, comparisons, st.lists(steps, min_size=1, max_size=3).map(tuple)),
    st.builds(Term, st.sampled_from(["since", "until"]), st.sampled_from(["15m", "2026-01-31"]).map(ExactText)),
    st.builds(Term, st.just("status"), st.sampled_from(STATUSES).map(ExactText)),
    st.builds(Term, st.just("code"), st.sampled_from(CODES).map(ExactText)),
    st.builds(Term, st.just("stage"), st.sampled_from(STAGES).map(ExactText)),
    st.builds(Term, st.just("trace"), hexes.map(ExactText)),
)


def grown(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    several = st.lists(inner, min_size=2, max_size=3).map(tuple)
    return st.one_of(st.builds(Not, inner), st.builds(And, several), st.builds(Or, several))


expressions: st.SearchStrategy[Expression] = st.recursive(terms, grown, max_leaves=6)


@pytest.mark.slow
@settings(max_examples=1_000, deadline=None)
@given(expressions)
def test_a_printed_query_parses_to_the_same(expression: Expression) -> None:
    assert parse_expression(write(expression)) == expression


SYNTAX = st.lists(
    st.one_of(
        st.sampled_from(
            [*'():*/"-<>=.[]\\ ', "OR", " AND ", "NOT ", "stream", "body.", "header.", "since:", "trace:", "1h"]
        ),
        st.text(max_size=3),
    ),
    max_size=20,
).map("".join)


@pytest.mark.slow
@settings(max_examples=2_000, deadline=None)
@given(st.one_of(st.text(), SYNTAX))
@example("\ud800")
@example("/\ud800/")
@example("a\x00b")
@example("since:\n")
@example("/(\n/")
@example('body."')
@example('header."a')
def test_any_text_parses_or_says_what_is_wrong(text: str) -> None:
    refused: QueryError | None = None
    try:
        query = parse(text, 0)
    except QueryError as error:
        refused = error
    if refused is None:
        assert parse_expression(str(query)) == query.expression
    else:
        assert 0 <= refused.at <= len(text)
        assert render(refused).count("\n") == 2
        assert str(refused).isprintable()
