"""The rights of docs/permissions.md: the commands and Strimzi's KafkaUser are the same, also in the chart's README."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
KAFKA = (ROOT / "docs" / "permissions.md").read_text().partition("## Kafka\n")[2].partition("\n## ")[0]
PATTERNS = {"prefixed": "prefix", "literal": "literal"}
KINDS = {"--topic": "topic", "--group": "group", "--transactional-id": "transactionalId"}
Right = tuple[str, str, str, str]


def _of_commands() -> set[Right]:
    rights: set[Right] = set()
    for line in re.findall(r"^acl (--.*)$", KAFKA, re.MULTILINE):
        words = shlex.split(line)
        options = list(zip(words[::2], words[1::2], strict=True))
        named = dict(options)
        pattern = PATTERNS[named.get("--resource-pattern-type", "literal")]
        ((kind, name),) = [(KINDS[option], value) for option, value in options if option in KINDS]
        rights |= {(kind, name, pattern, value) for option, value in options if option == "--operation"}
    return rights


def _of_user(text: str) -> set[Right]:
    (block,) = [part for part in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "kind: KafkaUser" in part]
    user: Any = yaml.safe_load(block)
    rights: set[Right] = set()
    for entry in user["spec"]["authorization"]["acls"]:
        resource = entry["resource"]
        pattern = resource.get("patternType", "literal")
        rights |= {(resource["type"], resource["name"], pattern, operation) for operation in entry["operations"]}
    return rights


def test_the_user_of_strimzi_has_the_rights_of_the_commands() -> None:
    assert _of_user(KAFKA) == _of_commands() != set()


def test_the_chart_shows_the_same_user() -> None:
    assert _of_user((ROOT / "helm" / "tracecar" / "README.md").read_text()) == _of_commands()
