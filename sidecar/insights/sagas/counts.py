"""Numbers of sagas by state, and by the step that stuck ones wait for."""

from __future__ import annotations

from collections.abc import Iterable

from sidecar.insights.sagas.declaration import SagaDeclaration
from sidecar.insights.sagas.saga import Saga, SagaState

WAITS_FOR_END = "end"
"""Name in place of a step if all required steps came, and no end did."""


class SagaCounts:
    """Counts sagas at one moment. States without sagas count zero."""

    def __init__(self, declarations: Iterable[SagaDeclaration], now: int) -> None:
        """Create the counts. `now`: microseconds since 1970."""
        self._now = now
        self.states = {(declaration.name, state): 0 for declaration in declarations for state in SagaState}
        """Number of sagas by name and state."""
        self.waiting: dict[tuple[str, str], int] = {}
        """Number of stuck sagas by name and step."""
        self.stuck: list[Saga] = []

    def add(self, sagas: Iterable[Saga]) -> None:
        """Count some sagas."""
        for saga in sagas:
            name, state = saga.declaration.name, saga.state(self._now)
            self.states[name, state] += 1
            if state is SagaState.STUCK:
                index = saga.next_missing()
                step = WAITS_FOR_END if index is None else saga.declaration.steps[index].name
                self.waiting[name, step] = self.waiting.get((name, step), 0) + 1
                self.stuck.append(saga)

    def count_state(self, state: SagaState) -> int:
        """Return the number of sagas of all names in a state."""
        return sum(count for (_, each), count in self.states.items() if each is state)
