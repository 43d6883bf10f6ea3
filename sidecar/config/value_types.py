"""Types of single values in the configuration file: texts of a certain format, durations, numbers in a range."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from sidecar.domain.secrets import mask_secrets


class Duration(float):
    """Seconds, written `250ms`, `60s`, `15m`, `24h` or `7d` in the file."""


class StartPosition(Struct, frozen=True):
    """The start of a group without committed offsets: `latest`, `earliest`, a duration back, or a time."""

    kind: Literal["latest", "earliest", "ago", "at"]
    value: int = 0
    """Milliseconds: back from now for `ago`, since 1970 for `at`."""


class StrictStruct(Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """A mapping of the file: unknown keys are refused. Its `repr` shows no secret."""

    def __repr__(self) -> str:
        values = {name: getattr(self, name) for name in self.__struct_fields__}
        return (
            f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in mask_secrets(values).items())})"
        )


Text = Annotated[str, Meta(extra={"kind": "text"})]
Name = Annotated[str, Meta(extra={"kind": "name"})]
Servers = Annotated[str, Meta(extra={"kind": "servers"})]
Topic = Annotated[str, Meta(extra={"kind": "topic"})]
TopicPattern = Annotated[str, Meta(extra={"kind": "topic_pattern"})]
HttpUrl = Annotated[str, Meta(extra={"kind": "http_url"})]
RedisUrl = Annotated[str, Meta(extra={"kind": "redis_url"})]
HistoryUrl = Annotated[str, Meta(extra={"kind": "history_url"})]
Size = Annotated[str, Meta(extra={"kind": "size"})]
ReducerName = Annotated[str, Meta(extra={"kind": "reducer"})]
Template = Annotated[str, Meta(extra={"kind": "template"})]
Place = Annotated[str, Meta(extra={"kind": "place"})]
Redacted = Annotated[str, Meta(extra={"kind": "redacted"})]
Host = Annotated[str, Meta(extra={"kind": "host"})]
Bearer = Annotated[str, Meta(extra={"kind": "bearer"})]
Port = Annotated[int, Meta(ge=0, le=65_535)]
Count = Annotated[int, Meta(ge=1, le=10**9)]
Share = Annotated[float, Meta(ge=0, le=1)]
Word = Literal[
    "event_id",
    "type",
    "version",
    "occurred_at",
    "aggregate_id",
    "aggregate_type",
    "correlation_id",
    "causation_id",
    "producer",
]
"""Name of an event's field that `envelope` can locate."""
