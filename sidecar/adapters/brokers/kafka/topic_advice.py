"""Advice about a topic's settings: the setting, and the command that changes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aiokafka import errors as kafka

from sidecar.adapters.brokers.kafka.errors import TOO_LARGE, InvalidRecord

UNLIMITED_MS = -1
"""Value of `retention.ms` that keeps records forever."""
COMPARED_CONFIGS = ("cleanup.policy", "retention.ms", "max.message.bytes", "min.insync.replicas")
DEAD_LETTER_HEADER_BYTES = 64 << 10
"""Room for the headers that a dead letter adds: its topic must accept records that just fit the origin, plus these."""


def alter_command(servers: Sequence[str], topic: str, name: str, value: object) -> str:
    """Return the shell command that changes a topic's setting."""
    return (
        f"kafka-configs --bootstrap-server {','.join(servers)} --alter --entity-type topics --entity-name {topic} "
        f"--add-config {name}={value}"
    )


def acl_command(servers: Sequence[str], topic: str, operations: Sequence[str]) -> str:
    """Return the shell command that allows operations on a topic."""
    allowed = " ".join(f"--operation {operation}" for operation in operations)
    return (
        f"kafka-acls --bootstrap-server {','.join(servers)} --add --allow-principal User:NAME {allowed} --topic {topic}"
    )


def refusal_advice(kind: type[Exception], topic: str, servers: Sequence[str], size: int) -> str:
    """Return the change that makes a topic accept a batch of `size` bytes that it refused with this error."""
    if kind in TOO_LARGE:
        command = alter_command(servers, topic, "max.message.bytes", size + DEAD_LETTER_HEADER_BYTES)
        return f"max.message.bytes of {topic} is smaller; raise it: {command}"
    if kind is InvalidRecord:
        command = alter_command(servers, topic, "cleanup.policy", "delete")
        return f"cleanup.policy=compact of {topic} refuses records without a key; change it: {command}"
    if kind is kafka.InvalidTimestampError:
        command = alter_command(servers, topic, "message.timestamp.before.max.ms", (1 << 63) - 1)
        return f"message.timestamp.before.max.ms of {topic} refuses records of that time; raise it: {command}"
    return "see the broker's log"


def dead_letter_findings(
    topic: str, configs: Mapping[str, str], origin: str, origin_configs: Mapping[str, str], servers: Sequence[str]
) -> list[str]:
    """Return a sentence for each setting of a dead-letter topic that is worse than that of its origin."""

    def change(name: str, value: object) -> str:
        return alter_command(servers, topic, name, value)

    problems = []
    if "compact" in configs.get("cleanup.policy", ""):
        problems.append(
            f"cleanup.policy={configs['cleanup.policy']}: letters with the same key replace one another, and letters "
            f"without a key are refused; {change('cleanup.policy', 'delete')}"
        )
    keeps, origin_keeps = _retention(configs), _retention(origin_configs)
    if keeps is not None and origin_keeps is not None and keeps >= 0 and not 0 <= origin_keeps <= keeps:
        problems.append(
            f"retention.ms={keeps} is shorter than that of {origin} ({origin_keeps}): letters are deleted while their "
            f"records are still there; {change('retention.ms', origin_keeps)}"
        )
    size, origin_size = _number(configs, "max.message.bytes"), _number(origin_configs, "max.message.bytes")
    if size is not None and origin_size is not None and size < origin_size + DEAD_LETTER_HEADER_BYTES // 8:
        wanted = origin_size + DEAD_LETTER_HEADER_BYTES
        problems.append(
            f"max.message.bytes={size} is not larger than that of {origin} ({origin_size}): letters of large records "
            f"lose their body; {change('max.message.bytes', wanted)}"
        )
    copies, origin_copies = _number(configs, "min.insync.replicas"), _number(origin_configs, "min.insync.replicas")
    if copies is not None and origin_copies is not None and copies < origin_copies:
        problems.append(
            f"min.insync.replicas={copies} is fewer than that of {origin} ({origin_copies}): letters are less durable "
            f"than their records; {change('min.insync.replicas', origin_copies)}"
        )
    return problems


def _retention(configs: Mapping[str, str]) -> int | None:
    """Return `retention.ms`, UNLIMITED_MS if age deletes nothing, None if unknown."""
    if "cleanup.policy" in configs and "delete" not in configs["cleanup.policy"]:
        return UNLIMITED_MS
    return _number(configs, "retention.ms")


def _number(configs: Mapping[str, str], name: str) -> int | None:
    try:
        return int(configs[name])
    except (KeyError, ValueError):
        return None
