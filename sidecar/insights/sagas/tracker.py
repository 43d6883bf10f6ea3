"""Follows the sagas of all declarations through the events, in bounded memory.

An event belongs to a saga by its flow (a trace id, correlation id or causation id that the saga's events have) or by
one key (aggregate id, correlation id, record key). An effect can be appended before its cause is seen, on another
partition; events that belong to no saga yet are therefore kept for a while and tried again.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence

from sidecar.domain.model import Event
from sidecar.domain.ports.index import Node
from sidecar.domain.position import Partition
from sidecar.insights.producer_name import name_producer
from sidecar.insights.sagas.declaration import SagaDeclaration
from sidecar.insights.sagas.saga import Occurrence, Saga, list_roles, occurrence_time

MAX_SAGAS = 20_000
EVICTED_SHARE = 100
"""One of so many sagas is evicted beyond the excess."""
MAX_UNJOINED_EVENTS = 10_000
"""Events of declared types that belong to no saga yet; beyond, the oldest are forgotten."""
MAX_KEYS_PER_SAGA = 1_000
MAX_PRODUCERS_PER_STEP = 100
MAX_SAGAS_PER_KEY = 50
"""Sagas that one id may join an event to; an id that more of them share says nothing."""
MAX_SHARED_KEYS = 10_000

_Key = tuple[str, str | int]
"""Kind and value of what joins events: `("trace", 1)`, `("event", "e-1")`."""


class SagaTracker:
    """Assigns events to sagas, and holds the running sagas and the latest ended ones."""

    def __init__(
        self,
        declarations: Sequence[SagaDeclaration],
        *,
        join: Iterable[str] = ("trace", "correlation", "causation"),
        max_sagas: int = MAX_SAGAS,
    ) -> None:
        """Create the tracker.

        Args:
            declarations: The sagas to follow.
            join: What joins events to a flow (`correlation.join` of the configuration).
            max_sagas: Sagas that are kept; beyond, ended ones are evicted before running ones, oldest first.
        """
        self.declarations = tuple(declarations)
        self.evicted = 0
        """Sagas that were evicted."""
        self._max_sagas, joins = max_sagas, frozenset(join)
        self._joins_traces, self._joins_correlations = "trace" in joins, "correlation" in joins
        self._joins_causes = "causation" in joins
        self._roles = {declaration.name: list_roles(declaration) for declaration in declarations}
        self._types = frozenset(type for declaration in declarations for type in declaration.types())
        self._starts: dict[str, list[SagaDeclaration]] = {}
        for declaration in declarations:
            self._starts.setdefault(declaration.start, []).append(declaration)
        self._follows_flows = any(declaration.correlation == "flow" for declaration in declarations)
        self._sagas: OrderedDict[str, Saga] = OrderedDict()
        self._keyed = [(each, _key_kind(each)) for each in declarations if each.correlation != "flow"]
        self._by_key: dict[str, dict[str | int, list[Saga]]] = {
            kind: {} for kind in ("trace", "correlation", "event", *(kind for _, kind in self._keyed))
        }
        """Sagas by kind and value of a key. A list is replaced, never changed."""
        self._no_sagas: list[Saga] = []
        self._keys: dict[str, set[_Key]] = {}
        self._shared_keys: OrderedDict[_Key, None] = OrderedDict()
        """Keys that too many sagas share."""
        self._unjoined: deque[Node] = deque(maxlen=MAX_UNJOINED_EVENTS)
        self._producers: dict[tuple[str, int], dict[str, int]] = {}

    def observe(self, nodes: Iterable[Node]) -> None:
        """Add events to their sagas, oldest first. An event that was added before changes nothing."""
        for node in nodes:
            if not self._add(node) and node.event.type in self._types:
                self._unjoined.append(node)
        self._retry()
        self._evict()

    def _retry(self) -> None:
        """Try the events again that belonged to no saga, until none of them joins one."""
        progress = True
        while progress and self._unjoined:
            waiting, self._unjoined = self._unjoined, deque(maxlen=MAX_UNJOINED_EVENTS)
            self._unjoined.extend(node for node in waiting if not self._add(node))
            progress = len(self._unjoined) < len(waiting)

    def _add(self, node: Node) -> bool:
        """Add an event to its sagas. Returns False if it belongs to none."""
        event = node.event
        if node.status == "duplicate":
            return True
        type, rejected = event.type, event.rejection is not None
        started = type in self._starts and not rejected
        if started:
            self._start(node)
        joined = self._find(event)
        if not joined:
            return started
        is_declared = type in self._types
        occurrence = _occurrence(event) if is_declared or rejected else None
        for saga in joined:
            self._learn_keys(saga, event)
            if occurrence is None or event.position == saga.start.position:
                continue
            index = saga.add(occurrence, rejected=rejected)
            if index is not None:
                self._count_producer(saga, index, event.producer)
        return True

    def _find(self, event: Event) -> list[Saga]:
        """Return the sagas to which an event belongs by its ids, each once."""
        by_key, joined = self._by_key, self._no_sagas
        for kind, value in self._list_joining_keys(event):
            sagas = by_key[kind].get(value)
            if sagas is None or sagas == joined:
                continue
            joined = sagas if not joined else list(dict.fromkeys([*joined, *sagas]))
        return joined

    def _start(self, node: Node) -> None:
        event = node.event
        for declaration in self._starts[event.type or ""]:
            if event.replay_of is not None and any(saga.declaration is declaration for saga in self._find(event)):
                continue  # the replay of a start belongs to the saga that it began
            saga = Saga(declaration, _occurrence(event), event, node.trace_id, self._roles[declaration.name])
            if saga.id not in self._sagas:
                self._sagas[saga.id] = saga
                self._keys[saga.id] = set()
                self._learn_keys(saga, event)

    def _list_joining_keys(self, event: Event) -> list[_Key]:
        """Return the keys by which an event may belong to a saga."""
        keys: list[_Key] = []
        if self._follows_flows:
            trace_id, correlation_id = event.trace_id, event.correlation_id
            if trace_id is not None and self._joins_traces:
                keys.append(("trace", trace_id))
            if correlation_id is not None and self._joins_correlations:
                keys += ("correlation", correlation_id), ("event", correlation_id)
            if self._joins_causes:
                if event.causation_id is not None:
                    keys.append(("event", event.causation_id))
                if event.event_id is not None:
                    keys.append(("event", event.event_id))
        for declaration, kind in self._keyed:
            value = _own_key(declaration, event)
            if value is not None:
                keys.append((kind, value))
        return keys

    def _learn_keys(self, saga: Saga, event: Event) -> None:
        """Join later events to the saga by the ids of this one."""
        keys, declaration = self._keys[saga.id], saga.declaration
        if len(keys) >= MAX_KEYS_PER_SAGA:
            return
        if declaration.correlation == "flow":
            trace_id, correlation_id, event_id = event.trace_id, event.correlation_id, event.event_id
            if trace_id is not None and self._joins_traces:
                self._learn_key(saga, keys, ("trace", trace_id))
            if correlation_id is not None and self._joins_correlations:
                self._learn_key(saga, keys, ("correlation", correlation_id))
            if event_id is not None:
                self._learn_key(saga, keys, ("event", event_id))
        elif (value := _own_key(declaration, event)) is not None:
            self._learn_key(saga, keys, (_key_kind(declaration), value))

    def _learn_key(self, saga: Saga, keys: set[_Key], key: _Key) -> None:
        if key in keys or key in self._shared_keys:
            return
        keys.add(key)
        kind, value = key
        by_value, declaration = self._by_key[kind], saga.declaration
        sagas = by_value.get(value)
        if sagas is None:
            by_value[value] = [saga]
        elif len(sagas) >= MAX_SAGAS_PER_KEY:
            self._stop_joining(key)
        elif declaration.correlation == "flow":
            by_value[value] = [*sagas, saga]
        else:
            # A key may start a saga again: its events belong to the latest one.
            by_value[value] = [*(other for other in sagas if other.declaration is not declaration), saga]

    def _stop_joining(self, key: _Key) -> None:
        """Stop to join events by a key that too many sagas share, such as a constant correlation id."""
        kind, value = key
        self._by_key[kind].pop(value, None)
        self._shared_keys[key] = None
        if len(self._shared_keys) > MAX_SHARED_KEYS:
            self._shared_keys.popitem(last=False)

    def _count_producer(self, saga: Saga, index: int, producer: str | None) -> None:
        counts = self._producers.setdefault((saga.declaration.name, index), {})
        name = None if producer is None else name_producer(producer)
        if name is not None and (name in counts or len(counts) < MAX_PRODUCERS_PER_STEP):
            counts[name] = counts.get(name, 0) + 1

    def expected_from(self, declaration: SagaDeclaration, index: int) -> str | None:
        """Return who should produce a step: the declared consumer group, else the usual producer; None if unknown."""
        declared = declaration.steps[index].expected_from
        if declared is not None:
            return declared
        counts = self._producers.get((declaration.name, index), {})
        return max(counts, key=lambda name: (counts[name], name), default=None)

    def _evict(self) -> None:
        excess = len(self._sagas) - self._max_sagas
        if excess <= 0:
            return
        excess += self._max_sagas // EVICTED_SHARE  # looking for ended ones visits all, so it is done for many at once
        ended = [saga for saga in self._sagas.values() if saga.end is not None][:excess]
        running = [saga for saga in self._sagas.values() if saga.end is None][: excess - len(ended)]
        for saga in (*ended, *running):
            self.remove(saga)
            self.evicted += 1

    def remove(self, saga: Saga) -> None:
        """Forget a saga."""
        if self._sagas.get(saga.id) is not saga:
            return
        del self._sagas[saga.id]
        for kind, value in self._keys.pop(saga.id):
            by_value = self._by_key[kind]
            sagas = [other for other in by_value.get(value, ()) if other is not saga]
            if sagas:
                by_value[value] = sagas
            else:
                by_value.pop(value, None)

    def discard(self, partition: Partition) -> None:
        """Forget the sagas that started on a partition whose stream was created again, and its waiting events."""
        for saga in [saga for saga in self._sagas.values() if saga.start.position.log == partition]:
            self.remove(saga)
        waiting = [node for node in self._unjoined if node.event.position.log != partition]
        self._unjoined = deque(waiting, maxlen=MAX_UNJOINED_EVENTS)

    def get(self, id: str) -> Saga | None:
        """Return the saga with an id."""
        return self._sagas.get(id)

    def sagas(self) -> list[Saga]:
        """Return every saga, in the order in which they were seen."""
        return list(self._sagas.values())


def _key_kind(declaration: SagaDeclaration) -> str:
    """Return the kind of a key that belongs to one declaration only."""
    return f"{declaration.name}/{declaration.correlation}"


def _own_key(declaration: SagaDeclaration, event: Event) -> str | None:
    match declaration.correlation:
        case "aggregate":
            return event.aggregate_id
        case "correlation":
            return event.correlation_id
        case "key":
            return event.key
    return None


def _occurrence(event: Event) -> Occurrence:
    return Occurrence(event.position, event.type or "", occurrence_time(event), event.producer)
