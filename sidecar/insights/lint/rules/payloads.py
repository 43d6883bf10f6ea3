"""Rules about payloads: their growth, and personal data in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from statistics import median
from typing import Any

from sidecar.insights.lint.evidence import Evidence, LintFinding, Severity
from sidecar.insights.lint.rule import LintContext, PayloadSample, RuleInfo

PAYLOAD_GROWTH = RuleInfo(
    name="payload-growth",
    severity=Severity.WARNING,
    summary="The events of a type become larger.",
    reason="A list that only grows ends at the broker's limit of a record, and each consumer pays for it.",
    remedy="Publish what changed, or a reference to the whole.",
)
PERSONAL_DATA = RuleInfo(
    name="personal-data",
    severity=Severity.WARNING,
    summary="Fields hold what looks like personal data, and are not redacted.",
    reason="Everyone who may open the dashboard can read it, and so can each consumer as long as the stream keeps it.",
    remedy="Add the path to `redact`, or keep the data out of the event. Silence the rule for the type where the data "
    "is meant to be there.",
)
MIN_GROWTH_FACTOR = 2.0
MIN_GROWTH_BYTES = 4_096
MIN_SAMPLES_PER_SIDE = 5
"""Samples of early and of late events from which a growth is not chance."""
MAX_VISITED_VALUES = 2_000
_PERSONAL_NAME = re.compile(
    r"(?:^|_)(?:e_?mail(?:_?address)?|phone(?:_?number)?|mobile(?:_?number)?|msisdn|iban|bic|ssn|social_?security"
    r"(?:_?number)?|passport(?:_?number)?|national_?id|tax_?id|date_?of_?birth|birth_?date|dob|first_?name|last_?name"
    r"|sur_?name|full_?name|maiden_?name|street(?:_?address)?|home_?address|credit_?card(?:_?number)?|card_?number|cvv"
    r"|pan|password|ip_?address)(?:$|_)"
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
_IBAN = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}")
_CARD = re.compile(r"[0-9](?:[ -]?[0-9]){12,18}")
_Path = tuple[str, ...]


class PayloadGrowthRule:
    """Compares the sizes of the oldest and the newest samples of each type."""

    infos = (PAYLOAD_GROWTH,)

    def __init__(self) -> None:
        self._sizes: dict[tuple[str, str | None], list[tuple[int, int, PayloadSample]]] = {}

    def observe_payload(self, sample: PayloadSample) -> None:
        event = sample.node.event
        light = PayloadSample(sample.node, {}, None, sample.size_bytes, frozenset())
        sizes = self._sizes.setdefault((event.position.stream, event.type), [])
        sizes.append((event.appended_at, sample.size_bytes, light))

    def findings(self, context: LintContext) -> Iterable[LintFinding]:
        for (stream, type), sizes in self._sizes.items():
            in_order = sorted(sizes, key=lambda each: each[0])
            half = len(in_order) // 2
            if half < MIN_SAMPLES_PER_SIDE:
                continue
            quarter = max(MIN_SAMPLES_PER_SIDE, half // 2)
            early = median(size for _, size, _ in in_order[:quarter])
            late = median(size for _, size, _ in in_order[-quarter:])
            if late < early * MIN_GROWTH_FACTOR or late - early < MIN_GROWTH_BYTES:
                continue
            evidence = Evidence()
            for _, _, sample in reversed(in_order[-quarter:]):
                evidence.add(sample.node.event)
            message = f"{type or stream} grew from {early:,.0f} to {late:,.0f} bytes (medians of {quarter} samples)"
            yield PAYLOAD_GROWTH.finding(message, evidence, subject=type or stream, stream=stream, type=type)


class PersonalDataRule:
    """Looks for personal data by the names of fields and by the form of values. It keeps no value."""

    infos = (PERSONAL_DATA,)

    def __init__(self, hidden_text: str) -> None:
        """Create the rule. `hidden_text`: what stands in place of a redacted value."""
        self._hidden_text = hidden_text
        self._paths: dict[tuple[str, str | None], dict[str, Evidence]] = {}

    def observe_payload(self, sample: PayloadSample) -> None:
        event = sample.node.event
        for path, value in _walk(sample.body):
            if value == self._hidden_text or not _is_personal(path, value):
                continue
            paths = self._paths.setdefault((event.position.stream, event.type), {})
            paths.setdefault(".".join(path), Evidence()).add(event)

    def findings(self, context: LintContext) -> Iterable[LintFinding]:
        for (stream, type), paths in self._paths.items():
            names = sorted(paths)
            listed = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
            evidence = max(paths.values(), key=lambda each: each.count)
            message = f"{type or stream} holds what looks like personal data: {listed}"
            yield PERSONAL_DATA.finding(message, evidence, subject=type or stream, stream=stream, type=type)


def _walk(body: Any) -> Iterator[tuple[_Path, Any]]:
    """Yield the texts and numbers of a body with their paths, list items under the path of their list."""
    stack: list[tuple[_Path, Any]] = [((), body)]
    visited = 0
    while stack and visited < MAX_VISITED_VALUES:
        path, value = stack.pop()
        visited += 1
        if isinstance(value, dict):
            stack += [((*path, str(name)), item) for name, item in value.items()]
        elif isinstance(value, list):
            stack += [(path, item) for item in value[:20]]
        elif isinstance(value, (str, int)) and not isinstance(value, bool) and path:
            yield path, value


def _is_personal(path: _Path, value: str | int) -> bool:
    name = _CAMEL.sub("_", path[-1]).replace("-", "_").lower()
    if _PERSONAL_NAME.search(name):
        return value != ""
    if not isinstance(value, str) or not 5 <= len(value) <= 320:
        return False
    return (
        _EMAIL.fullmatch(value) is not None
        or (_IBAN.fullmatch(value.replace(" ", "")) is not None and _is_iban(value.replace(" ", "")))
        or (_CARD.fullmatch(value) is not None and _is_card_number(value))
    )


def _is_iban(text: str) -> bool:
    """Check the two check digits (ISO 13616)."""
    turned = text[4:] + text[:4]
    return int("".join(str(int(character, 36)) for character in turned)) % 97 == 1


def _is_card_number(text: str) -> bool:
    """Check the last digit of a card number (Luhn), and its first, which names a card network."""
    digits = [int(character) for character in text if character.isdigit()]
    if digits[0] not in (2, 3, 4, 5, 6):
        return False
    doubled = [digit if at % 2 == 0 else sum(divmod(digit * 2, 10)) for at, digit in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0
