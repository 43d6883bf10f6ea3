"""Automatic repair: when the shop has closed, dead letters with an obvious mistake are repaired and replayed."""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from typing import Any

from sidecar.api.client.client import Client
from sidecar.api.models.replays import EditRequest, ReplayRequestModel
from sidecar.domain.json_path import InvalidPath, JsonPath

PAGE_LETTERS = 1000
POLL_INTERVAL_S = 0.05
NUMBERS_BY_WORD = {"one": 1, "two": 2, "many": 3}
COMMENT = "the demo repairs a producer's mistake"
_AMOUNT = re.compile(r"([0-9]+\.[0-9]{2}) EUR")


async def replay_repaired(client: Client) -> int:
    """Replay the dead letters with a repairable body. Returns the number of published records. Raises ClientError."""
    edits: dict[tuple[str, float], list[str]] = defaultdict(list)
    page = await client.dead_letters("code:schema.mismatch state:open", limit=PAGE_LETTERS)
    for item in page.items:
        letter = await client.dead_letter(item.id)
        value = _repair(_value_at(letter.body, letter.path))
        if letter.path is not None and value is not None:
            edits[letter.path, value].append(letter.id)
    published = 0
    for (path, value), ids in edits.items():
        # `again`: the shop's services have consumed these events, but could not use them.
        request = ReplayRequestModel(ids=ids, again=True, edit=EditRequest(set={path: value}), comment=COMMENT)
        job = await client.replay(request)
        while job.state == "running":
            await asyncio.sleep(POLL_INTERVAL_S)
            job = await client.replay_job(job.id)
        published += job.published
    return published


def _repair(value: Any) -> float | None:
    """Return the number that a text was meant to be, None if that is not obvious."""
    if not isinstance(value, str):
        return None
    amount = _AMOUNT.fullmatch(value)
    return float(amount[1]) if amount is not None else NUMBERS_BY_WORD.get(value)


def _value_at(body: Any, path: str | None) -> Any:
    try:
        for step in JsonPath.parse(path or "").steps:
            body = body[step]
    except (InvalidPath, KeyError, IndexError, TypeError):
        return None
    return body
