"""Every error of aiokafka is translated to one of ours, and so are error codes that aiokafka does not know."""

from __future__ import annotations

import pytest
from aiokafka import errors as kafka

from sidecar.adapters.brokers.kafka import errors
from sidecar.adapters.brokers.kafka.errors import check, for_code, is_transient, meaning, translate, translate_errors
from sidecar.domain.errors import Disconnected, Fenced, Outage, Refused, TooLarge


def _all_kinds() -> set[type[BaseException]]:
    """Return every exception class that aiokafka defines."""
    found = {one for one in vars(kafka).values() if isinstance(one, type) and issubclass(one, Exception)}
    waiting = list(found)
    while waiting:
        for one in waiting.pop().__subclasses__():
            if one not in found and one.__module__.startswith(("aiokafka", "sidecar")):
                found.add(one)
                waiting.append(one)
    return {one for one in found if one.__module__ in (kafka.__name__, errors.__name__)}


def test_no_error_is_left_out():
    groups = (errors.UNREACHABLE, errors.TRANSIENT, errors.FENCED, errors.REFUSED)
    named = [one for group in groups for one in group]
    assert len(named) == len(set(named)), "each in one group only"
    assert {one.__name__ for one in _all_kinds() - set(named)} == set()


def test_our_own_codes_do_not_shadow_aiokafkas():
    assert not set(errors._LATER) & set(kafka.kafka_errors) - {
        code for code, one in kafka.kafka_errors.items() if one.__module__ == errors.__name__
    }


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (kafka.KafkaConnectionError("x"), Disconnected),
        (ConnectionResetError("x"), Disconnected),
        (TimeoutError(), Disconnected),
        (kafka.NotLeaderForPartitionError(), Outage),
        (kafka.InvalidProducerEpoch(), Fenced),
        (kafka.TopicAuthorizationFailedError("orders"), Refused),
        (kafka.UnknownError(), Outage),
    ],
)
def test_meanings(error: Exception, ours: type[Exception]):
    with pytest.raises(ours, match="reading orders") as caught, translate_errors("reading orders"):
        raise error
    assert type(caught.value) is ours
    assert caught.value.__cause__ is error
    assert is_transient(error) is issubclass(ours, Outage)


def test_our_own_errors_pass_through():
    ours = TooLarge("big", 3)
    assert translate(ours, "x") is ours
    with pytest.raises(TooLarge), translate_errors("x"):
        raise ours


def test_codes():
    check(0)
    assert for_code(90) is errors.FencedProducer
    assert meaning(for_code(90)) is Fenced
    assert for_code(12_345) is kafka.UnknownError
    with pytest.raises(kafka.TopicAuthorizationFailedError, match="orders"):
        check(29, "orders")
