"""Interface of a schema language: what decoding needs of Avro and of every later format.

A new format is a package beside this module, and one entry in `runtime.wiring.schema_formats`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from msgspec import Struct

from sidecar.domain.json_path import PathFault
from sidecar.domain.ports.registry import RegisteredSchema

MAX_REFERENCES = 500
"""Schemas that one schema may need, directly or not. Further references are not read."""

MAX_OUTLINE_LINES = 4_000
"""Lines of one outline."""


class UnusableSchema(ValueError):
    """A schema text that its format cannot use. The message says where, and what was expected.

    Events of such a schema are `unchecked`: an invalid text in the registry is no fault of the events.
    """


class OutlineLine(Struct, frozen=True):
    """One line of a schema's outline for people."""

    depth: int
    name: str
    type: str
    """Type and default of the field in the format's own terms, such as `array of string`."""


class ValueEdit(Struct, frozen=True):
    """An edit of one value in a payload."""

    steps: tuple[str | int, ...]
    """Path of the value; empty for the whole payload."""
    value: Any = None
    """New value, in the forms in which bodies are shown."""
    removed: bool = False
    """True to remove the value instead."""


class RetypedValue(Struct, frozen=True):
    """A value whose type an edit changed: it has another branch of its union."""

    path: str
    before: str
    after: str


class EditedPayload(Struct, frozen=True):
    """A payload after an edit."""

    data: bytes
    retyped: tuple[RetypedValue, ...] = ()


class FieldSelection(Struct, frozen=True):
    """The own fields of a record of which an event's envelope is made.

    A decoder gives them as a tuple: the values of `fields` in order, and a dict with at least those of `others`.
    """

    fields: tuple[str | None, ...]
    """Names; for None, the value is None."""
    time_at: int
    """Index of the field that is a time. Its value is given in microseconds (`to_micros`)."""
    others: tuple[str, ...] = ()


class CompiledSchema(Protocol):
    """A schema that is ready for use.

    It depends on the texts alone, so all subjects with equal texts share one object.
    """

    @property
    def name(self) -> str | None:
        """Full name of the record or message type; None if the schema declares none."""

    @property
    def fields(self) -> frozenset[str]:
        """Names of the record's own fields; empty if the schema is not a record."""

    def decode(self, data: bytes, start: int) -> Any:
        """Decode the bytes from `start` on, all of which must be used. Raises nothing but NeedsThread.

        Its time and memory are bounded by the number of bytes. Returns the value (of the types of `Decoded.body`), or a
        PathFault with one of the codes `decode.*`. Called for every event: an implementation may provide it as an
        attribute that holds a closure.
        """

    def project(self, selection: FieldSelection, decode: Callable[[bytes, int], Any]) -> Callable[..., Any] | None:
        """Compile a decoder for some of the record's own fields, which costs less than decoding all of them.

        Args:
            selection: The fields.
            decode: Decodes a payload whole, and gives the selection's tuple, or a PathFault. The compiled decoder does
                the same for every payload.

        Returns:
            None where the format, or the schema, has no such decoder.
        """

    def record_name(self, data: bytes, start: int) -> str | None:
        """Return the full name of the record in a payload that `decode` accepts; None if it is not a record."""

    def check(self, value: Any) -> PathFault | None:
        """Check a decoded JSON value. Never raises. Returns a PathFault with the exact path, or None."""

    def encode(self, value: Any) -> bytes:
        """Encode a value given in the forms in which bodies are shown. Raises PathFault if it does not fit."""

    def edit(self, data: bytes, edits: Sequence[ValueEdit]) -> EditedPayload:
        """Edit values of a payload that `decode` accepts; all others keep their bytes.

        Raises PathFault if an edit does not fit, or if a path that is not edited would differ.
        """

    def encode_edited(self, value: Any, data: bytes, original: CompiledSchema, edits: Sequence[ValueEdit]) -> bytes:
        """Encode an edited value of a payload that another schema of this format wrote.

        Raises PathFault if it does not fit, or if the type at a path that is not edited would differ.
        """

    def deprecated_fields(self) -> frozenset[str]:
        """Return the dotted paths of the fields that the schema marks as deprecated."""

    def find_read_fault(self, value: Any, original: CompiledSchema) -> PathFault | None:
        """Return why a consumer with this schema could not read an event of another one; None if it could.

        `value` is the event's body, in the forms in which bodies are shown. Never raises. Messages quote no value."""

    def find_write_fault(self, value: Any, original: CompiledSchema) -> PathFault | None:
        """Return why a consumer with `original` could not read its event if this schema wrote it; None if it could.

        `value` is as for `find_read_fault`."""


class SelfDescribedValue(Struct):
    """A value that carries its own schema."""

    value: Any
    name: str | None
    """Full name of the record that the value's schema declares."""


class SchemaFormat(Protocol):
    """A schema language."""

    def compile(self, schema: RegisteredSchema) -> CompiledSchema:
        """Compile a schema with its references. Raises UnusableSchema."""

    def outline(self, text: str) -> list[OutlineLine]:
        """Describe a schema for people: each field, in order, indented below its parent. Never raises.

        It describes texts that cannot be compiled too, as well as possible.
        """

    def read_self_described(self, data: bytes) -> SelfDescribedValue | None:
        """Decode a value that carries its own schema. Returns None for any other bytes. Raises NeedsThread."""

    def edit_self_described(self, data: bytes, edits: Sequence[ValueEdit]) -> EditedPayload | None:
        """Edit values of a payload that `read_self_described` accepts; all others keep their bytes.

        Returns None for any other bytes. Raises PathFault, and NeedsThread.
        """


SchemaFormats: TypeAlias = Mapping[str, SchemaFormat]
"""Formats by the kind in the registry: `AVRO`, `JSON`, `PROTOBUF`."""


def compile_schema(schema: RegisteredSchema, formats: SchemaFormats) -> CompiledSchema | UnusableSchema:
    """Compile a schema by the format of its kind. If that fails, return the reason as an exception."""
    schema_format = formats.get(schema.kind)
    if schema_format is None:
        known = " or ".join(sorted(formats)) or "any that is supported"
        return UnusableSchema(f"its kind is {schema.kind[:80]}, not {known}")
    try:
        return schema_format.compile(schema)
    except UnusableSchema as error:
        return error.with_traceback(None)  # its frames would be kept with it


def schema_texts(schema: RegisteredSchema) -> tuple[str, ...]:
    """List the texts that make up a schema: its references, dependencies first and each once, then its own."""
    texts: list[str] = []
    _collect_references(schema.references, set(), texts)
    return (*texts, schema.text)


def _collect_references(references: Sequence[RegisteredSchema], seen: set[str], texts: list[str]) -> None:
    for reference in references:
        if reference.text not in seen and len(seen) < MAX_REFERENCES:
            seen.add(reference.text)
            _collect_references(reference.references, seen, texts)
            texts.append(reference.text)


def outline_schema(schema: RegisteredSchema, formats: SchemaFormats) -> list[OutlineLine]:
    """Describe a schema for people; for a kind without a format, list the lines of its text. Never raises."""
    language = formats.get(schema.kind)
    if language is not None:
        return language.outline(schema.text)
    return [OutlineLine(0, line, "") for line in schema.text.split("\n")[:MAX_OUTLINE_LINES]]
