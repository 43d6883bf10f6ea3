"""The commands and the configuration of the README work."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from sidecar.config.loader import loads
from sidecar.domain.errors import ConfigError
from sidecar.query import parse

README = (Path(__file__).parents[2] / "README.md").read_text()


def block(language: str, containing: str) -> str:
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    return next(text for name, text in blocks if name == language and containing in text)


def test_the_configuration_loads_and_has_twenty_lines() -> None:
    text = block("yaml", "service:")
    config = loads(text, {"TRACECAR_TOKEN": "a-token"})
    assert config.sources.kafka is not None
    assert len(text.splitlines()) <= 20


def test_the_messages_about_mistakes_are_those_shown() -> None:
    text = block("yaml", "service:")
    wrong = text.replace("    topics:", "    topic:").replace("ratio: 0.5", "ratio: 50")
    with pytest.raises(ConfigError) as refused:
        loads(wrong, {}, "tracecar.yaml")
    said = str(refused.value).splitlines()
    for line in block("", "an unknown key").splitlines():
        assert line in said


def test_every_query_in_it_is_one() -> None:
    queries = [
        word
        for line in README.splitlines()
        if line.startswith(("tracecar events", "tracecar dlq list"))
        for word in shlex.split(line)[2:]
        if ":" in word
    ]
    assert len(queries) >= 4
    for query in queries:
        parse(query)
