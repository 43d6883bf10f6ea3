"""Dead letters of Confluent's data-contract rules."""

from __future__ import annotations

from tests.support.dead_letters import NOW, RULES, assert_restored, facts, letter


def test_headers_are_read() -> None:
    assert facts(assert_restored(RULES)) == (
        "confluent-rules", "reported.error", "orders", "None", None, None, None, NOW * 1000,
        "Expr failed: 'message.total > 0' (rule checkTotal WRITE)",
    )  # fmt: skip


def test_a_rule_without_an_exception_is_understood() -> None:
    assert letter(RULES[:4]).message == "the rule failed (rule checkTotal WRITE)"
