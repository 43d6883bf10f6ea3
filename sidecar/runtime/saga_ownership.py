"""Distribution of sagas, and of other work, among the sidecars of a group: metrics and alerts count each saga once."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence

from sidecar.api import models
from sidecar.domain.broker_traits import traits_of
from sidecar.domain.ports.broker import Lease
from sidecar.insights.sagas.saga import Saga


class SagaOwnership:
    """Decides which sagas this sidecar counts.

    Every member of a group with a shared index follows all sagas. On a broker with partitions, the member that commits
    the partition of the first event counts the saga. On others, all members read each stream: the living ones share the
    sagas by the hash of their ids. While the membership changes, a saga may be counted twice, or not at all, until the
    members agree.
    """

    def __init__(
        self, members: Callable[[], Sequence[models.MemberModel]] | None, leases: Callable[[], Iterable[Lease]]
    ) -> None:
        """Create the distribution.

        Args:
            members: Returns the members of the group. None: this sidecar has no shared index.
            leases: Returns the leases of this sidecar.
        """
        self._members, self._leases = members, leases

    def is_first(self) -> bool:
        """Return True for one living member of the group: the one that works for all."""
        alive = [] if self._members is None else [member for member in self._members() if member.alive]
        return not alive or min(alive, key=lambda member: member.member).here

    def build_check(self) -> Callable[[Saga], bool]:
        """Build a function that returns whether this sidecar counts a saga, as of now."""
        owned = {lease.partition for lease in self._leases()}
        alive = [] if self._members is None else [member for member in self._members() if member.alive]
        names = sorted(member.member for member in alive)
        here = next((names.index(member.member) for member in alive if member.here), None)
        partitioned: dict[str, bool] = {}

        def is_counted(saga: Saga) -> bool:
            position = saga.start.position
            system = position.system
            if system not in partitioned:
                partitioned[system] = traits_of(system).partitioned
            if partitioned[system]:
                return position.log in owned
            return here is None or zlib.crc32(saga.id.encode("utf-8", "surrogateescape")) % len(names) == here

        return is_counted
