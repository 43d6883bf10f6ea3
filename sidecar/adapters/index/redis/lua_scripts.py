"""The shared index's Lua scripts; each `.lua` file in this folder says what it does, expects and returns. A script
touches the keys of one shard only."""

from __future__ import annotations

from sidecar.adapters.redis_client.lua_script import LuaScript


def _load(name: str) -> LuaScript:
    return LuaScript.load_files(__package__, "argument_reader.lua", name)


WRITE_EVENTS = _load("write_events.lua")
WRITE_LISTS = _load("write_lists.lua")
DELETE_EVENTS = _load("delete_events.lua")
CORRECT_COUNT = _load("correct_count.lua")
WRITE_WHEN_FULL = _load("write_when_full.lua")
HEARTBEAT = _load("heartbeat.lua")
