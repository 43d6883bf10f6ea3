"""What Kafka's errors mean for us: every class of aiokafka's, said in our own (a test fails when one is left out)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aiokafka import errors as kafka

from sidecar.domain.errors import Disconnected, Fenced, Outage, RecordRefused, Refused, TracecarError


class FencedLeaderEpoch(kafka.BrokerResponseError):  # type: ignore[misc]  # aiokafka is untyped
    errno = 74


class UnknownLeaderEpoch(kafka.BrokerResponseError):  # type: ignore[misc]
    errno = 75


class OffsetNotAvailable(kafka.BrokerResponseError):  # type: ignore[misc]
    errno = 78


class GroupMaxSizeReached(kafka.BrokerResponseError):  # type: ignore[misc]
    errno = 81


class FencedInstanceId(kafka.BrokerResponseError):  # type: ignore[misc]
    errno = 82


class InvalidRecord(kafka.BrokerResponseError):  # type: ignore[misc]
    errno = 87


class UnstableOffsetCommit(kafka.BrokerResponseError):  # type: ignore[misc]
    errno = 88


class ThrottlingQuotaExceeded(kafka.BrokerResponseError):  # type: ignore[misc]
    errno = 89


class FencedProducer(kafka.BrokerResponseError):  # type: ignore[misc]
    errno = 90


class UnknownTopicId(kafka.BrokerResponseError):  # type: ignore[misc]
    """The topic was deleted, perhaps created again, or the node has not learned of it yet."""

    errno = 100


class InconsistentTopicId(kafka.BrokerResponseError):  # type: ignore[misc]
    """The log on the node is that of another topic of the same name."""

    errno = 103


_LATER = {one.errno: one for one in kafka.BrokerResponseError.__subclasses__() if one.__module__ == __name__}
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
"""The connection is gone, or there never was one."""

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
"""It may be different in a while. What the broker itself cannot explain (`UnknownError`) is here too."""

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
"""Somebody else has the partition now, or may have."""

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
"""A person must change something."""

TOO_LARGE = (kafka.MessageSizeTooLargeError, kafka.RecordListTooLargeError)
ELSEWHERE = (
    kafka.NotCoordinatorForGroupError,
    kafka.GroupCoordinatorNotAvailableError,
    kafka.TransactionCoordinatorFenced,
)
"""The coordinator is another node than we thought."""

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
    kafka.UnsupportedSaslMechanismError: "set sources.kafka.sasl.mechanism to one that the broker has",
    kafka.InvalidTimestampError: (
        "the topic does not take records of that time: set this machine's clock right, or the topic's "
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
    """The class of an answer's error code; for what nobody knows, aiokafka's UnknownError."""
    known: type[Exception] = _LATER.get(code) or kafka.for_code(code)
    return known


def check(code: int, what: object = "") -> None:
    """Raise the error that an answer's code stands for, unless it stands for none."""
    if code:
        raise for_code(code)(what)


def meaning(error: type[BaseException]) -> type[TracecarError]:
    """Which of our exceptions stands for this class of Kafka's or of the network's; its nearest ancestor decides."""
    for one in error.__mro__:
        if one in _MEANING:
            return _MEANING[one]
    return Disconnected


def translate(error: BaseException, what: str) -> TracecarError:
    """Our exception for `error`, which happened while doing `what` ("committing kafka://orders/0")."""
    if isinstance(error, TracecarError):
        return error
    advice = _ADVICE.get(type(error))
    said = str(error).strip()
    found = f"{type(error).__name__}{f': {said}' if said else ''}"
    return meaning(type(error))(f"Kafka: {what}: {found}{f'; {advice}' if advice else ''}")


def is_transient(error: BaseException) -> bool:
    """Trying the same again in a while may work."""
    return issubclass(meaning(type(error)), Outage)


@contextmanager
def translate_errors(what: str) -> Iterator[None]:
    """Errors of Kafka and of the network leave this block as ours."""
    try:
        yield
    except (kafka.KafkaError, kafka.ConsumerStoppedError, kafka.IllegalOperation, OSError, TimeoutError) as error:
        raise translate(error, what) from error
