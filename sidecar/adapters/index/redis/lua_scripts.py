"""Lua scripts of the shared index.

Each `.lua` file in this folder describes its arguments and its reply. A script uses the keys of one shard only.
"""

from __future__ import annotations

from sidecar.adapters.redis_client.lua_script import LuaScript


def _load(name: str) -> LuaScript:
    return LuaScript.load_files(__package__, "argument_reader.lua", name)


WRITE_EVENTS = _load("write_events.lua")
WRITE_LISTS = _load("write_lists.lua")
DELETE_EVENTS = _load("delete_events.lua")
DISCARD_EVENTS = _load("discard_events.lua")
CORRECT_COUNT = _load("correct_count.lua")
WRITE_WHEN_FULL = _load("write_when_full.lua")
HEARTBEAT = _load("heartbeat.lua")
