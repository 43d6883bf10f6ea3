"""Advice about a dead letter, in a sentence that names the keys."""

from __future__ import annotations

_BY_CODE = {
    "schema.wrong_subject": "The producer used another stream's schema. Fix the producer; x discards the letter.",
    "schema.mismatch": "e edits the body, with validation, and replays it. If many fail, fix the producer.",
}
_BY_STAGE = {
    "decode": "The bytes are malformed. Fix the producer; e edits the bytes, x discards the letter.",
    "schema": "Register the schema or fix the producer, then r replays the letter as it is.",
    "envelope": "e adds the missing fields, with validation, and replays it. If many fail, fix the producer.",
    "reported": "A consumer could not process it. Fix the consumer, then r replays it.",
    "delivery": "A consumer gave up on it. Fix the consumer, then r replays it.",
}
_BY_STATE = {
    "replaying": "A replay is running: p shows its progress.",
    "replayed": "It was replayed: w shows the outcome.",
    "discarded": "It was discarded: u restores it.",
    "parked": "It failed as often as allowed: r and then f replays it once more, x discards it.",
}
_ELSE = "r replays it, e edits it first, x discards it."


def advice(code: str, state: str = "open") -> str:
    """Return advice for a dead letter with this rejection code in this state."""
    done = _BY_STATE.get(state)
    return done or _BY_CODE.get(code) or _BY_STAGE.get(code.partition(".")[0], _ELSE)
