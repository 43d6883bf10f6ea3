"""Lua scripts of the broker. Each `.lua` file in this folder describes its arguments and its reply."""

from __future__ import annotations

from sidecar.adapters.redis_client.lua_script import LuaScript

MAX_FIELDS_PER_ENTRY = 3_900
"""Fields of an entry that a script can write: the Lua stack holds 8,000 values."""


def _load(name: str) -> LuaScript:
    return LuaScript.load_files(__package__, name)


ACKNOWLEDGE = _load("acknowledge.lua")
COMMIT_REJECTED = _load("commit_rejected.lua")
CHECK_STREAMS = _load("check_streams.lua")
ENSURE_IDENTITY = _load("ensure_identity.lua")
REMOVE_IDLE_CONSUMER = _load("remove_idle_consumer.lua")
DEAD_LETTER_AND_ACK = _load("dead_letter_and_ack.lua")
FORWARD_HISTORY_MARKS = _load("forward_history_marks.lua")
LEDGER_TRANSACTIONS = _load("ledger_transactions.lua")
