"""Advice about a dead letter, in a sentence that names the keys."""

from __future__ import annotations

_BY_CODE = {
    "schema.wrong_subject": "Its producer used another stream's schema. Mend the producer; x sets aside what it sent.",
    "schema.mismatch": "e repairs the body, checked as you type, and sends it again. If many fail: mend the producer.",
}
_BY_STAGE = {
    "decode": "Its bytes are broken. Mend who publishes them; e changes the bytes, x sets it aside.",
    "schema": "Register that schema, or mend the producer; then r sends it as it is.",
    "envelope": "e adds what is missing, checked as you type, and sends it again. If many fail: mend the producer.",
    "reported": "A consumer could not process it. Mend the consumer, then r sends it again.",
    "delivery": "A consumer has given up on it. Mend the consumer, then r sends it again.",
}
_BY_STATE = {
    "replaying": "It is being sent again: p shows how far it is.",
    "replayed": "It was sent again: w shows what became of it.",
    "discarded": "It is set aside: u restores it.",
    "parked": "It came back as often as is allowed: r and then f sends it once more, x sets it aside.",
}
_ELSE = "r sends it again, e changes it before, x sets it aside."


def advice(code: str, state: str = "open") -> str:
    """Return advice for a dead letter with this rejection code in this state."""
    done = _BY_STATE.get(state)
    return done or _BY_CODE.get(code) or _BY_STAGE.get(code.partition(".")[0], _ELSE)
