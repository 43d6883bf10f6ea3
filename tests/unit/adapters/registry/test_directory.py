"""A registry in a directory: file names and versions, references, changes, and broken files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sidecar.adapters.registry.directory import DirectoryRegistry, schema_id
from sidecar.decoding.formats.schema_format import schema_texts
from sidecar.domain.errors import Outage
from tests.support.schema_formats import bind_schema


def record(name: str, **types: str) -> str:
    return json.dumps(
        {"type": "record", "name": name, "fields": [{"name": key, "type": of} for key, of in types.items()]}
    )


async def test_a_file_alone_is_version_one(tmp_path: Path) -> None:
    (tmp_path / "orders-value.avsc").write_text(record("shop.Order", a="int"))
    registry = DirectoryRegistry(tmp_path)
    assert await registry.subjects() == ["orders-value"]
    assert await registry.versions("orders-value") == [1]
    assert registry.problems == ()


async def test_numbered_files_are_versions_and_the_plain_one_is_the_latest(tmp_path: Path) -> None:
    (tmp_path / "orders-value").mkdir()
    (tmp_path / "orders-value" / "2.avsc").write_text(record("shop.Order", a="int"))
    (tmp_path / "orders-value" / "10.avsc").write_text(record("shop.Order", b="int"))
    registry = DirectoryRegistry(tmp_path)
    assert await registry.versions("orders-value") == [2, 10]
    (tmp_path / "orders-value.avsc").write_text(record("shop.Order", c="int"))
    assert await registry.versions("orders-value") == [2, 10, 11]
    latest = await registry.by_version("orders-value", None)
    assert latest is not None
    assert latest.text == record("shop.Order", c="int")
    (tmp_path / "orders-value.avsc").write_text(record("shop.Order", b="int"))
    assert await registry.versions("orders-value") == [2, 10]


async def test_ids_depend_on_the_text_alone(tmp_path: Path) -> None:
    text = record("shop.Order", a="int")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "orders-value.avsc").write_text(text if name == "one" else f"\n  {text} ")
    first = await DirectoryRegistry(tmp_path / "one").by_version("orders-value", 1)
    second = await DirectoryRegistry(tmp_path / "two").by_version("orders-value", 1)
    assert first is not None
    assert second is not None
    assert first.ref == second.ref
    assert first.ref.id == schema_id(text)
    assert 0 < schema_id(text) < 1 << 31
    assert schema_id(record("shop.Order", b="int")) != schema_id(text)


async def test_files_refer_to_one_another_by_full_name(tmp_path: Path) -> None:
    (tmp_path / "a.avsc").write_text(record("shop.Order", to="shop.Address", also="shop.City"))
    (tmp_path / "b.avsc").write_text(record("shop.Address", city="City"))
    (tmp_path / "c.avsc").write_text('{"namespace": "shop", "name": "City", "type": "record", "fields": []}')
    registry = DirectoryRegistry(tmp_path)
    found = await registry.by_version("a", 1)
    assert found is not None
    assert len(schema_texts(found)) == 3
    assert bind_schema(found).decode(b"", 0) == {"to": {"city": {}}, "also": {}}
    assert registry.problems == ()


async def test_unresolved_references_are_reported_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.avsc").write_text(record("A", b="B"))
    (tmp_path / "b.avsc").write_text(record("B", a="A"))
    (tmp_path / "c.avsc").write_text(record("C", gone="Gone"))
    registry = DirectoryRegistry(tmp_path)
    assert await registry.subjects() == ["a", "b", "c"]
    assert [problem.partition(":")[0] for problem in registry.problems] == ["a.avsc", "b.avsc", "c.avsc"]
    assert registry.problems[2] == "c.avsc: .gone: expected a known type, found the name 'Gone'"


async def test_changed_new_and_removed_files_are_seen(tmp_path: Path) -> None:
    file = tmp_path / "orders-value.avsc"
    file.write_text(record("shop.Order", a="int"))
    registry = DirectoryRegistry(tmp_path)
    before = await registry.by_version("orders-value", None)
    file.write_text(record("shop.Order", changed="string"))
    (tmp_path / "new-value.avsc").write_text('"int"')
    after = await registry.by_version("orders-value", None)
    assert before is not None
    assert after is not None
    assert before.ref.id != after.ref.id
    assert await registry.subjects() == ["new-value", "orders-value"]
    file.unlink()
    assert await registry.subjects() == ["new-value"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"type": "rec', "not JSON"),
        (b"\xff\xfe", "expected UTF-8, found the byte 0xff at 0"),
        (b"[" * 5_000, "not JSON"),
    ],
)
async def test_a_file_that_breaks_keeps_its_last_schema_and_is_reported(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    file = tmp_path / "orders-value.avsc"
    good = record("shop.Order", a="int")
    file.write_text(good)
    registry = DirectoryRegistry(tmp_path)
    assert await registry.subjects() == ["orders-value"]
    file.write_bytes(content)
    found = await registry.by_version("orders-value", None)
    assert found is not None
    assert found.text == good
    (problem,) = registry.problems
    assert problem.startswith(f"orders-value.avsc: {reason}")
    file.write_text(record("shop.Order", b="int"))
    await registry.subjects()
    assert registry.problems == ()


async def test_a_file_that_was_never_good_leaves_its_events_unchecked(tmp_path: Path) -> None:
    (tmp_path / "orders-value.avsc").write_text("{")
    found = await DirectoryRegistry(tmp_path).by_version("orders-value", None)
    assert found is not None
    assert bind_schema(found).unusable is not None


async def test_other_files_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("hello")
    (tmp_path / ".hidden.avsc").write_text("{")
    (tmp_path / "dir.avsc").mkdir()
    (tmp_path / "orders-value").mkdir()
    (tmp_path / "orders-value" / "latest.avsc").write_text("{")
    (tmp_path / "orders-value" / "1.json").write_text("{")
    (tmp_path / "gone.avsc").symlink_to(tmp_path / "nowhere")
    registry = DirectoryRegistry(tmp_path)
    assert await registry.subjects() == []
    assert [problem.partition(":")[0] for problem in registry.problems] == ["gone.avsc"]


async def test_a_directory_that_is_not_there_is_an_outage(tmp_path: Path) -> None:
    registry = DirectoryRegistry(tmp_path / "gone")
    with pytest.raises(Outage, match=r"registry\.directory .*gone cannot be read"):
        await registry.by_id(1)
    (tmp_path / "gone").mkdir()
    assert await registry.by_id(1) is None
