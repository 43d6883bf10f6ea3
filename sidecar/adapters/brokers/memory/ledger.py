"""Ledger in memory: compares, sets and publishes in one step of the event loop."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.adapters.brokers.memory.log import MemoryLog
from sidecar.domain.errors import Refused
from sidecar.domain.ports.ledger import LedgerOutcome, LedgerTransaction
from sidecar.domain.stream_names import StreamNames


class MemoryLedger:
    """`sidecar.domain.ports.ledger.Ledger` on a `MemoryLog`, shared by all brokers of that log."""

    def __init__(self, log: MemoryLog, naming: StreamNames) -> None:
        self._log, self._naming = log, naming

    async def entries(self, stream: str | None, keys: Sequence[str]) -> list[bytes | None]:
        return [self._log.ledger.get((stream, key)) for key in keys]

    async def under(self, prefix: str) -> dict[str, bytes]:
        entries = {key: value for (stream, key), value in self._log.ledger.items() if stream is None}
        return {key: value for key, value in entries.items() if key.startswith(prefix)}

    async def act(self, acts: Sequence[LedgerTransaction]) -> list[LedgerOutcome]:
        index = 0
        for act in acts:
            for outgoing in act.outgoing:
                self._log.check(outgoing, index)
                if outgoing.stream not in self._log.streams and not self._naming.is_dead_letter(outgoing.stream):
                    raise Refused(f"there is no stream {outgoing.stream}: create it, then try again")
                index += 1
        return [self._carry_out(act) for act in acts]

    def _carry_out(self, act: LedgerTransaction) -> LedgerOutcome:
        ledger = self._log.ledger
        current = [ledger.get((act.stream, entry.key)) for entry in act.entries]
        if current == [entry.after for entry in act.entries]:
            return LedgerOutcome(True, tuple(current))
        if current != [entry.before for entry in act.entries]:
            return LedgerOutcome(False, tuple(current))
        for entry in act.entries:
            if entry.after is None:
                ledger.pop((act.stream, entry.key), None)
            else:
                ledger[act.stream, entry.key] = entry.after
        self._log.ledger_started_at.setdefault(act.stream, self._log.clock())
        like = len(self._log.streams.get(act.stream or "", ())) or 1
        for outgoing in act.outgoing:
            self._log.create(outgoing.stream, like)
        positions = tuple([self._log.append(outgoing) for outgoing in act.outgoing])
        return LedgerOutcome(True, tuple([entry.after for entry in act.entries]), positions)

    async def ledger_started_at(self, stream: str | None) -> int | None:
        return self._log.ledger_started_at.get(stream)
