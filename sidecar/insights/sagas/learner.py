"""Learns declarations of sagas from flows: the usual start, steps, ends and times, and what does not fit them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from msgspec import Struct

from sidecar.domain.ports.index import Flow, Node
from sidecar.insights.sagas.saga import occurrence_time

MIN_FLOWS = 5
"""Flows with one start from which a process is proposed."""
MIN_STEP_SHARE = 0.02
"""Share of the flows in which a type must occur to become a step."""
REQUIRED_SHARE = 0.9
"""Share of the completed flows from which a step is required."""
DEADLINE_FACTOR = 3
MIN_DEADLINE_US = 1_000_000
MAX_VARIANTS = 10
_SKIPPED = frozenset({"duplicate", "rejected"})


class Variant(Struct, frozen=True):
    """A path that flows took: types in order, repeated ones once."""

    path: tuple[str, ...]
    flows: int


class LearnedStep(Struct, frozen=True):
    """A step of a learned process."""

    type: str
    flows: int
    """Flows that have it."""
    optional: bool
    repeated: bool
    producer: str | None


class LearnedSaga(Struct, frozen=True):
    """A declaration proposed from flows, and how well they fit it."""

    name: str
    start: str
    flows: int
    steps: tuple[LearnedStep, ...]
    in_sequence: bool
    """The required steps came in this order in nearly all flows."""
    ends: tuple[tuple[str, int], ...]
    """Types of the last events, with the number of flows, the most frequent first."""
    deadline_us: int
    variants: tuple[Variant, ...]
    """The most frequent paths."""
    not_fitting: int
    """Flows that lack a required step or do not end in a usual end."""
    examples: tuple[str, ...]
    """Trace ids of flows that do not fit, at most five."""


class _Observation(Struct, frozen=True):
    """One flow, reduced to its path."""

    path: tuple[str, ...]
    counts: Counter[str]
    duration_us: int
    trace_id: int


class SagaLearner:
    """Collects flows by the type of their first event."""

    def __init__(self) -> None:
        self._flows: dict[str, list[_Observation]] = {}
        self._producers: dict[str, Counter[str]] = {}

    def observe_flow(self, flow: Flow) -> None:
        """Take in a whole flow. Events without type, duplicates and rejected ones are left out."""
        nodes = sorted(
            (node for node in flow.nodes if node.event.type is not None and node.status not in _SKIPPED), key=_order
        )
        if len(nodes) < 2:
            return
        types = [node.event.type or "" for node in nodes]
        for node in nodes:
            if node.event.producer is not None:
                self._producers.setdefault(node.event.type or "", Counter())[node.event.producer] += 1
        observation = _Observation(
            tuple(dict.fromkeys(types)), Counter(types), _order(nodes[-1])[0] - _order(nodes[0])[0], flow.trace_id
        )
        self._flows.setdefault(types[0], []).append(observation)

    def propose(self) -> list[LearnedSaga]:
        """Return a declaration for each usual start, the most frequent first."""
        starts = sorted(self._flows, key=lambda start: -len(self._flows[start]))
        return [self._propose(start, self._flows[start]) for start in starts if len(self._flows[start]) >= MIN_FLOWS]

    def _propose(self, start: str, flows: Sequence[_Observation]) -> LearnedSaga:
        present = Counter(type for flow in flows for type in flow.path)
        types = [type for type in _usual_order(flows) if present[type] >= max(2, MIN_STEP_SHARE * len(flows))]
        main_end = Counter(flow.path[-1] for flow in flows).most_common(1)[0][0]
        complete = [flow for flow in flows if main_end in flow.counts]
        in_complete = Counter(type for flow in complete for type in flow.path)
        steps = tuple(
            LearnedStep(
                type,
                present[type],
                in_complete[type] < REQUIRED_SHARE * len(complete),
                any(flow.counts[type] > 1 for flow in flows),
                next(iter(name for name, _ in self._producers.get(type, Counter()).most_common(1)), None),
            )
            for type in types
            if type != start
        )
        required = [step.type for step in steps if not step.optional]
        ends = Counter(flow.path[-1] for flow in flows).most_common()
        usual_ends = {type for type, count in ends if count >= max(2, MIN_STEP_SHARE * len(flows))}
        outside = [
            flow
            for flow in flows
            if flow.path[-1] not in usual_ends or (main_end in flow.counts and not set(required) <= set(flow.path))
        ]
        durations = sorted(flow.duration_us for flow in complete)
        return LearnedSaga(
            name=start,
            start=start,
            flows=len(flows),
            steps=steps,
            in_sequence=_is_in_sequence(required, complete),
            ends=tuple((type, count) for type, count in ends if type in usual_ends),
            deadline_us=max(MIN_DEADLINE_US, DEADLINE_FACTOR * durations[int(0.99 * (len(durations) - 1))]),
            variants=tuple(
                Variant(path, count) for path, count in Counter(flow.path for flow in flows).most_common(MAX_VARIANTS)
            ),
            not_fitting=len(outside),
            examples=tuple(f"{flow.trace_id:032x}" for flow in outside[:5]),
        )


def _order(node: Node) -> tuple[int, int]:
    return occurrence_time(node.event), node.depth


def _usual_order(flows: Sequence[_Observation]) -> list[str]:
    """Return all types by their mean place in the paths."""
    places: dict[str, list[float]] = {}
    for flow in flows:
        for place, type in enumerate(flow.path):
            places.setdefault(type, []).append(place)
    return sorted(places, key=lambda type: (sum(places[type]) / len(places[type]), type))


def _is_in_sequence(required: Sequence[str], flows: Iterable[_Observation]) -> bool:
    in_order = total = 0
    for flow in flows:
        places = [flow.path.index(type) for type in required if type in flow.counts]
        in_order += places == sorted(places)
        total += 1
    return in_order >= REQUIRED_SHARE * total
