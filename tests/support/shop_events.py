"""The events of the demo's shop, as a sidecar decodes and indexes them, without a broker."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sidecar.adapters.index.memory.index import MemoryIndex
from sidecar.adapters.registry.directory import DirectoryRegistry
from sidecar.config import schema as config
from sidecar.decoding.decoder import EventDecoder, stop_on_outage
from sidecar.decoding.schema_cache import SchemaCache
from sidecar.demo.runner import load_registered_schemas
from sidecar.demo.shop.handlers import Emission, EventHandlers
from sidecar.demo.shop.kafka_transport import PARTITION_COUNT
from sidecar.demo.shop.orders import FIRST_NUMBER
from sidecar.demo.shop.schemas import DIRECTORY
from sidecar.demo.shop.serializers import Serializers
from sidecar.demo.shop.simulation import simulate_order
from sidecar.domain.model import Decoded, Record
from sidecar.domain.ports.index import Flow, Node
from sidecar.domain.position import Position
from tests.support.schema_formats import FORMATS

SHOP_OPENS_MS = 1_767_225_600_000
ORDER_INTERVAL_MS = 250


@dataclass
class ShopEvents:
    """Everything that a shop publishes for some orders."""

    emissions: list[Emission]
    decoded: list[Decoded]
    index: MemoryIndex
    schemas: SchemaCache

    async def nodes(self) -> list[Node]:
        """Return every event, newest first."""
        nodes: list[Node] = []
        cursor = None
        while True:
            page = await self.index.newest(cursor, 500)
            nodes += page.nodes
            cursor = page.cursor
            if cursor is None:
                return nodes

    async def flows(self) -> list[Flow]:
        """Return every flow."""
        flows: list[Flow] = []
        cursor = None
        while True:
            page, cursor = await self.index.flows(500, cursor)
            flows += page
            if cursor is None:
                return flows


async def run_shop(orders: int, system: str = "redis", *, seed: int = 1, clean: bool = False) -> ShopEvents:
    """Publish the events of some orders into an index."""
    formats = Serializers(await load_registered_schemas(), flat_entries=system == "redis", old_instances=not clean)
    handlers = EventHandlers(seed, formats, clean=clean)
    emissions: list[Emission] = []
    records: list[Record] = []
    lengths: Counter[tuple[str, int]] = Counter()
    for number in range(orders):
        at = SHOP_OPENS_MS + number * ORDER_INTERVAL_MS
        of_order = simulate_order(handlers, formats, FIRST_NUMBER + number, at)
        emissions += of_order
        records += [_record(system, emission, at + place, lengths) for place, emission in enumerate(of_order)]
    schemas = SchemaCache(DirectoryRegistry(DIRECTORY), FORMATS)
    decoded = await EventDecoder(schemas, config.EnvelopeConfig()).decode_with_schemas(records, stop_on_outage)
    index = MemoryIndex(200_000, join=("trace", "correlation", "causation"), max_flow=10_000)
    index.add([each.event for each in decoded])
    return ShopEvents(emissions, decoded, index, schemas)


def _record(system: str, emission: Emission, at: int, lengths: Counter[tuple[str, int]]) -> Record:
    stream, key = emission.service.stream, emission.wire.key if system == "kafka" else None
    partition = zlib.crc32(key) % PARTITION_COUNT if key is not None else 0
    lengths[stream, partition] += 1
    number = lengths[stream, partition]
    position = Position(system, stream, partition, (at << 64) + number if system == "redis" else number)
    return Record(position, key, emission.wire.value, emission.wire.headers, at)


def opened_flows(emissions: Sequence[Emission], orders: int) -> int:
    """Return the number of flows in these records."""
    return orders + sum(
        emission.opens_flow or (emission.fault is not None and emission.fault.unlinked) for emission in emissions
    )
