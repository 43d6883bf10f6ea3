"""Error messages never show the password of an address, also if a library wrote the message."""

from __future__ import annotations

import pytest

from sidecar.domain.errors import Disconnected, Outage, RecordRefused, Refused, TooLarge
from sidecar.domain.secrets import mask_credentials


@pytest.mark.parametrize(
    "sentence",
    [
        "cannot connect to http://user:hunter2@127.0.0.1:9/v1/traces: refused",
        "user:hunter2@127.0.0.1:9 answers UNAVAILABLE: errors resolving user:hunter2@127.0.0.1:9: [x]",
        "target='user:hunter2@collector.example:4317' failed",
        "redis://:hunter2@localhost:6379/0 is away",
        "rediss://me:hunter2@[::1]:6379 and https://a:hunter2@b/c?token=hunter2",
        "redis+sentinel://u:hunter2@h1:26379,h2:26379/MASTER/0",
        "https://hunter2@git.example/x refused",
        "https://a@h/x?sig=hunter2 and http://h?AccountKey=hunter2&x=1",
    ],
)
def test_passwords_are_masked(sentence: str) -> None:
    for error in (
        Outage(sentence),
        Disconnected(sentence),
        Refused(sentence),
        RecordRefused(sentence),
        TooLarge(sentence, 0),
    ):
        assert "hunter2" not in str(error)
        assert "hunter2" not in repr(error)
        assert "***@" in str(error)


@pytest.mark.parametrize(
    "sentence",
    [
        "no letter tracecar.shop@kafka://orders/0/17 is in kafka://orders.dlt/0/3",
        "redis://orders/1700000000000-0: mail ada@example.org at 12:30",
        "partition 3 of http://registry:8081/subjects/a@b",
        "tracecar.shop@redis://or:ders/1-1 and g@kafka://b/0/1",
    ],
)
def test_positions_and_ids_stay_as_they_are(sentence: str) -> None:
    assert mask_credentials(sentence) == sentence
