"""Each saga is counted by one sidecar of a group."""

from __future__ import annotations

import pytest

from sidecar.api import models
from sidecar.domain.model import Event
from sidecar.domain.ports.broker import Lease
from sidecar.domain.position import Partition, Position
from sidecar.insights.sagas.declaration import SagaDeclaration
from sidecar.insights.sagas.saga import Occurrence, Saga
from sidecar.runtime.saga_ownership import SagaOwnership


def saga(system: str, partition: int, offset: int) -> Saga:
    position = Position(system, "orders", partition, offset)
    declaration = SagaDeclaration(name="order", start="Placed", steps=(), deadline_us=1)
    return Saga(declaration, Occurrence(position, "Placed", 0, None), Event(position, None, 0, 0), 1)


def member(name: str, here: str, *, alive: bool = True) -> models.MemberModel:
    return models.MemberModel(
        member=name, here=name == here, alive=alive, last_heartbeat=None, host="h", service="shop", version="1",
        groups=[], started_at=None, streams=[], lag=None, rate=0.0, waiting=0, not_indexed=0,
    )  # fmt: skip


@pytest.mark.parametrize("alive", [True, False])
def test_living_members_share_the_sagas_of_a_stream_that_all_read(alive: bool) -> None:
    sagas = [saga("redis", 0, offset << 64) for offset in range(300)]
    counted: list[int] = []
    for here in ("a", "b"):
        members = [member("a", here), member("b", here), member("c", here, alive=alive)]
        counted.append(sum(map(SagaOwnership(lambda members=members: members, list).build_check(), sagas)))  # type: ignore[misc]
    assert all(50 < count < 200 for count in counted)
    assert (sum(counted) == len(sagas)) is not alive, "a dead member has no share"


def test_the_member_that_commits_a_partition_counts_its_sagas() -> None:
    lease = Lease(Partition("kafka", "orders", 1), 0)
    check = SagaOwnership(lambda: [member("a", "a"), member("b", "a")], lambda: [lease]).build_check()
    assert [check(saga("kafka", partition, 7)) for partition in range(3)] == [False, True, False]


def test_a_single_sidecar_counts_every_saga() -> None:
    check = SagaOwnership(None, list).build_check()
    assert all(check(saga("redis", 0, offset)) for offset in range(50))
