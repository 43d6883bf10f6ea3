"""A real Kafka for the session, with a plain, a SASL and a TLS listener, and calls of another client library."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sidecar.demo.embedded_kafka import EmbeddedKafka
from sidecar.domain.model import Outgoing
from sidecar.domain.position import Position

PASSWORD = "s3cret"
_JAAS = "org.apache.kafka.common.security"
_names = itertools.count(1)


@pytest.fixture(scope="session")
def kafka_tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `ca.pem`, the server's `server.pem`, and a client's `client.pem` and `client.key`."""
    import trustme
    from cryptography.hazmat.primitives import serialization as keys

    folder = tmp_path_factory.mktemp("kafka-tls")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    server = authority.issue_cert("localhost", "127.0.0.1")
    # Java reads PKCS #8 only.
    key = keys.load_pem_private_key(server.private_key_pem.bytes(), None)
    pem = key.private_bytes(keys.Encoding.PEM, keys.PrivateFormat.PKCS8, keys.NoEncryption())
    (folder / "server.pem").write_bytes(pem + server.cert_chain_pems[0].bytes())
    client = authority.issue_cert("tracecar@example.org", common_name="tracecar")
    client.private_key_pem.write_to_path(folder / "client.key")
    client.cert_chain_pems[0].write_to_path(folder / "client.pem")
    return folder


@pytest.fixture(scope="session")
def kafka(kafka_tls: Path) -> Iterator[EmbeddedKafka]:
    """One node. All operations are allowed on the plain and TLS listeners and to `admin`; other users need an ACL.

    Listener `SASL`: PLAIN (`admin`, `bob`), OAUTHBEARER (unsecured tokens), SCRAM (for users made by `scram_user`).
    Listener `TLS`: asks for a client's certificate and does without."""
    plain = f'{_JAAS}.plain.PlainLoginModule required user_admin="{PASSWORD}" user_bob="{PASSWORD}";'
    bearer = f'{_JAAS}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="admin";'
    scram = f"{_JAAS}.scram.ScramLoginModule required;"
    properties = {
        "auto.create.topics.enable": "false",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS;User:admin;User:tracecar",
        "ssl.principal.mapping.rules": "RULE:^.*CN=([^,]*).*$/$1/,DEFAULT",
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
        "listener.name.sasl.plain.sasl.jaas.config": plain,
        "listener.name.sasl.oauthbearer.sasl.jaas.config": bearer,
        "listener.name.sasl.scram-sha-256.sasl.jaas.config": scram,
        "listener.name.sasl.scram-sha-512.sasl.jaas.config": scram,
        "listener.name.tls.ssl.keystore.type": "PEM",
        "listener.name.tls.ssl.keystore.location": kafka_tls / "server.pem",
        "listener.name.tls.ssl.truststore.type": "PEM",
        "listener.name.tls.ssl.truststore.location": kafka_tls / "ca.pem",
        "listener.name.tls.ssl.client.auth": "requested",
        "log.retention.check.interval.ms": 1_000,
        "group.min.session.timeout.ms": 500,
    }
    with EmbeddedKafka(listeners={"SASL": "SASL_PLAINTEXT", "TLS": "SSL"}, **properties) as server:
        yield server


def unique(stem: str) -> str:
    """Return a name that no other test uses."""
    return f"{stem}-{os.getpid()}-{next(_names)}"


def admin(servers: str) -> Any:
    from confluent_kafka.admin import AdminClient

    return AdminClient({"bootstrap.servers": servers, "log_level": 0})


def create_topic(servers: str, name: str, partitions: int = 1, copies: int = 1, **config: object) -> str:
    """Create a topic and wait for it. Names of settings have underscores for dots. Returns the topic's name."""
    from confluent_kafka.admin import NewTopic

    settings = {key.replace("_", "."): str(value) for key, value in config.items()}
    client = admin(servers)
    for done in client.create_topics([NewTopic(name, partitions, copies, config=settings)]).values():
        done.result(30)
    return name


def delete_topic(servers: str, name: str) -> None:
    client = admin(servers)  # it ends its requests when it is deleted
    for done in client.delete_topics([name]).values():
        done.result(30)


def delete_records(servers: str, topic: str, partition: int, before: int) -> None:
    """Delete the records of a partition before an offset."""
    from confluent_kafka import TopicPartition

    client = admin(servers)  # it ends its requests when it is deleted
    for done in client.delete_records([TopicPartition(topic, partition, before)]).values():
        done.result(30)


def scram_user(servers: str, name: str, mechanism: str) -> None:
    """Give a user `PASSWORD` for SCRAM-SHA-256 or SCRAM-SHA-512."""
    from confluent_kafka.admin import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

    kind = getattr(ScramMechanism, mechanism.replace("-", "_"))
    change = UserScramCredentialUpsertion(name, ScramCredentialInfo(kind, 4096), PASSWORD.encode())
    client = admin(servers)  # it ends its requests when it is deleted
    for done in client.alter_user_scram_credentials([change]).values():
        done.result(30)


def produce(
    servers: str,
    topic: str,
    values: Sequence[bytes | None],
    *,
    partition: int = -1,
    key: bytes | None = None,
    headers: Sequence[tuple[str, bytes | None]] = (),
    timestamp: int = 0,
    **client: object,
) -> None:
    """Publish with librdkafka and wait until all records are durable."""
    from confluent_kafka import Producer

    settings: Mapping[str, Any] = {"bootstrap.servers": servers, "log_level": 0, "linger.ms": 5, **client}
    producer = Producer(dict(settings))
    failed: list[object] = []
    for value in values:
        while True:
            try:
                producer.produce(
                    topic,
                    value,
                    key,
                    partition,
                    on_delivery=lambda error, _: failed.append(error) if error else None,
                    timestamp=timestamp,
                    headers=list(headers),
                )
                break
            except BufferError:
                producer.poll(0.1)
    assert producer.flush(60) == 0
    assert not failed, failed[0]


def published(servers: str, records: Sequence[Outgoing]) -> list[Position]:
    """Publish records with librdkafka, in order. Returns their positions once all are durable."""
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": servers, "log_level": 0, "linger.ms": 1, "max.in.flight": 1})
    where: dict[int, Position] = {}

    def delivered(index: int, error: object, message: Any) -> None:
        assert error is None, error
        where[index] = Position("kafka", message.topic(), message.partition(), message.offset())

    for index, one in enumerate(records):
        producer.produce(
            one.stream,
            one.value,
            one.key,
            -1 if one.partition is None else one.partition,
            on_delivery=partial(delivered, index),
            timestamp=one.timestamp or 0,
            headers=list(one.headers),
        )
        producer.poll(0)
    assert producer.flush(60) == 0
    return [where[index] for index in range(len(records))]


def allow(servers: str, user: str, kind: str, name: str, operation: str, *, prefixed: bool = False) -> None:
    """Grant a user an operation (`READ`) on a resource (`topic`, `group`, `transactional_id`)."""
    from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, ResourcePatternType, ResourceType

    binding = AclBinding(
        ResourceType[kind.upper()],
        name,
        ResourcePatternType.PREFIXED if prefixed else ResourcePatternType.LITERAL,
        f"User:{user}",
        "*",
        AclOperation[operation],
        AclPermissionType.ALLOW,
    )
    client = admin(servers)  # it ends its requests when it is deleted
    for done in client.create_acls([binding]).values():
        done.result(30)


def committed(servers: str, group: str, topic: str, partitions: int) -> dict[int, int]:
    """Return the group's committed offsets of a topic by partition."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": servers, "group.id": group, "log_level": 0})
    try:
        found = consumer.committed([TopicPartition(topic, number) for number in range(partitions)], timeout=30)
    finally:
        consumer.close()
    return {one.partition: one.offset for one in found if one.offset >= 0}


def add_partitions(servers: str, topic: str, count: int) -> None:
    """Set the number of partitions of a topic."""
    from confluent_kafka.admin import NewPartitions

    client = admin(servers)  # it ends its requests when it is deleted
    for done in client.create_partitions([NewPartitions(topic, count)]).values():
        done.result(30)


def commit(servers: str, group: str, topic: str, offset: int) -> None:
    """Set an idle group's offset of partition 0."""
    from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

    client = admin(servers)  # it ends its requests when it is deleted
    offsets = [ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, offset)])]
    for done in client.alter_consumer_group_offsets(offsets).values():
        done.result(30)


def delete_group(servers: str, group: str) -> None:
    """Delete a group without members, and its offsets. Raises confluent_kafka.KafkaException if it has members."""
    client = admin(servers)  # it ends its requests when it is deleted
    for done in client.delete_consumer_groups([group]).values():
        done.result(30)
