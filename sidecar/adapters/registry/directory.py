"""A directory of Avro schemas as a registry: `SUBJECT.avsc`, and `SUBJECT/VERSION.avsc` for several versions.

Ids and GUIDs are derived from the text alone, so that all readers of the same files use the same ids. A schema may name
types that another file declares. `SUBJECT.avsc` is a subject's latest version: the next number after those in its
directory, or the number of the one with the same text. Changed files are read again when the registry is queried; a
file that cannot be read keeps its previous content.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from os import scandir
from pathlib import Path
from typing import NamedTuple, TypeAlias
from urllib.parse import unquote
from uuid import UUID, uuid5

import msgspec
from msgspec.structs import replace

from sidecar.adapters.registry.fingerprints import fingerprint_of
from sidecar.decoding.formats.avro.avro_format import KIND
from sidecar.decoding.formats.avro.schema_parser import MAX_SCHEMA_CHARACTERS, UnknownTypeName, parse
from sidecar.decoding.formats.schema_format import UnusableSchema, schema_texts
from sidecar.domain.errors import Outage
from sidecar.domain.model import SchemaRef
from sidecar.domain.ports.registry import RegisteredSchema

MAX_FILES = 10_000
_NAMESPACE = UUID("d0a6c3a1-2d6e-4f4a-9a55-6a2b3cf0c4de")
_SUFFIX = ".avsc"
_MAX_REFERENCES = 200

_Signature: TypeAlias = tuple[tuple[str, int, int], ...]
"""Name, modification time (nanoseconds) and size (bytes) of each file."""


class _SchemaFile(NamedTuple):
    path: Path
    subject: str
    version: int | None
    """None for SUBJECT.avsc."""


class _DirectorySnapshot(NamedTuple):
    """One state of the directory."""

    signature: _Signature
    versions: dict[str, dict[int, RegisteredSchema]]
    by_id: dict[int, RegisteredSchema]
    texts: dict[Path, str]
    """The text of each file; of an unreadable one the text before."""
    problems: tuple[str, ...]


class DirectoryRegistry:
    """Registry over files. Implements `ports.Registry`."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path).expanduser()
        self._reading = _DirectorySnapshot((), {}, {}, {}, ())
        self._lock = asyncio.Lock()

    @property
    def problems(self) -> tuple[str, ...]:
        """Messages about files that could not be used at the last call; each begins with a path."""
        return self._reading.problems

    async def by_id(self, id: int) -> RegisteredSchema | None:
        schema = (await self._current()).by_id.get(id)
        return replace(schema, ref=SchemaRef(None, None, id, schema.ref.guid)) if schema else None

    async def by_global_id(self, id: int) -> RegisteredSchema | None:
        await self._current()
        return None

    async def by_guid(self, guid: str) -> RegisteredSchema | None:
        for id, schema in (await self._current()).by_id.items():
            if schema.ref.guid == guid.lower():
                return replace(schema, ref=SchemaRef(None, None, id, schema.ref.guid))
        return None

    async def by_fingerprint(self, fingerprint: int, subjects: Sequence[str]) -> RegisteredSchema | None:
        versions = (await self._current()).versions
        for subject in subjects:
            for schema in versions.get(subject, {}).values():
                if fingerprint_of(schema) == fingerprint:
                    return schema
        return None

    async def by_version(self, subject: str, version: int | None) -> RegisteredSchema | None:
        versions = (await self._current()).versions.get(subject)
        return versions.get(max(versions) if version is None else version) if versions else None

    async def subjects_of(self, id: int) -> frozenset[tuple[str, int]]:
        versions = (await self._current()).versions
        return frozenset(
            (subject, number) for subject, of in versions.items() for number, each in of.items() if each.ref.id == id
        )

    async def subjects(self) -> list[str]:
        return sorted((await self._current()).versions)

    async def versions(self, subject: str) -> list[int]:
        return sorted((await self._current()).versions.get(subject, ()))

    async def compatibility(self, subject: str) -> str | None:
        return None

    async def close(self) -> None:
        return

    async def _current(self) -> _DirectorySnapshot:
        async with self._lock:
            try:
                self._reading = await asyncio.to_thread(_read, self._path, self._reading)
            except OSError as error:
                raise Outage(f"registry.directory {self._path} cannot be read: {error.strerror or error}") from None
            return self._reading


def schema_id(text: str) -> int:
    """Derive the id of a schema text: 31 bits of its SHA-256, never 0.

    White space does not count; the order of keys does.
    """
    digest = hashlib.sha256(_compact(text)).digest()
    return int.from_bytes(digest[:4], "big") & 0x7FFF_FFFF or 1


def _compact(text: str) -> bytes:
    try:
        return msgspec.json.encode(msgspec.json.decode(text))
    except (msgspec.MsgspecError, RecursionError, UnicodeEncodeError):
        return text.encode("utf-8", "replace")


def _read(path: Path, before: _DirectorySnapshot) -> _DirectorySnapshot:
    """Read the directory; return `before` itself if nothing has changed."""
    files = list(_files(path))
    signature = tuple((str(each.path), *_stamp(each.path)) for each in files)
    if signature == before.signature:
        return before
    problems: list[str] = []
    read: dict[Path, str] = {}
    for file in files[:MAX_FILES]:
        text = _text(file.path, path, before, problems)
        if text is not None:
            read[file.path] = text
    if len(files) > MAX_FILES:
        problems.append(f"{path}: expected at most {MAX_FILES} files, the others are not read")
    declared = _TypeDeclarations(list(read.values()))
    versions: dict[str, dict[int, RegisteredSchema]] = {}
    by_id: dict[int, RegisteredSchema] = {}
    for file in (each for each in files if each.path in read):
        schema = declared.schema(read[file.path])
        assert schema.ref.id is not None
        other = by_id.setdefault(schema.ref.id, schema)
        if _compact(other.text) != _compact(schema.text):
            problems.append(f"{file.path.relative_to(path)}: another file has the same id, change a doc in one of them")
            continue
        of = versions.setdefault(file.subject, {})
        number = _number(file, schema, of)
        of[number] = replace(schema, ref=SchemaRef(file.subject, number, schema.ref.id, schema.ref.guid))
        if reason := declared.problem(schema.text):
            problems.append(f"{file.path.relative_to(path)}: {reason}")
    return _DirectorySnapshot(signature, versions, by_id, read, tuple(problems))


def _files(path: Path) -> Iterator[_SchemaFile]:
    """Yield the schema files in a fixed order, numbered versions before SUBJECT.avsc.

    Hidden names are left out (a mounted ConfigMap has some).
    """
    with scandir(path) as entries:
        names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
    for name in names:
        if (path / name).is_dir():
            with scandir(path / name) as entries:
                inner = (entry.name for entry in entries if entry.name.endswith(_SUFFIX))
                numbers = [each.removesuffix(_SUFFIX) for each in inner]
            for number in sorted(int(each) for each in numbers if each.isascii() and each.isdigit() and len(each) < 9):
                digits = next(each for each in numbers if each.isdigit() and int(each) == number)
                yield _SchemaFile(path / name / f"{digits}{_SUFFIX}", unquote(name), number)
    for name in names:
        if name.endswith(_SUFFIX) and not (path / name).is_dir():
            yield _SchemaFile(path / name, unquote(name.removesuffix(_SUFFIX)), None)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


def _text(file: Path, root: Path, before: _DirectorySnapshot, problems: list[str]) -> str | None:
    """Read the text of a file.

    A file that is not JSON (half written, for example) keeps its earlier text. A new one is taken as it is; its events
    are unchecked, and say why.
    """
    name = file.relative_to(root)
    try:
        content = file.read_bytes() if file.stat().st_size <= MAX_SCHEMA_CHARACTERS else None
        text = content.decode() if content is not None else None
        if text is None:
            problems.append(f"{name}: expected at most {MAX_SCHEMA_CHARACTERS} bytes")
        else:
            msgspec.json.decode(text)
            return text
    except OSError as error:
        problems.append(f"{name}: cannot be read: {error.strerror or error}")
        return before.texts.get(file)
    except UnicodeDecodeError as error:
        problems.append(f"{name}: expected UTF-8, found the byte 0x{error.object[error.start]:02x} at {error.start}")
        return before.texts.get(file)
    except (msgspec.DecodeError, RecursionError) as error:
        problems.append(f"{name}: not JSON: {error}")
        return before.texts.get(file, text)
    return before.texts.get(file)


def _number(file: _SchemaFile, schema: RegisteredSchema, versions: dict[int, RegisteredSchema]) -> int:
    if file.version is not None:
        return file.version
    same = (number for number, each in versions.items() if each.ref.id == schema.ref.id)
    return next(same, max(versions, default=0) + 1)


class _TypeDeclarations:
    """The texts of the files by the types that they declare: references are found by the missing names."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._by_name: dict[str, str] = {}
        """Later texts, which are later versions, replace earlier ones."""
        self._schemas: dict[str, RegisteredSchema] = {}
        self._problems: dict[str, str] = {}
        for text in texts:
            if name := _declared_name(text):
                self._by_name[name] = text

    def schema(self, text: str) -> RegisteredSchema:
        return self._resolve(text, frozenset())

    def problem(self, text: str) -> str | None:
        return self._problems.get(text)

    def _resolve(self, text: str, around: frozenset[str]) -> RegisteredSchema:
        """Build the schema with its references. `around`: the texts on the path to this one, so that a circle ends."""
        if text in self._schemas:
            return self._schemas[text]
        references: list[RegisteredSchema] = []
        problem = None
        while True:
            try:
                parse(text, [each for reference in references for each in schema_texts(reference)])
            except UnknownTypeName as error:
                missing = next((self._by_name[name] for name in error.names if name in self._by_name), None)
                known = {reference.text for reference in references}
                if missing is None or missing in around or missing == text or missing in known:
                    problem = str(error)
                elif len(references) >= _MAX_REFERENCES or len(around) >= _MAX_REFERENCES:
                    problem = f"expected at most {_MAX_REFERENCES} references"
                else:
                    references.append(self._resolve(missing, around | {text}))
                    continue
            except UnusableSchema as error:
                problem = str(error)
            break
        if problem:
            self._problems[text] = problem
        guid = str(uuid5(_NAMESPACE, _compact(text).hex()))
        schema = RegisteredSchema(SchemaRef(None, None, schema_id(text), guid), KIND, text, tuple(references))
        if problem is None or not around:
            self._schemas[text] = schema
        return schema


def _declared_name(text: str) -> str | None:
    """Return the full name of the type that a text declares at its top."""
    try:
        node = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    if not isinstance(node, dict) or not isinstance(node.get("name"), str):
        return None
    name, namespace = node["name"], node.get("namespace")
    return f"{namespace}.{name}" if "." not in name and isinstance(namespace, str) and namespace else name
