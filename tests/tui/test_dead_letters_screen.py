"""The dead-letters screen: causes, letters, one letter beside its schema, discards."""

from __future__ import annotations

from sidecar.api import models
from sidecar.api.client.client import ServerFailed
from sidecar.api.models import replays
from tests.support.dashboard import driven, on, rows, shown, until
from tests.support.dashboard_data import (
    HOSTILE,
    Shop,
    cause,
    letter,
)


async def test_the_audit_log_says_who_did_what_and_why() -> None:
    shop = Shop()
    shop.the_acts = [
        replays.AuditEntryModel(
            act="dead_letters.discarded", at="2026-05-03T10:00:00Z", by="ann", address=None, letters=3, ids=["x"],
            why=f"test data {HOSTILE}",
        )
    ]  # fmt: skip
    async with driven(shop, (140, 45)) as (app, pilot):
        await on(pilot, app, "4", "letters")
        await pilot.press("H")
        await until(pilot, lambda: "2026-05-03 10:00:00  discarded" in shown(app))
        assert "test data \\x1b" in shown(app)
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.page("letters"))


async def test_a_letter_and_its_cause_say_what_can_be_done() -> None:
    shop = Shop()
    async with driven(shop, (140, 45)) as (app, pilot):
        await on(pilot, app, "4", "letters")
        await until(pilot, lambda: "→ e edits the body" in shown(app))
        shop.the_letters = [letter(3, state="discarded")]
        await pilot.press("enter")
        await until(pilot, lambda: "→ It was discarded: u restores it." in shown(app))


async def test_letters_of_the_previous_query_are_cleared() -> None:
    shop = Shop()
    async with driven(shop) as (app, pilot):
        app.open_letters("state:open")
        await until(pilot, lambda: app.screen is app.page("letters") and "◀ ✗ here" in shown(app))
        shop.the_letters = []
        app.open_letters("state:parked")
        assert rows(app, "letter").items == []
        await until(pilot, lambda: "No letters match" in shown(app) and "0 letters" in shown(app))
        assert rows(app, "schema").items == []


async def test_discarding_a_cause_states_its_number_of_letters() -> None:
    shop = Shop()
    shop.the_causes = [cause(states={"open": 4, "parked": 2, "replayed": 9})]
    async with driven(shop) as (app, pilot):
        await on(pilot, app, "4", "letters")
        await until(pilot, lambda: rows(app, "causes").items)
        await pilot.press("x")
        await until(pilot, lambda: "schema.mismatch on shipping (4 open, 2 parked)?" in shown(app))


async def test_discarding_requires_a_reason() -> None:
    shop = Shop()
    async with driven(shop) as (app, pilot):
        app.open_letters("state:open")
        await until(pilot, lambda: app.screen is app.page("letters") and rows(app, "list").items)
        await pilot.press("x")
        await until(pilot, lambda: "Discard the letter" in shown(app))
        await pilot.press("enter")
        assert "Discard the letter" in shown(app)
        await pilot.press(*"tests", "enter")
        await until(pilot, lambda: shop.of("discard"))
        assert shop.of("discard") == [([letter(1).id], "tests", "")]


async def test_a_letter_is_shown_beside_its_schema_with_the_path_marked_in_both() -> None:
    async with driven(Shop(), (140, 40)) as (app, pilot):
        app.open_letters("state:open")
        await until(pilot, lambda: app.screen is app.page("letters") and rows(app, "list").items)
        await pilot.press("enter")
        await until(pilot, lambda: "◀ expected" in shown(app))
        line = next(line for line in shown(app).split("\n") if "◀ expected" in line)
        assert "qty" in line


async def test_the_selection_stays_on_its_row_while_rows_come_and_go() -> None:
    shop = Shop()
    async with driven(shop) as (app, pilot):
        app.open_letters("state:open")
        await until(pilot, lambda: app.screen is app.page("letters") and len(rows(app, "list").items) == 3)
        listed = rows(app, "list")
        await pilot.press("j")
        assert listed.chosen_key == letter(2).id
        shop.the_letters = [letter(9), letter(8), *shop.the_letters]
        await until(pilot, lambda: len(listed.items) == 5)
        assert (listed.cursor, listed.chosen_key) == (3, letter(2).id)
        shop.the_letters = [one for one in shop.the_letters if one.id != letter(2).id]
        await until(pilot, lambda: len(listed.items) == 4)
        assert listed.cursor == 3


async def test_a_registry_outage_hides_the_schema_and_not_the_letter() -> None:
    class Outage(Shop):
        has_registry = False

        async def schemas(self, subject: str | None = None, version: int | None = None) -> models.SubjectPage:
            if not self.has_registry:
                raise ServerFailed("the registry cannot be reached")
            return await super().schemas(subject, version)

    shop = Outage()
    async with driven(shop, (140, 40)) as (app, pilot):
        app.open_letters("state:open")
        await until(pilot, lambda: app.screen is app.page("letters") and "◀ ✗ here" in shown(app))
        assert app.link.state == "connected"
        await pilot.press("enter")
        await until(pilot, lambda: "the registry did not return it" in shown(app))
        shop.has_registry = True
        await until(pilot, lambda: "◀ expected" in shown(app))
