"""Plain output: lines to be read one after another."""

from __future__ import annotations

import re

import pytest

from tests.support.api import BAD, Sidecar, order
from tests.unit.cli.test_commands import on_a_terminal, within
from tests.unit.cli.test_output_formats import at, logs, sidecar

__all__ = ["logs", "sidecar"]
pytestmark = pytest.mark.slow  # a process for each command

DRAWING = re.compile(r"[\u2190-\u21ff\u2500-\u25ff\t\x1b]|  ")
"""Arrows, lines, bars, tabs, escape sequences and columns."""


async def _fill(sidecar: Sidecar) -> None:
    await sidecar.pass_on(order(1, correlationId="c-1", aggregateId="a-very-long-id-" * 9))
    await sidecar.pass_on(order(2, correlationId="c-1", causationId="e-1", data={"total": [1]}))
    await sidecar.pass_on(BAD)


@pytest.mark.parametrize(
    "arguments",
    [["events"], ["flows"], ["flow", "c-1"], ["dlq", "groups"], ["dlq", "list"], ["streams"], ["aggregate", "o-2"]],
)
async def test_plain_output_is_linear_and_whole(sidecar: Sidecar, arguments: list[str]) -> None:
    await _fill(sidecar)
    for before, after in ((["--plain"], []), ([], ["--plain"])):
        shown = await on_a_terminal(*before, *arguments, *after, columns=40, **at(sidecar))
        assert not DRAWING.search(shown), shown
        assert "…" not in shown
        assert len(shown.splitlines()) > 2


async def test_a_variable_turns_it_on(sidecar: Sidecar) -> None:
    await _fill(sidecar)
    outcome = await within("events", "--limit", "1", TRACECAR_PLAIN="1", **at(sidecar))
    assert outcome.out.startswith("1 of 1\nAppended at: ")
    assert "\nStatus: rejected schema.mismatch\n" in outcome.out
    assert (await within("events", TRACECAR_PLAIN="0", **at(sidecar))).out.startswith("appended_at\t")


async def test_a_plain_flow_says_which_event_caused_which(sidecar: Sidecar) -> None:
    await _fill(sidecar)
    shown = (await within("flow", "c-1", "--plain", **at(sidecar))).out
    assert "rejected. 2 events in " in shown
    assert "\nEvent 2: OrderCreated on orders, of o-2, caused by event 1, " in shown
    assert "\nRejected with schema.mismatch: data.total: " in shown


async def test_the_dashboard_names_the_commands_that_have_plain_output(sidecar: Sidecar) -> None:
    outcome = await within("tui", "--plain", **at(sidecar))
    assert outcome.code == 1
    assert "tracecar status, events, flow ID" in outcome.err


async def test_every_help_has_the_option() -> None:
    for command in ([], ["events"], ["dlq"], ["dlq", "replay"]):
        assert "--plain" in (await within(*command, "--help")).out
