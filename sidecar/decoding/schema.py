"""A registered schema as decoding uses it: compiled, and with the name by which it was requested."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sidecar.decoding.formats.schema_format import CompiledSchema, FieldSelection, UnusableSchema
from sidecar.domain.json_path import PathFault
from sidecar.domain.model import Rejection, SchemaRef
from sidecar.domain.ports.registry import RegisteredSchema


class BoundSchema:
    """A compiled schema and its reference."""

    __slots__ = ("_check", "compiled", "fast_decode", "fields", "kind", "name", "ref", "unusable")

    fast_decode: Callable[[bytes, int], Any]
    """The format's own `decode`, for the hot path: its faults do not name the schema."""

    def __init__(
        self, registered: RegisteredSchema, compiled: CompiledSchema | UnusableSchema, ref: SchemaRef | None = None
    ) -> None:
        """Bind a schema to a reference.

        Args:
            registered: The schema in the registry.
            compiled: The compiled schema (`compile_schema`), or the reason why it cannot be compiled.
            ref: Name by which it was requested; by default the registered schema's own.
        """
        self.ref = ref or registered.ref
        self.kind = registered.kind
        """`AVRO`, `JSON` or `PROTOBUF`."""
        self.compiled: CompiledSchema | None = None
        self.name: str | None = None
        """Full name of the record that it declares; None if it declares none."""
        self.fields: frozenset[str] = frozenset()
        """Names of the record's own fields."""
        self.unusable: str | None = None
        """Reason why events cannot be checked with it, so that they are `unchecked`; None if they can."""
        if isinstance(compiled, UnusableSchema):
            self.unusable = str(compiled)
            return
        self.compiled = compiled
        self.name, self.fields = compiled.name, compiled.fields
        self.fast_decode, self._check = compiled.decode, compiled.check

    def decode(self, data: bytes, start: int) -> Any | Rejection:
        """Decode the bytes from `start` on, all of which must be used. Raises nothing but NeedsThread.

        Returns the value, or a rejection (`decode.truncated`, `.trailing_bytes`, `.malformed`, `.limit`).
        """
        value = self.fast_decode(data, start)
        return self._reject(value) if isinstance(value, PathFault) else value

    def project(self, selection: FieldSelection, decode: Callable[[bytes, int], Any]) -> Callable[..., Any] | None:
        """Compile a decoder for some of the record's own fields (`CompiledSchema.project`)."""
        return None if self.compiled is None else self.compiled.project(selection, decode)

    def record_name(self, data: bytes, start: int) -> str | None:
        """Return the full name of the record in a payload that `decode` accepts; None if it is not a record."""
        return None if self.compiled is None else self.compiled.record_name(data, start)

    def check(self, value: Any) -> Rejection | None:
        """Check a decoded JSON value. Never raises. Only for a usable schema.

        Returns a `schema.mismatch` with the exact path, or None if the value fits.
        """
        fault = self._check(value)
        return None if fault is None else self._reject(fault)

    @property
    def label(self) -> str:
        """The known parts of `orders-value v3`."""
        ref = self.ref
        if ref.subject is not None:
            return ref.subject if ref.version is None else f"{ref.subject} v{ref.version}"
        if ref.id is not None:
            return f"schema id {ref.id}"
        return f"schema {ref.guid}" if ref.guid else f"schema {self.name or 'without name'}"

    def _reject(self, fault: PathFault) -> Rejection:
        path = fault.path
        return Rejection(fault.code, f"{path or 'the event'}: {fault.message} ({self.label[:200]})"[:2_000], path)
