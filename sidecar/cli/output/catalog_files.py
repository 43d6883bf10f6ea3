"""The catalog as Markdown, and as the files of an EventCatalog project."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sidecar.api import models
from sidecar.cli.output.asyncapi import identifier, name_entries, unique_identifiers


def to_markdown(page: models.CatalogPage) -> str:
    """Write the catalog as a Markdown page: a table, then a section for each type."""
    return "\n".join(_markdown_lines(page)) + "\n"


def _markdown_lines(page: models.CatalogPage) -> Iterator[str]:
    yield f"# Events of {page.service}\n"
    yield "| stream | type | producers | consumers | events | owner |\n|---|---|---|---|--:|---|"
    for entry in page.items:
        cells = [
            entry.stream, entry.type or "-", ", ".join(entry.producers) or "-", ", ".join(entry.consumers) or "-",
            f"{entry.events:,}", entry.owner or "-",
        ]  # fmt: skip
        yield f"| {' | '.join(_cell(cell) for cell in cells)} |"
    for entry in page.items:
        yield f"\n## {_cell(entry.type or 'Without type')} on {_cell(entry.stream)}\n"
        if entry.documentation:
            yield f"{_prose(entry.documentation)}\n"
        yield from _facts(entry)
        if entry.example is not None:
            yield f"\n```json\n{_json(entry.example)}\n```"


def _facts(entry: models.CatalogEntryModel) -> Iterator[str]:
    schemas = [f"{use.ref.subject} v{use.ref.version}" for use in entry.schemas if use.ref.version is not None]
    facts = {
        "Caused by": ", ".join(entry.causes),
        "Schemas in use": ", ".join(schemas),
        "Versions": ", ".join(entry.versions),
        "Aggregates": ", ".join(entry.aggregate_types),
        "Rate": "" if entry.rate is None else f"{entry.rate:g} events/s",
        "Size": "" if entry.size_bytes is None else f"{entry.size_bytes:,} bytes (largest {entry.max_size_bytes:,})",
        "Rejected": f"{entry.rejected:,} of {entry.events:,}" if entry.rejected else "",
    }
    for name, value in facts.items():
        if value:
            yield f"- {name}: {_prose(value)}"


def _cell(text: str) -> str:
    return _prose(text).replace("|", "\\|")


def _prose(text: str) -> str:
    """Escape what Markdown and MDX would read as markup; a text from an event is never markup."""
    text = " ".join(text.split())
    for character in "\\`*_<>{}[]":
        text = text.replace(character, "\\" + character)
    return text


def _json(value: Any) -> str:
    import msgspec

    from sidecar.domain.json_safe import encode_json

    # A fence cannot be closed by the text inside: JSON may write a backtick as an escape.
    return msgspec.json.format(encode_json(value), indent=2).decode().replace("```", "\\u0060\\u0060\\u0060")


def to_eventcatalog(page: models.CatalogPage) -> dict[str, str]:
    """Return the text of each file of an EventCatalog project, by path: events, channels, services and teams."""
    files: dict[str, str] = {}
    names = name_entries(page.items)
    streams = unique_identifiers(entry.stream for entry in page.items)
    sends: dict[str, list[dict[str, str]]] = {}
    receives: dict[str, list[dict[str, str]]] = {}
    for entry, name in zip(page.items, names, strict=True):
        version = _version(entry)
        folder = f"events/{name}"
        front: dict[str, Any] = {
            "id": name,
            "name": entry.type or name,
            "version": version,
            "summary": entry.documentation or f"Seen {entry.events:,} times on {entry.stream}.",
            "channels": [{"id": streams[entry.stream]}],
        }
        if entry.owner:
            front["owners"] = [identifier(entry.owner)]
            files.setdefault(
                f"teams/{identifier(entry.owner)}.mdx", _mdx({"id": identifier(entry.owner), "name": entry.owner}, "")
            )
        if entry.schema_text is not None:
            file_name = {"AVRO": "schema.avsc", "PROTOBUF": "schema.proto"}.get(entry.schema_kind or "", "schema.json")
            front["schemaPath"] = file_name
            files[f"{folder}/{file_name}"] = entry.schema_text
        body = "\n".join(_facts(entry))
        if entry.example is not None:
            body += f"\n\n```json\n{_json(entry.example)}\n```"
        files[f"{folder}/index.mdx"] = _mdx(front, body)
        channel = {"id": streams[entry.stream], "name": entry.stream, "version": "1.0.0", "address": entry.stream}
        files[f"channels/{streams[entry.stream]}/index.mdx"] = _mdx(channel | {"protocols": [entry.system]}, "")
        for parties, table in ((entry.producers, sends), (entry.consumers, receives)):
            for party in parties:
                table.setdefault(party, []).append({"id": name, "version": version})
    for party, id in unique_identifiers(sorted({*sends, *receives})).items():
        front = {"id": id, "name": party, "version": "1.0.0"}
        front |= {"sends": sends.get(party, []), "receives": receives.get(party, [])}
        files[f"services/{id}/index.mdx"] = _mdx(front, "")
    return files


def _version(entry: models.CatalogEntryModel) -> str:
    """Return a semantic version, which EventCatalog requires: the schema's as the major one."""
    known = next((use.ref.version for use in entry.schemas if use.ref.version is not None), None)
    return f"{known or 1}.0.0"


def _mdx(front: dict[str, Any], body: str) -> str:
    import yaml

    return f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=120)}---\n\n{body}\n"
