"""Learns declarations of sagas from flows: the usual start, steps, ends and times, and what does not fit them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from msgspec import Struct

from sidecar.domain.ports.index import Flow, Node
from sidecar.insights.producer_name import name_producer
from sidecar.insights.sagas.saga import occurrence_time

MIN_FLOWS = 5
"""Minimum number of flows with the same start from which a saga is proposed."""
MIN_STEP_SHARE = 0.02
"""Share of the flows in which a type must occur to become a step."""
REQUIRED_SHARE = 0.9
"""Share of the completed flows from which a step is required."""
USUAL_SHARE = 0.99
"""Share of the completed flows whose duration decides about the deadline."""
DEADLINE_FACTOR = 3
MIN_DEADLINE_US = 1_000_000
MAX_VARIANTS = 10
_SKIPPED = frozenset({"duplicate", "rejected"})


class Variant(Struct, frozen=True):
    """A path that flows took: types in order, repeated ones once."""

    path: tuple[str, ...]
    flows: int


class LearnedStep(Struct, frozen=True):
    """A step of a learned saga: an event type that occurs in enough flows."""

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
    """Trace ids (or correlation ids) of flows that do not fit, at most five."""


class _Observation(Struct, frozen=True):
    """A flow, or several equal ones, reduced to the path."""

    path: tuple[str, ...]
    repeated: frozenset[str]
    """Types that occur several times in one flow."""
    duration_us: int
    flow_id: str
    flows: int


class SagaLearner:
    """Collects flows by the type of their first event, and proposes a declaration for each frequent start."""

    def __init__(self) -> None:
        self._flows: dict[str, list[_Observation]] = {}
        self._producers: dict[str, Counter[str]] = {}

    def observe_flow(self, flow: Flow) -> None:
        """Learn from a whole flow. Events without a type, duplicates and rejected events are left out."""
        nodes = sorted(
            (node for node in flow.nodes if node.event.type is not None and node.status not in _SKIPPED), key=_order
        )
        if len(nodes) < 2:
            return
        types = [node.event.type or "" for node in nodes]
        for node in nodes:
            if node.event.producer is not None:
                self.observe_producer(node.event.type or "", node.event.producer)
        self.observe_path(types, _order(nodes[-1])[0] - _order(nodes[0])[0], f"{flow.trace_id:032x}")

    def observe_path(self, types: Sequence[str], duration_us: int, flow_id: str, flows: int = 1) -> None:
        """Learn from flows of which only the event types and the duration are known.

        Args:
            types: Event types in the order of occurrence, at least two.
            duration_us: Microseconds from the first event to the last. For several flows: a duration that nearly all of
                them keep within.
            flow_id: An id of such a flow.
            flows: Number of such flows.
        """
        repeated = frozenset(type for type, count in Counter(types).items() if count > 1)
        observation = _Observation(tuple(dict.fromkeys(types)), repeated, duration_us, flow_id, flows)
        self._flows.setdefault(types[0], []).append(observation)

    def observe_producer(self, type: str, producer: str, events: int = 1) -> None:
        """Note that a producer publishes events of a type."""
        self._producers.setdefault(type, Counter())[name_producer(producer)] += events

    @property
    def flows(self) -> int:
        """Number of observed flows."""
        return sum(map(_count_flows, self._flows.values()))

    def propose(self) -> list[LearnedSaga]:
        """Return a declaration for each usual start, the most frequent first."""
        totals = {start: _count_flows(flows) for start, flows in self._flows.items()}
        starts = sorted(totals, key=lambda start: (-totals[start], start))
        return [self._propose(start, self._flows[start]) for start in starts if totals[start] >= MIN_FLOWS]

    def _propose(self, start: str, flows: Sequence[_Observation]) -> LearnedSaga:
        total = _count_flows(flows)
        least = max(2, MIN_STEP_SHARE * total)
        present = _count_types(flows)
        types = [type for type in _usual_order(flows) if present[type] >= least]
        ends = Counter[str]()
        for flow in flows:
            ends[flow.path[-1]] += flow.flows
        main_end = ends.most_common(1)[0][0]
        complete = [flow for flow in flows if main_end in flow.path]
        completed = _count_flows(complete)
        in_complete = _count_types(complete)
        steps = tuple(
            LearnedStep(
                type,
                present[type],
                in_complete[type] < REQUIRED_SHARE * completed,
                any(type in flow.repeated for flow in flows),
                next(iter(name for name, _ in self._producers.get(type, Counter()).most_common(1)), None),
            )
            for type in types
            if type != start
        )
        required = [step.type for step in steps if not step.optional]
        usual_ends = {type for type, count in ends.items() if count >= least}
        outside = [
            flow
            for flow in flows
            if flow.path[-1] not in usual_ends or (main_end in flow.path and not set(required) <= set(flow.path))
        ]
        return LearnedSaga(
            name=start,
            start=start,
            flows=total,
            steps=steps,
            in_sequence=_is_in_sequence(required, complete),
            ends=tuple((type, count) for type, count in ends.most_common() if type in usual_ends),
            deadline_us=max(MIN_DEADLINE_US, DEADLINE_FACTOR * _usual_duration(complete)),
            variants=tuple(Variant(path, count) for path, count in _count_paths(flows).most_common(MAX_VARIANTS)),
            not_fitting=_count_flows(outside),
            examples=tuple(flow.flow_id for flow in outside[:5]),
        )


def _order(node: Node) -> tuple[int, int]:
    return occurrence_time(node.event), node.depth


def _count_flows(flows: Iterable[_Observation]) -> int:
    return sum(flow.flows for flow in flows)


def _count_types(flows: Iterable[_Observation]) -> Counter[str]:
    counts = Counter[str]()
    for flow in flows:
        for type in flow.path:
            counts[type] += flow.flows
    return counts


def _count_paths(flows: Iterable[_Observation]) -> Counter[tuple[str, ...]]:
    counts = Counter[tuple[str, ...]]()
    for flow in flows:
        counts[flow.path] += flow.flows
    return counts


def _usual_duration(flows: Sequence[_Observation]) -> int:
    """Return the 99th percentile of the durations, in microseconds."""
    last = int(USUAL_SHARE * (_count_flows(flows) - 1))
    for flow in sorted(flows, key=lambda flow: flow.duration_us):
        last -= flow.flows
        if last < 0:
            return flow.duration_us
    return 0


def _usual_order(flows: Sequence[_Observation]) -> list[str]:
    """Return all types by their mean place in the paths."""
    places, counts = Counter[str](), _count_types(flows)
    for flow in flows:
        for place, type in enumerate(flow.path):
            places[type] += place * flow.flows
    return sorted(places, key=lambda type: (places[type] / counts[type], type))


def _is_in_sequence(required: Sequence[str], flows: Iterable[_Observation]) -> bool:
    in_order = total = 0
    for flow in flows:
        places = [flow.path.index(type) for type in required if type in flow.path]
        in_order += flow.flows if places == sorted(places) else 0
        total += flow.flows
    return in_order >= REQUIRED_SHARE * total
