"""Links to places of the dashboard, and export of the open flow."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.api.models.links import LINK_PLACES, DashboardLink, link_letters, parse_link
from tests.support.dashboard import driven, shown, until
from tests.support.dashboard_data import TRACE, Shop
from tui.app import Dashboard


@pytest.mark.parametrize(
    ("text", "link"),
    [
        ("#/flow/4711", ("flow", "4711")),
        ("https://tracecar.example/#/flow/4711", ("flow", "4711")),
        ("http://127.0.0.1:8426/?fontsize=14#/status", ("status", "")),
        ("#/dead-letter/billing%40kafka%3A%2F%2Forders%2F0%2F1", ("dead-letter", "billing@kafka://orders/0/1")),
        ("#/dead-letter/billing@kafka://orders/0/1", ("dead-letter", "billing@kafka://orders/0/1")),
        ("#/events/status%3Arejected%20since%3A15m", ("events", "status:rejected since:15m")),
        ("#/dead-letters", ("dead-letters", "")),
        ("http://10.0.0.7:8425/v1/flows/kafka%3A%2F%2Forders%2F0%2F1", ("flow", "kafka://orders/0/1")),
        ("http://10.0.0.7:8425/v1/events/e-1?full=true", ("event", "e-1")),
    ],
)
def test_a_link_names_a_place(text: str, link: tuple[str, str]) -> None:
    assert parse_link(text) == link
    assert parse_link(str(parse_link(text))) == link


@pytest.mark.parametrize("text", ["", "4711", "#/", "#/flow", "#/flow/", "#/nowhere/1", "http://[", "x" * 9_000])
def test_other_text_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_link(text)


def test_links_of_dead_letters_name_one_or_several_or_a_query() -> None:
    assert link_letters([]) is None
    assert link_letters(["a"]) == ("dead-letter", "a")
    assert link_letters(["a", 'b"']) == ("dead-letters", '"a" OR "b\\""')
    assert link_letters(["a"], "state:open") == ("dead-letters", "state:open")


SCREENS = {
    "events": "live", "event": "flow", "flow": "flow", "aggregate": "aggregate", "dead-letters": "letters",
    "dead-letter": "letters", "schema": "schemas",
}  # fmt: skip


@pytest.mark.parametrize("place", LINK_PLACES)
async def test_a_link_opens_its_screen(place: str) -> None:
    shop = Shop()
    app = Dashboard(lambda token: shop, link=DashboardLink(place, TRACE if LINK_PLACES[place] else ""))
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.screen is app.page(SCREENS.get(place, place)))
        if place == "flow":
            await until(pilot, lambda: "6 events in 1.10 s" in shown(app))


@pytest.mark.parametrize(("title", "suffix"), [("Markdown", "md"), ("OTLP JSON", "json")])
async def test_the_palette_exports_the_open_flow(
    title: str, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shop = Shop()

    async def write(id: str, format: str, *, width: int | None = None) -> str:
        return f"{format} of {id}"

    monkeypatch.setattr(shop, "flow_document", write)
    async with driven(shop) as (app, pilot):
        assert not [command for command in app.get_system_commands(app.screen) if "Export" in command.title]
        app.open_flow(TRACE)
        await until(pilot, lambda: "6 events in 1.10 s" in shown(app))
        commands = {command.title: command for command in app.get_system_commands(app.screen)}
        commands[f"Export flow as {title}"].callback()
        file = tmp_path / f"flow-{TRACE}.{suffix}"
        await until(pilot, lambda: file.exists() and file.read_text().endswith(f" of {TRACE}"))
