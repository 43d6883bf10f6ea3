"""Discards and restores of dead letters."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from sidecar.domain.ports.ledger import LedgerOutcome, LedgerTransaction
from sidecar.replay.models import ReplayRequest
from tests.support.replay import ANN, ended, shop, states


async def test_discarding_and_restoring() -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(3))
        sidecar = await one.sidecar()
        found = await sidecar.desk.newest(0)
        id = found.letters[0].letter.id
        (outcome,) = await sidecar.discard([id], "a test order", ANN)
        assert (outcome.done, outcome.state) == (True, "discarded")
        (unknown,) = await sidecar.discard(["nobody@memory://orders/0/77"], "x", ANN)
        assert (unknown.done, "no dead-letter stream" in (unknown.why or "")) == (False, True)
        shown = await sidecar.desk.show(id)
        assert shown is not None
        assert shown.entry is not None
        assert (shown.state, shown.entry.actions[0].why, shown.entry.actions[0].by) == (
            "discarded",
            "a test order",
            "ann",
        )
        job = await ended(sidecar, await sidecar.replay(ReplayRequest(again=True), ANN))
        assert (job.published, job.reasons) == (2, {"was discarded": 1})
        (restored,) = await sidecar.restore([id], ANN)
        assert (restored.done, restored.state) == (True, "open")
        assert (await ended(sidecar, await sidecar.replay(ReplayRequest(again=True), ANN))).published >= 1


async def test_matching_letters_are_discarded_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.replay.discard.MAX_LETTERS_PER_CALL", 3)
    async with shop() as one:
        await one.letters(*one.harness.bad(10))
        sidecar = await one.sidecar(selection=4)
        taken = [await sidecar.discard_found("code:schema.*", "a load test", ANN) for _ in range(3)]
        assert [len(page.outcomes) for page in taken] == [4, 4, 2]
        assert [page.more for page in taken] == [True, True, False]
        assert set((await states(sidecar)).values()) == {"discarded"}
        nothing = await sidecar.discard_found("code:schema.*", "again", ANN)
        assert (nothing.outcomes, nothing.more) == ([], False)


async def test_a_discard_ends_when_no_letter_of_a_page_can_be_discarded() -> None:
    async with shop() as one:
        await one.letters(*one.harness.bad(5))
        sidecar, other = await one.sidecar(selection=2), await one.sidecar()

        async def taken(acts: Sequence[LedgerTransaction]) -> list[LedgerOutcome]:
            return [LedgerOutcome(False, tuple([None] * len(one.entries))) for one in acts]

        sidecar.broker.ledger.act = taken  # type: ignore[method-assign]
        page = await sidecar.discard_found("code:schema.*", "x", ANN)
        assert [one.done for one in page.outcomes] == [False, False]
        assert not page.more
        assert "another operator changed it at the same time" in (page.outcomes[0].why or "")
        assert set((await states(other)).values()) == {"open"}
