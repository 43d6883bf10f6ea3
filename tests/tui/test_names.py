"""Fifty streams with long names are readable on every screen and in every table."""

from __future__ import annotations

import re

import pytest

from sidecar.api import models
from tests.support.dashboard import driven, on, rows, shown, until
from tests.support.dashboard_data import Shop, cause, event, flow, letter, service_status, stream_status

LONG = [f"company.department-{number:02}.very-long-domain-name.customer-order-events.v1" for number in range(50)]
SIZES = [(80, 24), (120, 36), (200, 60)]


def large_shop() -> Shop:
    """Build a shop with fifty streams, each with its producer, consumer group, cause and schema."""
    shop = Shop()
    shop.the_status = service_status(streams=[stream_status(name, rejected=1) for name in LONG])
    shop.the_events = [
        event(number, name, f"company.department{number:02}.OrderChanged", 1_000 + number, producer=f"{name}.service")
        for number, name in enumerate(LONG)
    ]
    shop.the_groups = [
        models.GroupModel(
            group=f"{name}.consumers", system="kafka", members=2, lag=1_234, rate=6.0, stuck_at=None,
            streams=[models.GroupStreamModel(stream=name, partitions=3, lag=1_234, rate=6.0, behind_s=45.0)],
        )
        for name in LONG
    ]  # fmt: skip
    shop.the_causes = [cause(stream=name, cause=f"c{number}") for number, name in enumerate(LONG)]
    shop.the_letters = [letter(number, stream=name) for number, name in enumerate(LONG)]
    shop.the_flow = flow(shop.the_events[:6], streams=LONG[:6])
    return shop


def numbers(text: str) -> set[str]:
    """Return the numbers of the departments that are readable in a text."""
    return set(re.findall(r"(?:department-?|…)(\d\d)\b", text))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("key", "place", "list_id"),
    [("1", "live", "live"), ("4", "letters", "causes"), ("5", "map", "lanes"), ("7", "status", "entries")],
)
async def test_each_visible_row_says_which_stream_it_is(
    size: tuple[int, int], key: str, place: str, list_id: str
) -> None:
    shop = large_shop()
    async with driven(shop, size) as (app, pilot):
        await pilot.press(key)
        await until(pilot, lambda: app.screen is app.page(place) and len(rows(app, list_id).items) >= 50)
        listed = rows(app, list_id)
        if place == "status":
            listed.select(f"stream {LONG[0]}")
            listed.select(f"stream {LONG[9]}")
        await until(pilot, lambda: numbers(shown(app)))
        await pilot.pause()
        lines = [listed.render_line(y).text for y in range(listed.size.height)]
        streams = [line for line in lines if numbers(line)]
        assert len(streams) >= min(size[1] - 14, 15) if place != "status" else len(streams) >= 5, shown(app)
        for line in streams:
            assert "very-long-domain-name.customer-order-events.v1" in line or "…" in line, line


@pytest.mark.parametrize("size", SIZES)
async def test_a_flow_says_which_streams_it_passed(size: tuple[int, int]) -> None:
    shop = large_shop()
    async with driven(shop, size) as (app, pilot):
        await on(pilot, app, "2", "flows")
        await until(pilot, lambda: rows(app, "flows").items)
        app.open_flow("x")
        await until(pilot, lambda: app.screen is app.page("flow") and len(rows(app, "tree").items) == 6)
        tree = rows(app, "tree")
        await until(
            pilot, lambda: all(f"0{number}" in tree.render_line(number + 1).text for number in range(6)), "all streams"
        )


async def test_fifty_streams_fit_on_a_screen_of_the_map() -> None:
    async with driven(large_shop(), (200, 60)) as (app, pilot):
        await pilot.press("5")
        await until(pilot, lambda: len(rows(app, "lanes").items) == 50)
        await until(pilot, lambda: len(numbers(shown(app))) == 50)
        assert LONG[7] in shown(app)  # there is room for the whole name


async def test_a_wide_table_gives_its_free_width_to_names() -> None:
    async with driven(large_shop(), (200, 60)) as (app, pilot):
        await until(pilot, lambda: len(rows(app, "live").items) == 50)
        live = rows(app, "live")
        await until(pilot, lambda: "department-49.ve" in live.render_line(50).text)
        assert live.size.width >= 130  # the event beside the list takes no more than it needs
