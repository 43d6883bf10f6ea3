"""Options of `sources.kafka.client`, with type and effect. This is the only list of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from sidecar.domain.errors import Mistake

CODEC_NAMES = ("gzip", "snappy", "lz4", "zstd")


class ClientOption(Struct, frozen=True):
    """An option that may be set."""

    type: type
    effect: str


CLIENT_OPTIONS: Mapping[str, ClientOption] = {
    "client_id": ClientOption(str, "Name of this client in the broker's logs and quotas."),
    "client_rack": ClientOption(str, "Zone of this client: fetch from the replica there (KIP-392)."),
    "request_timeout_ms": ClientOption(int, "Timeout of a request."),
    "retry_backoff_ms": ClientOption(int, "Longest pause between two attempts of a request."),
    "metadata_max_age_ms": ClientOption(int, "Interval at which new topics and leaders are looked up."),
    "connections_max_idle_ms": ClientOption(int, "Idle time after which a connection is closed."),
    "fetch_max_wait_ms": ClientOption(int, "Longest wait of a fetch for records."),
    "fetch_max_bytes": ClientOption(int, "Maximum size of a fetch response."),
    "fetch_min_bytes": ClientOption(int, "Minimum size of a fetch response."),
    "max_partition_fetch_bytes": ClientOption(int, "Maximum size of one partition's part in a fetch response."),
    "check_crcs": ClientOption(bool, "Verify the checksums of batches."),
    "session_timeout_ms": ClientOption(int, "Time without a heartbeat after which a member counts as dead."),
    "heartbeat_interval_ms": ClientOption(int, "Time between two heartbeats."),
    "rebalance_timeout_ms": ClientOption(int, "Time in which members must rejoin in a rebalance."),
    "max_poll_interval_ms": ClientOption(
        int, "Time without a batch taken by the pipeline after which the member leaves the group. Default: never."
    ),
    "group_instance_id": ClientOption(str, "Static member id, which survives restarts (KIP-345)."),
    "transaction_timeout_ms": ClientOption(int, "Time after which the broker aborts an open transaction."),
    "max_batch_size": ClientOption(int, "Maximum size of a record batch."),
    "max_request_size": ClientOption(int, "Maximum size of a request; a larger record counts as too large."),
    "linger_ms": ClientOption(int, "Longest wait of a publish for further records to write together."),
    "compression_type": ClientOption(str, f"Codec of dead letters and replays: {', '.join(CODEC_NAMES)}."),
}
SET_ELSEWHERE: Mapping[str, str] = {
    "bootstrap_servers": "set sources.kafka.bootstrap_servers",
    "group_id": "set sources.kafka.group_id",
    "auto_offset_reset": "set sources.kafka.start",
    "security_protocol": "set sources.kafka.tls or sources.kafka.sasl",
    "ssl_context": "set sources.kafka.tls",
    "sasl_mechanism": "set sources.kafka.sasl",
    "sasl_plain_username": "set sources.kafka.sasl",
    "sasl_plain_password": "set sources.kafka.sasl",
    "sasl_oauth_token_provider": "set sources.kafka.sasl",
    "enable_auto_commit": "offsets move only when a batch is committed",
    "auto_commit_interval_ms": "offsets move only when a batch is committed",
    "isolation_level": "reading is always read_committed",
    "acks": "records are always written to all in-sync replicas",
    "enable_idempotence": "writing is always idempotent",
    "transactional_id": "it consists of the group, the topic and the partition",
    "partition_assignment_strategy": "all members must use the same",
    "max_poll_records": "batches have a size of their own",
}
"""Options of the client library that are refused, with the reason."""


def client_option_mistakes(client: Mapping[str, Any]) -> Iterator[Mistake]:
    """Yield the mistakes in `sources.kafka.client`. Values of refused options are not shown."""
    for name, value in client.items():
        path = f"sources.kafka.client.{name}"
        option = CLIENT_OPTIONS.get(name)
        if name in SET_ELSEWHERE:
            yield Mistake(path, f"not to be set here: {SET_ELSEWHERE[name]}", "an option of the client")
        elif option is None:
            yield Mistake(path, f"one of {', '.join(sorted(CLIENT_OPTIONS))}", f"the unknown option {name!r}")
        elif type(value) is not option.type:
            yield Mistake(path, option.type.__name__, repr(value))
        elif isinstance(value, int) and value < 0:
            yield Mistake(path, "a number that is not negative", repr(value))
        elif name == "compression_type" and value not in CODEC_NAMES:
            yield Mistake(path, f"one of {', '.join(CODEC_NAMES)}", repr(value))
