"""What somebody does when the shop is closed: dead letters whose mistake is plain are mended and sent again."""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from typing import Any

from sidecar.api.client.client import Client
from sidecar.api.models.replays import EditRequest, ReplayRequestModel
from sidecar.domain.json_path import InvalidPath, JsonPath

PAGE = 1000
WORDS = {"one": 1, "two": 2, "many": 3}
_AMOUNT = re.compile(r"([0-9]+\.[0-9]{2}) EUR")
COMMENT = "the demo mends what a developer got wrong"


async def mend(client: Client) -> int:
    """Replay the letters whose body can be set right, each with its value; returns how many records were sent. Raises
    ClientError."""
    edits: dict[tuple[str, float], list[str]] = defaultdict(list)
    page = await client.dead_letters("code:schema.mismatch state:open", limit=PAGE)
    for item in page.items:
        letter = await client.dead_letter(item.id)
        value = _right(_at(letter.body, letter.path))
        if letter.path is not None and value is not None:
            edits[letter.path, value].append(letter.id)
    sent = 0
    for (path, value), ids in edits.items():
        # The shop's services have passed these events, and could not use them.
        request = ReplayRequestModel(ids=ids, again=True, edit=EditRequest(set={path: value}), comment=COMMENT)
        job = await client.replay(request)
        while job.state == "running":
            await asyncio.sleep(0.05)
            job = await client.replay_job(job.id)
        sent += job.published
    return sent


def _right(value: Any) -> float | None:
    """What the value was meant to be; None where nobody can tell."""
    if not isinstance(value, str):
        return None
    amount = _AMOUNT.fullmatch(value)
    return float(amount[1]) if amount is not None else WORDS.get(value)


def _at(body: Any, path: str | None) -> Any:
    try:
        for step in JsonPath.parse(path).steps if path else ():
            body = body[step]
    except (InvalidPath, KeyError, IndexError, TypeError):
        return None
    return body
