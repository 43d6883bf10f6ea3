"""Translation of Kafka's errors into ours. Every error class of aiokafka is listed; a test fails if one is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aiokafka import errors as kafka

from sidecar.domain.errors import Disconnected, Fenced, Outage, RecordRefused, Refused, TracecarError


class FencedLeaderEpoch(kafka.BrokerResponseError):  # type: ignore[misc]  # aiokafka is untyped
    """The leader epoch of the request is older than the broker's."""

    errno = 74


class UnknownLeaderEpoch(kafka.BrokerResponseError):  # type: ignore[misc]
    """The leader epoch of the request is newer than the broker's."""

    errno = 75


class OffsetNotAvailable(kafka.BrokerResponseError):  # type: ignore[misc]
    """The node does not have this offset yet."""

    errno = 78


class GroupMaxSizeReached(kafka.BrokerResponseError):  # type: ignore[misc]
    """The group has as many members as the broker allows."""

    errno = 81


class FencedInstanceId(kafka.BrokerResponseError):  # type: ignore[misc]
    """Another member uses this static member id."""

    errno = 82


class InvalidRecord(kafka.BrokerResponseError):  # type: ignore[misc]
    """The topic does not accept a record of the batch, such as one without a key where it is compacted."""

    errno = 87


class UnstableOffsetCommit(kafka.BrokerResponseError):  # type: ignore[misc]
    """An offset is part of a transaction that has not ended."""

    errno = 88


class ThrottlingQuotaExceeded(kafka.BrokerResponseError):  # type: ignore[misc]
    """A quota of the broker is exhausted for now."""

    errno = 89


class FencedProducer(kafka.BrokerResponseError):  # type: ignore[misc]
    """Another producer uses this transactional id."""

    errno = 90


class UnknownTopicId(kafka.BrokerResponseError):  # type: ignore[misc]
    """The topic was deleted, perhaps created again, or the node has not learned of it yet."""

    errno = 100


class InconsistentTopicId(kafka.BrokerResponseError):  # type: ignore[misc]
    """The log on the node is that of another topic of the same name."""

    errno = 103


_LATER = {kind.errno: kind for kind in kafka.BrokerResponseError.__subclasses__() if kind.__module__ == __name__}
"""Codes that brokers send and aiokafka 0.14 does not know (Kafka's protocol guide, "Error Codes")."""

UNREACHABLE: tuple[type[Exception], ...] = (
    kafka.Cancelled,
    kafka.ConsumerStoppedError,
    kafka.CorrelationIdError,
    kafka.KafkaConnectionError,
    kafka.KafkaProtocolError,
    kafka.KafkaUnavailableError,
    kafka.MetadataEmptyBrokerList,
    kafka.NoBrokersAvailable,
    kafka.NodeNotReadyError,
    kafka.ProducerClosed,
    kafka.TooManyInFlightRequests,
)
"""Errors of a connection that was lost, or that could not be opened."""

TRANSIENT: tuple[type[Exception], ...] = (
    kafka.BrokerNotAvailableError,
    kafka.BrokerResponseError,
    kafka.CommitFailedError,
    kafka.ConcurrentTransactions,
    kafka.CorruptRecordException,
    kafka.FetchSessionIdNotFound,
    FencedLeaderEpoch,
    kafka.GroupCoordinatorNotAvailableError,
    kafka.GroupLoadInProgressError,
    kafka.InvalidFetchSessionEpoch,
    kafka.KafkaError,
    kafka.KafkaStorageError,
    kafka.KafkaTimeoutError,
    kafka.LeaderNotAvailableError,
    kafka.ListenerNotFound,
    kafka.LogDirNotFound,
    kafka.MemberIdRequired,
    kafka.NotControllerError,
    kafka.NotCoordinatorForGroupError,
    kafka.NotEnoughReplicasAfterAppendError,
    kafka.NotEnoughReplicasError,
    kafka.NotLeaderForPartitionError,
    OffsetNotAvailable,
    kafka.OperationNotAttempted,
    kafka.QuotaViolationError,
    kafka.ReassignmentInProgress,
    kafka.ReplicaNotAvailableError,
    kafka.RequestTimedOutError,
    kafka.StaleControllerEpochError,
    kafka.StaleLeaderEpochCodeError,
    kafka.StaleMetadata,
    ThrottlingQuotaExceeded,
    kafka.TransactionCoordinatorFenced,
    kafka.UnknownError,
    UnknownLeaderEpoch,
    UnknownTopicId,
    InconsistentTopicId,
    kafka.UnknownTopicOrPartitionError,
    UnstableOffsetCommit,
)
"""Errors for which a retry may succeed, also those that the broker itself cannot explain (`UnknownError`)."""

FENCED: tuple[type[Exception], ...] = (
    kafka.DuplicateSequenceNumber,
    FencedInstanceId,
    FencedProducer,
    kafka.IllegalGenerationError,
    kafka.InvalidProducerEpoch,
    kafka.InvalidProducerIdMapping,
    kafka.InvalidTxnState,
    kafka.OutOfOrderSequenceNumber,
    kafka.ProducerFenced,
    kafka.RebalanceInProgressError,
    kafka.UnknownMemberIdError,
    kafka.UnknownProducerId,
)
"""Errors after which another member owns the partition, or may own it."""

REFUSED: tuple[type[Exception], ...] = (
    kafka.AuthenticationFailedError,
    kafka.AuthenticationMethodNotSupported,
    kafka.ClusterAuthorizationFailedError,
    kafka.DelegationTokenAuthDisabled,
    kafka.DelegationTokenAuthorizationFailed,
    kafka.DelegationTokenExpired,
    kafka.DelegationTokenNotFound,
    kafka.DelegationTokenOwnerMismatch,
    kafka.DelegationTokenRequestNotAllowed,
    kafka.GroupAuthorizationFailedError,
    kafka.GroupIdNotFound,
    GroupMaxSizeReached,
    kafka.IllegalArgumentError,
    kafka.IllegalOperation,
    kafka.IllegalSaslStateError,
    kafka.IllegalStateError,
    kafka.IncompatibleBrokerVersion,
    kafka.InconsistentGroupProtocolError,
    kafka.InvalidCommitOffsetSizeError,
    kafka.InvalidConfigurationError,
    kafka.InvalidFetchRequestError,
    kafka.InvalidGroupIdError,
    kafka.InvalidPartitionsError,
    kafka.InvalidPrincipalType,
    InvalidRecord,
    kafka.InvalidReplicationAssignmentError,
    kafka.InvalidReplicationFactorError,
    kafka.InvalidRequestError,
    kafka.InvalidRequiredAcksError,
    kafka.InvalidSessionTimeoutError,
    kafka.InvalidTimestampError,
    kafka.InvalidTopicError,
    kafka.InvalidTransactionTimeout,
    kafka.KafkaConfigurationError,
    kafka.MessageSizeTooLargeError,
    kafka.NoError,
    kafka.NoOffsetForPartitionError,
    kafka.NonEmptyGroup,
    kafka.OffsetMetadataTooLargeError,
    kafka.OffsetOutOfRangeError,
    kafka.PolicyViolationError,
    kafka.RecordListTooLargeError,
    kafka.RecordTooLargeError,
    kafka.SaslAuthenticationFailed,
    kafka.SecurityDisabled,
    kafka.TopicAlreadyExistsError,
    kafka.TopicAuthorizationFailedError,
    kafka.TransactionalIdAuthorizationFailed,
    kafka.UnrecognizedBrokerVersion,
    kafka.UnsupportedCodecError,
    kafka.UnsupportedForMessageFormatError,
    kafka.UnsupportedSaslMechanismError,
    kafka.UnsupportedVersionError,
)
"""Errors that last until an operator changes something."""

TOO_LARGE = (kafka.MessageSizeTooLargeError, kafka.RecordListTooLargeError)
ELSEWHERE = (
    kafka.NotCoordinatorForGroupError,
    kafka.GroupCoordinatorNotAvailableError,
    kafka.TransactionCoordinatorFenced,
)
"""Errors of a node that is not the coordinator: another node must be asked."""

_MEANING: dict[type[BaseException], type[TracecarError]] = {
    **dict.fromkeys(UNREACHABLE, Disconnected),
    **dict.fromkeys(TRANSIENT, Outage),
    **dict.fromkeys(FENCED, Fenced),
    **dict.fromkeys(REFUSED, Refused),
    InvalidRecord: RecordRefused,
    kafka.InvalidTimestampError: RecordRefused,
}

_ADVICE: dict[type[BaseException], str] = {
    InvalidRecord: (
        "the topic refuses the record; a topic with cleanup.policy=compact refuses records without a key: "
        "set its cleanup.policy to delete"
    ),
    kafka.AuthenticationFailedError: "check sources.kafka.sasl",
    kafka.SaslAuthenticationFailed: "check sources.kafka.sasl",
    kafka.UnsupportedSaslMechanismError: "set sources.kafka.sasl.mechanism to one that the broker supports",
    kafka.InvalidTimestampError: (
        "the topic refuses records with this timestamp: correct this machine's clock, or the topic's "
        "message.timestamp.before.max.ms and message.timestamp.after.max.ms"
    ),
    kafka.TopicAuthorizationFailedError: "the principal needs an ACL for this operation on the topic",
    kafka.GroupAuthorizationFailedError: "the principal needs an ACL for READ on the group",
    kafka.ClusterAuthorizationFailedError: "the principal needs an ACL for this operation on the cluster",
    kafka.TransactionalIdAuthorizationFailed: (
        "the principal needs an ACL for WRITE on transactional ids that begin with the group's name and a dot"
    ),
    kafka.InconsistentGroupProtocolError: "another kind of consumer uses this group: set sources.kafka.group_id",
    kafka.InvalidSessionTimeoutError: "set sources.kafka.client.session_timeout_ms within the broker's bounds",
}


def for_code(code: int) -> type[Exception]:
    """Return the error class for an error code of a reply; aiokafka's UnknownError for an unknown code."""
    known: type[Exception] = _LATER.get(code) or kafka.for_code(code)
    return known


def check(code: int, what: object = "") -> None:
    """Raise the error of a reply's error code, unless the code is 0."""
    if code:
        raise for_code(code)(what)


def meaning(error: type[BaseException]) -> type[TracecarError]:
    """Return our class for an error of Kafka or of the network, by its nearest base class that is listed."""
    for kind in error.__mro__:
        if kind in _MEANING:
            return _MEANING[kind]
    return Disconnected


def translate(error: BaseException, what: str) -> TracecarError:
    """Return our exception for `error`, which occurred during `what` (such as "committing kafka://orders/0")."""
    if isinstance(error, TracecarError):
        return error
    advice = _ADVICE.get(type(error))
    message = str(error).strip()
    cause = f"{type(error).__name__}{f': {message}' if message else ''}"
    return meaning(type(error))(f"Kafka: {what}: {cause}{f'; {advice}' if advice else ''}")


def is_transient(error: BaseException) -> bool:
    """Check whether a retry may succeed."""
    return issubclass(meaning(type(error)), Outage)


@contextmanager
def translate_errors(what: str) -> Iterator[None]:
    """Raise errors of Kafka and of the network within this block as ours."""
    try:
        yield
    except (kafka.KafkaError, kafka.ConsumerStoppedError, kafka.IllegalOperation, OSError, TimeoutError) as error:
        raise translate(error, what) from error
