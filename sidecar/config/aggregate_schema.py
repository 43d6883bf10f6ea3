"""Configuration of states of aggregates."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from sidecar.config.value_types import Duration, Place, ReducerName, Size, StrictStruct, Text


class ReducerProcessConfig(StrictStruct, frozen=True):
    """Processes of reducers that are Python functions."""

    path: Annotated[
        Text | None, Meta(description="Directory to import modules from, in front of the installed packages.")
    ] = None
    timeout: Annotated[
        Duration, Meta(description="Time that a function may take to build one state, for all events together.")
    ] = Duration(5)
    memory: Annotated[Size, Meta(description="Memory (address space) of a process.")] = "512MB"


class AggregatesConfig(StrictStruct, frozen=True):
    """States of aggregates, rebuilt from their events (`tracecar aggregate ID --at TIME`)."""

    reducer: Annotated[
        ReducerName,
        Meta(
            description="How a state is built: `auto` (change capture by its after-image, else merge), `merge` of the "
            "event's data, `merge-patch` (RFC 7396), `after-image`, or a Python function `module:function(state, "
            "event) -> state`, which runs in a process of its own."
        ),
    ] = "auto"
    reducers: Annotated[dict[str, ReducerName], Meta(description="Reducers of single aggregate types.")] = {}
    sequence: Annotated[
        list[Place],
        Meta(description="Places of the aggregate's own version or sequence number. Built-in ones come last."),
    ] = []
    process: ReducerProcessConfig = ReducerProcessConfig()
