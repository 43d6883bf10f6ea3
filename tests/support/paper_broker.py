"""A broker that only tests have: streams are account books, and an offset is a page and a line, `12.7`.

It shows that a broker is a package and a line in the wiring: no module in `sidecar/` knows it. A broker with settings
also has a section in `sidecar/config/source_schema.py`; this one has none.
"""

from __future__ import annotations

import re

from sidecar.adapters.brokers.memory.broker import MemoryBroker
from sidecar.adapters.brokers.memory.log import MemoryLog
from sidecar.adapters.brokers.source import BrokerSource
from sidecar.config.schema import Config
from sidecar.config.value_types import StartPosition
from sidecar.domain.broker_traits import BrokerTraits

LINES_PER_PAGE = 3
_OFFSET = re.compile(r"([1-9][0-9]{0,8})\.([1-3])")


def format_line(offset: int) -> str:
    page, line = divmod(offset, LINES_PER_PAGE)
    return f"{page + 1}.{line + 1}"


def parse_line(text: str) -> int:
    match = _OFFSET.fullmatch(text)
    if match is None:
        raise ValueError(f"expected PAGE.LINE, found {text!r}")
    return (int(match[1]) - 1) * LINES_PER_PAGE + int(match[2]) - 1


PAPER_TRAITS = BrokerTraits(
    scheme="paper",
    position_form="paper://BOOK/PAGE.LINE",
    source_path="sources.paper",
    streams_path="sources.paper.books",
    partitioned=False,
    format_offset=format_line,
    parse_offset=parse_line,
    offset_bits=40,
    bodyless_entries=True,
)


class PaperAdapter:
    """The adapter (`sidecar.adapters.brokers.source.BrokerAdapter`) of books that a test writes."""

    traits = PAPER_TRAITS

    def __init__(self, *books: str) -> None:
        self.books = books
        self.log = MemoryLog(traits=PAPER_TRAITS)
        for book in books:
            self.log.create(book)

    def build_source(self, config: Config, *, max_records: int) -> BrokerSource:
        group = f"tracecar.{config.service}"
        naming = config.stream_names(group)
        broker = MemoryBroker(
            self.log, self.books, group, naming, start=StartPosition("earliest"), max_records=max_records
        )
        return BrokerSource(broker, group, naming)
