"""Differences between brokers, as data.

Each broker adapter defines one `BrokerTraits`; the composition root (`sidecar.runtime.wiring`) registers those of
every adapter, also of brokers that this sidecar does not read: a shared index may hold positions of all of them.

Code outside an adapter asks for a trait, never for a broker's name.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

_MAX_DIGITS = 19
"""Decimal digits of the largest 63-bit offset."""


def parse_number(text: str, bits: int = 63) -> int:
    """Parse a decimal number of at most `bits` bits. Raises ValueError."""
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS) or int(text) >> bits:
        raise ValueError(f"expected a number below 2^{bits}, found {text[:40]!r}")
    return int(text)


class BrokerTraits(Struct, frozen=True):
    """Properties of one kind of broker on which code outside its adapter depends.

    The defaults describe a partitioned log with numbered records and keys, like Kafka's.
    """

    scheme: str
    """Scheme of its positions, value of `messaging.system`, and its name in metrics: `kafka`."""
    position_form: str
    """Form of its positions for error messages: `kafka://TOPIC/PARTITION/OFFSET`. Empty: messages do not mention it."""
    source_path: str
    """Configuration path of the broker: `sources.kafka`."""
    streams_path: str
    """Configuration path of its stream names: `sources.kafka.topics`."""
    partitioned: bool = True
    """True if streams have numbered partitions that positions name. False: each stream is one log, partition 0."""
    format_offset: Callable[[int], str] = str
    """Write an offset as the last part of a position. Must not produce a slash."""
    parse_offset: Callable[[str], int] = parse_number
    """Inverse of `format_offset`. Raises ValueError."""
    offset_bits: int = 63
    """Size of offsets: integers below 2^offset_bits. At most 128; above 64, an offset consists of two 64-bit words."""
    offsets_count_records: bool = True
    """True if the difference of two offsets is an upper bound for the records between them, and adjacent records have
    adjacent offsets."""
    offset_at: Callable[[int], int] | None = None
    """Smallest possible offset of a record that was appended at a time (milliseconds). None if offsets do not encode
    times. If it is set, the records of a partition are in order of time."""
    time_of: Callable[[int], int | None] | None = None
    """Time (milliseconds) of the record at an offset; returns None for an offset that encodes no time, because a
    producer chose it. If it is set, a record without a time counts as appended when it is observed."""
    members_share_partitions: bool = False
    """True if all members of a group read the same partition at the same time, each receiving different records. False:
    each partition belongs to one member."""
    bodyless_entries: bool = False
    """True if a record with the value None is an entry whose fields (its headers) are the body, not a tombstone."""
    keyed: bool = True
    """True if records have keys."""
    partitions_by_key: Callable[[bytes, int], tuple[int, ...]] | None = None
    """Partition numbers, for a given partition count, to which common producers send a key. None: any."""


_traits: dict[str, BrokerTraits] = {}


def register_traits(traits: BrokerTraits) -> None:
    """Make positions of this scheme readable and writable in this process.

    Registering the same traits twice is harmless. Raises ValueError if other traits use the scheme.
    """
    if _traits.setdefault(traits.scheme, traits) != traits:
        raise ValueError(f"two brokers use the position scheme {traits.scheme}://")


def find_traits(scheme: str) -> BrokerTraits | None:
    """Return the traits registered for a scheme, or None."""
    return _traits.get(scheme)


def list_traits() -> list[BrokerTraits]:
    """Return all registered traits."""
    return list(_traits.values())


def traits_of(scheme: str) -> BrokerTraits:
    """Return the traits registered for a scheme; for an unknown one, those of a log with numbered records."""
    return _traits.get(scheme) or BrokerTraits(
        scheme, f"{scheme}://STREAM/PARTITION/OFFSET", f"sources.{scheme}", f"sources.{scheme}.streams"
    )


def is_time_observed(scheme: str, offset: int) -> bool:
    """Check whether a record has no time of its own, so that it counts as appended when it is observed."""
    time_of = traits_of(scheme).time_of
    return time_of is not None and time_of(offset) is None


def position_forms() -> str:
    """Describe every registered way of writing a position, for error messages."""
    return (
        " or ".join(traits.position_form for traits in _traits.values() if traits.position_form)
        or "SCHEME://STREAM/PARTITION/OFFSET"
    )
