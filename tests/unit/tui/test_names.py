"""Names stay distinct and readable in any width."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from tui.text.name_cells import share_cells
from tui.text.names import NameSet, cut_middle
from tui.theme import DARK, palette

LONG = [f"company.department-{number:02}.very-long-domain-name.customer-order-events.v1" for number in range(50)]


def _set(names: list[str], *, is_qualified: bool = False) -> NameSet:
    made = NameSet(is_qualified=is_qualified)
    for name in names:
        made.learn(name)
    return made


@pytest.mark.parametrize("cells", [8, 10, 12, 14, 20, 30, 45, 64, 80])
def test_fifty_long_names_stay_distinct(cells: int) -> None:
    streams = _set(LONG)
    short = [streams.shorten(name, cells) for name in LONG]
    assert len(set(short)) == 50
    assert all(len(name) <= cells for name in short)
    assert all(f"{number:02}" in name for number, name in enumerate(short))


def test_what_all_share_is_dropped_then_dimmed() -> None:
    streams, colors = _set(LONG), palette(DARK)
    assert streams.shorten(LONG[7], 14) == "department-07…"
    assert streams.shorten(LONG[7], 26).startswith("department-07")
    assert streams.shorten(LONG[7], 62) == LONG[7].removeprefix("company.")
    whole = streams.cell(LONG[7], 80, "bold", colors)
    assert whole.plain == LONG[7]
    dimmed = whole.spans[0]
    assert (whole.plain[dimmed.start : dimmed.end], dimmed.style) == ("company.", colors.dim)


def test_a_cut_is_not_within_the_part_that_differs() -> None:
    streams = _set(["company.department-07.orders-and-more.v1", "company.department-12.orders-and-more.v1"])
    for cells in range(14, 30):
        assert streams.shorten("company.department-07.orders-and-more.v1", cells).startswith("department-07")
    assert streams.shorten("company.department-07.orders-and-more.v1", 10) == "depart…07…"


def test_widths_for_columns() -> None:
    streams = _set(LONG)
    assert streams.least_cells == len("department-07…")
    assert streams.short_cells == len(LONG[0]) - len("company.")
    assert streams.full_cells == len(LONG[0])
    assert NameSet().least_cells == 0


def test_a_name_that_begins_differently_is_whole_and_not_confused() -> None:
    streams = _set([*LONG[:9], "orders", "department-03.very-long-domain-name.customer-order-events.v1"])
    short = {
        streams.shorten(name, 64)
        for name in [*LONG[:9], "department-03.very-long-domain-name.customer-order-events.v1"]
    }
    assert len(short) == 10
    assert streams.shorten("orders", 20) == "orders"


def test_names_that_differ_at_both_ends_and_in_the_middle() -> None:
    names = [
        f"{a}.common-and-rather-long.{b}.another-common-part.{c}" for a in "xy" for b in "12" for c in ("in", "out")
    ]
    streams = _set(names)
    assert len({streams.shorten(name, 20) for name in names}) == 8


def test_types_lose_their_namespace_only_where_nothing_else_has_the_same_name() -> None:
    types = _set(["com.shop.orders.Created", "com.shop.payments.Created", "com.shop.orders.Paid"], is_qualified=True)
    assert types.shorten("com.shop.orders.Paid", 30) == "Paid"
    assert types.shorten("com.shop.orders.Created", 30) == "orders.Created"
    assert types.shorten("com.shop.payments.Created", 30) == "payments.Created"
    assert types.shorten("com.shop.Unknown", 30) == "Unknown"


def test_few_and_short_names_are_as_they_are() -> None:
    streams = _set(["orders", "payments", "order-items"])
    assert [streams.shorten(name, 12) for name in ("orders", "payments", "order-items")] == [
        "orders", "payments", "order-items",
    ]  # fmt: skip
    assert _set(["company.orders"]).shorten("company.orders", 20) == "company.orders"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text("ab.-漢", min_size=1, max_size=30), max_size=8), st.integers(1, 40))
def test_a_name_never_is_wider_than_its_place(names: list[str], cells: int) -> None:
    made, qualified = _set(names), _set(names, is_qualified=True)
    for name in names:
        assert cell_len(made.shorten(name, cells)) <= cells
        assert cell_len(qualified.shorten(name, cells)) <= cells


@settings(max_examples=40, deadline=None)
@given(st.text("ab漢字é", max_size=40), st.integers(1, 40))
def test_a_cut_in_the_middle_fits(text: str, cells: int) -> None:
    assert cell_len(cut_middle(text, cells)) <= cells


def test_a_wider_place_never_shows_less() -> None:
    streams = _set(LONG)
    widths = [len(streams.shorten(LONG[7], cells)) for cells in range(6, 80)]
    assert all(after >= before - 8 for before, after in pairwise(widths))


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.integers(8, 120))
def test_cells_are_shared_so_that_short_names_are_whole(wanted: list[int], cells: int) -> None:
    places = share_cells(wanted, cells)
    assert sum(places) <= max(cells, len(wanted))
    assert all(place <= want for place, want in zip(places, wanted, strict=True))
    if sum(wanted) <= cells:
        assert places == wanted
