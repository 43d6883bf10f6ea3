"""Dead letters as real frameworks wrote them: every known field of each, without a broker."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from sidecar.adapters.registry.memory import MemoryRegistry
from sidecar.config.schema import Config, DeadLettersConfig, EnvelopeConfig, SourcesConfig
from sidecar.dead_letters.dialects import read
from sidecar.dead_letters.identity import add_identities
from sidecar.decoding.decoder import EventDecoder
from sidecar.decoding.schema_cache import SchemaCache
from sidecar.domain.model import DeadLetter, Decoded, Record
from tests.support import foreign
from tests.support.schema_formats import FORMATS

READ = ["{stream}-dlt", "{stream}-dlq", "dead-letter-topic-*"]
NAMING = Config(service="shop", sources=SourcesConfig(), dead_letters=DeadLettersConfig(read=READ)).stream_names("g")


def field_of_letter(letter: DeadLetter, name: str) -> Any:
    """Return a field under the name that the files use."""
    if name == "root_cause":
        root = letter.root_cause
        return root and (f"{root.type}: {root.message}" if root.message else root.type)
    if name == "origin":
        return letter.origin and str(letter.origin)
    return getattr(letter, name)


@pytest.mark.parametrize(
    "name", [name for name in foreign.files() if any(line.is_letter for line in foreign.load(name))]
)
async def test_every_field_of_a_dead_letter_is_right(name: str) -> None:
    wrong = []
    catalog = SchemaCache(MemoryRegistry(), FORMATS)
    decoder = EventDecoder(catalog, EnvelopeConfig())
    try:

        async def decode(records: Sequence[Record]) -> list[Decoded]:
            return await decoder.decode_with_schemas(records)

        lines = foreign.load(name)
        await decode([line.record for line in lines if not line.is_letter])  # so that the keys of a stream are known
        for line in lines:
            if not line.is_letter:
                continue
            letter = read(line.record, NAMING)
            await add_identities([letter], decode)
            found = foreign.differences(line.expected, lambda field, letter=letter: field_of_letter(letter, field))
            if found:
                wrong.append((str(line.record.position), found))
            if name.startswith(("spring", "kafka")):
                assert letter.stacktrace, "it is kept"
    finally:
        await catalog.close()
    assert not wrong, json.dumps(wrong, default=str, indent=1)
