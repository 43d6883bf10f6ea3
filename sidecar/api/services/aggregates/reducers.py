"""Built-in reducers: a merge of the event's data, JSON merge patch (RFC 7396), and the after-image of change capture.

`auto`, the default, takes the after-image of events that change capture wrote, and merges the data of all others.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from sidecar.decoding.envelope.debezium import ROW_FIELDS, is_change, unwrap
from sidecar.decoding.envelope.extractor import BUILT_IN_LOCATIONS
from sidecar.domain.aggregate_fold import AggregateFold, AggregateState, Reduce, ReducerEvent, StateStep
from sidecar.domain.errors import Refused

BUILT_IN_REDUCERS = ("auto", "merge", "merge-patch", "after-image")
UNAVAILABLE_VALUE = "__debezium_unavailable_value"
"""Debezium writes it for a large column that the change did not touch."""
SLICE_S = 0.005
"""Time after which other tasks get their turn."""
MAX_REDUCTION_S = 20.0
"""Processor time of one run."""


class LocalReducer:
    """A built-in reducer, which runs in this process. Implements `ports.reducer.Reducer`."""

    def __init__(self, name: str, reduce: Reduce) -> None:
        self.name = name
        self.reduce = reduce

    @asynccontextmanager
    async def start(self, state: AggregateState) -> AsyncIterator[LocalReduction]:
        yield LocalReduction(self.name, self.reduce, state)


class LocalReduction:
    """The building of one state by a built-in reducer: applies events one after another."""

    def __init__(self, name: str, reduce: Reduce, state: AggregateState) -> None:
        self._name = name
        self._fold = AggregateFold(reduce, state)
        self._used = 0.0

    async def apply(self, events: Sequence[ReducerEvent]) -> list[StateStep]:
        steps: list[StateStep] = []
        begun = time.monotonic()
        for event in events:
            steps.append(self._fold.apply(event))
            if (elapsed := time.monotonic() - begun) > SLICE_S:
                self._used += elapsed
                if self._used > MAX_REDUCTION_S:
                    raise Refused(
                        f"the reducer {self._name} was stopped at {event.position} after {MAX_REDUCTION_S:g} s of "
                        "work: ask for an earlier moment"
                    )
                await asyncio.sleep(0)
                begun = time.monotonic()
        return steps

    async def state(self) -> AggregateState:
        return self._fold.state


def build_local_reducers(envelope_places: Collection[str]) -> dict[str, LocalReducer]:
    """Build the built-in reducers by their names. `envelope_places`: where the configuration finds envelope fields."""
    own_fields = _envelope_fields(envelope_places)

    def merge(state: Any, event: Mapping[str, Any]) -> Any:
        return merge_values(state, _data_of(event["body"], own_fields))

    def patch(state: Any, event: Mapping[str, Any]) -> Any:
        return apply_merge_patch(state, _data_of(event["body"], own_fields))

    def choose(state: Any, event: Mapping[str, Any]) -> Any:
        body, _ = unwrap(event["body"])
        return (apply_after_image if is_change(body) or is_row(body) else merge)(state, event)

    functions: dict[str, Callable[[Any, Mapping[str, Any]], Any]] = {
        "auto": choose,
        "merge": merge,
        "merge-patch": patch,
        "after-image": apply_after_image,
    }
    return {name: LocalReducer(name, functions[name]) for name in BUILT_IN_REDUCERS}


def merge_values(known: Any, data: Any) -> Any:
    """Merge objects field by field; any other value replaces the known one."""
    if not (isinstance(known, Mapping) and isinstance(data, Mapping)):
        return data
    merged = dict(known)
    for name, value in data.items():
        merged[name] = merge_values(known[name], value) if name in known else value
    return merged


def apply_merge_patch(target: Any, patch: Any) -> Any:
    """Apply a JSON merge patch (RFC 7396): null removes a field."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = apply_merge_patch(merged.get(name), value)
    return merged


def apply_after_image(state: Any, event: Mapping[str, Any]) -> Any:
    """Return the row after a change; an empty object after a deletion. A message of the log changes nothing."""
    body, _ = unwrap(event["body"])
    if is_change(body):
        match body["op"]:
            case "d" | "t":
                return {}
            case "m":
                return state
        row = body.get("after")
        return _keep_unavailable(state, row) if isinstance(row, Mapping) else state
    if not isinstance(body, Mapping):
        return state
    if str(body.get("__deleted")).lower() == "true" or body.get("__op") in ("d", "t"):
        return {}
    return _keep_unavailable(state, {name: value for name, value in body.items() if not name.startswith("__")})


def is_row(body: Any) -> bool:
    """Return True for the row of a change event, as Debezium's `ExtractNewRecordState` leaves it."""
    return isinstance(body, Mapping) and not ROW_FIELDS.isdisjoint(body)


def _keep_unavailable(state: Any, row: Mapping[str, Any]) -> dict[str, Any]:
    known = state if isinstance(state, Mapping) else {}
    return {
        name: known.get(name) if value == UNAVAILABLE_VALUE else _same_or(known.get(name), value)
        for name, value in row.items()
    }


def _same_or(known: Any, value: Any) -> Any:
    """Return the known object for an equal text, so that it need not be compared again."""
    return known if value.__class__ is str and known == value else value


def _data_of(body: Any, own_fields: Collection[str]) -> Any:
    """Return the part of a body that describes the aggregate: `data`, else all but the envelope's fields."""
    body, _ = unwrap(body)
    if not isinstance(body, Mapping):
        return body
    data = body.get("data")
    if isinstance(data, Mapping):
        return data
    return {name: value for name, value in body.items() if name not in own_fields}


def _envelope_fields(configured: Collection[str]) -> frozenset[str]:
    built_in = [place for places in BUILT_IN_LOCATIONS.values() for place in places]
    bodies = [place.removeprefix("body:") for place in (*built_in, *configured) if place.startswith("body:")]
    return frozenset(path for path in bodies if "." not in path and "[" not in path)
