"""The examples equal those in the documents, and their configurations load."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import yaml

from sidecar.config.loader import loads

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
DOCUMENT = (ROOT / "docs" / "dead-letters.md").read_text()


@pytest.mark.parametrize(
    ("language", "name"),
    [("python", "report.py"), ("java", "Tracecar.java"), ("go", "report.go"), ("js", "report.js")],
)
def test_the_snippet_of_a_language_is_the_one_that_the_document_shows(language: str, name: str) -> None:
    blocks = [
        text
        for found, text in re.findall(r"^```(\w+)\n(.*?)^```$", DOCUMENT, re.DOTALL | re.MULTILINE)
        if found == language
    ]
    assert (EXAMPLES / "report-failure" / name).read_text() in blocks


def test_the_configuration_of_the_containers_loads() -> None:
    config = loads((EXAMPLES / "compose" / "tracecar.yaml").read_text(), {"TRACECAR_TOKEN": "t" * 20})
    assert config.sources.kafka is not None
    services = yaml.safe_load((EXAMPLES / "compose" / "compose.yaml").read_text())["services"]
    hosts = set(re.findall(r"https?://([a-z]+):|: ([a-z]+):9092", (EXAMPLES / "compose" / "tracecar.yaml").read_text()))
    assert {name for pair in hosts for name in pair if name} <= set(services)
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)


def test_the_producer_is_python() -> None:
    ast.parse((EXAMPLES / "compose" / "producer.py").read_text())
