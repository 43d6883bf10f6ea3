"""Trying everything that running would need of a Redis server, without changing anything."""

from __future__ import annotations

import asyncio
import contextlib
from uuid import uuid4

from sidecar.adapters.brokers.redis import log_reader as looking
from sidecar.adapters.brokers.redis.cluster_key_names import cluster_dead_letter_stream, crosses
from sidecar.adapters.brokers.redis.entry_codec import pairs, raw, text
from sidecar.adapters.brokers.redis.log_reader import is_pattern
from sidecar.adapters.redis_client.connection_pool import Command, RedisConnection, RedisPool
from sidecar.adapters.redis_client.errors import RedisReplyError
from sidecar.config.schema import RedisConfig
from sidecar.dead_letters.discovery import suggest_streams
from sidecar.domain.errors import Outage, Refused
from sidecar.domain.ports.broker import Finding
from sidecar.domain.stream_names import StreamNames

WHERE = "sources.redis"
OLDEST = (6, 2)
SHOWN = 5
LOOKING_SECONDS = 3.0
"""How long all of a server's keys are looked through for dead-letter streams that are not read."""


async def inspect(config: RedisConfig, servers: RedisPool, naming: StreamNames, group: str) -> list[Finding]:
    """See `Broker.inspect`."""
    found: list[Finding] = []
    try:
        await servers.start()
        async with servers.borrow(None) as link:
            found.append(await _version(servers, link))
            found += await _safety(link)
    except (Outage, Refused) as error:
        return [*found, Finding(f"{WHERE}: connect", False, f"{error}; see `{WHERE}.url` and `{WHERE}.tls`")]
    try:
        await _streams(config, servers, naming, group, found)
    except (Outage, Refused) as error:
        found.append(Finding(f"{WHERE}: ask about streams", False, f"{error}; what follows could not be tried"))
    return found


async def _streams(
    config: RedisConfig, servers: RedisPool, naming: StreamNames, group: str, found: list[Finding]
) -> None:
    for name in dict.fromkeys((*config.streams, *config.gate)):
        found += await _name(servers, naming, name)
        try:
            streams = await _matching(servers, naming, name)
        except RedisReplyError as error:
            detail = f"{error}; allow it with ACL SETUSER, or name each stream"
            found.append(Finding(f"{WHERE}.streams: {name}", False, detail))
            continue
        if is_pattern(name):
            detail = f"matches {len(streams)} streams" if streams else "matches no stream yet"
            if len(streams) > SHOWN:
                detail = f"matches {SHOWN} streams and more; these were tried"
            found.append(Finding(f"{WHERE}.streams: {name}", True, detail))
        for stream in streams[:SHOWN]:
            async with servers.borrow(raw(stream)) as link:
                found += await _permissions(servers, link, naming, group, stream)
                for other in config.exhausted:
                    found.append(await _exhausted(link, stream, other))
                if name in config.gate:
                    found.append(await _gate(servers, link, stream, config.gate[name]))
    if not config.streams and not config.gate:
        found.append(Finding(f"{WHERE}.streams", False, "names no stream: nothing would be read"))
    found += suggest_streams(WHERE, await _there(servers), naming)


async def _there(servers: RedisPool) -> set[str]:
    """The streams that are there: as many as can be found within a short while, by one who may look."""
    found: set[str] = set()
    with contextlib.suppress(TimeoutError, Refused):
        async with asyncio.timeout(LOOKING_SECONDS):
            async for stream in looking.names(servers):
                found.add(stream)
    return found


async def _version(servers: RedisPool, link: RedisConnection) -> Finding:
    what = f"{WHERE}: connect"
    try:
        hello = pairs(await link.call("HELLO", 2))
    except Refused as error:
        return Finding(what, True, f"{servers.target} answers; its version cannot be asked ({error})")
    server, version = text(_bytes(hello[b"server"])), text(_bytes(hello[b"version"]))
    parts = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if parts < OLDEST:
        return Finding(what, False, f"{server} {version}; at least {OLDEST[0]}.{OLDEST[1]} is needed")
    nodes = len(servers.nodes())
    note = f", {nodes} nodes" if servers.cluster else ""
    lost = "" if parts >= (7, 0) else "; before 7.0 lag and entries trimmed unread cannot be seen"
    return Finding(what, True, f"{server} {version} at {servers.target}{note}{lost}")


async def _safety(link: RedisConnection) -> list[Finding]:
    """What the server's own settings let be lost: told, never an error, for it is the operator's choice."""
    what = f"{WHERE}: durability"
    try:
        policy = pairs(await link.call("CONFIG", "GET", "maxmemory*"))
        files = pairs(await link.call("CONFIG", "GET", "append*"))
    except Refused:
        return [Finding(what, True, "the server does not show its settings to this user")]
    notes = []
    if files.get(b"appendonly") != b"yes":
        notes.append("appendonly is off: a crash loses all since the last snapshot, dead letters too")
    elif files.get(b"appendfsync") != b"always":
        notes.append(f"appendfsync is {text(_bytes(files[b'appendfsync']))}: a crash may lose about the last second")
    evicts = text(_bytes(policy.get(b"maxmemory-policy", b"noeviction")))
    if evicts.startswith("allkeys") and policy.get(b"maxmemory") != b"0":
        notes.append(f"maxmemory-policy is {evicts}: whole streams may be evicted; noeviction keeps them")
    return [Finding(what, True, "; ".join(notes) or "every write is on disk before it is acknowledged")]


async def _name(servers: RedisPool, naming: StreamNames, name: str) -> list[Finding]:
    if naming.is_dead_letter(name):
        return [
            Finding(
                f"{WHERE}.streams: {name}", False, "is a dead-letter stream by its name, and never read; leave it out"
            )
        ]
    return []


async def _matching(servers: RedisPool, naming: StreamNames, name: str) -> list[str]:
    if not is_pattern(name):
        return [] if naming.is_dead_letter(name) else [name]
    found: set[str] = set()
    async for stream in looking.names(servers, name):
        if not naming.is_dead_letter(stream):
            found.add(stream)
        if len(found) > SHOWN:
            break
    return sorted(found)


async def _permissions(
    servers: RedisPool, link: RedisConnection, naming: StreamNames, group: str, stream: str
) -> list[Finding]:
    key = raw(stream)
    kind = await link.call("TYPE", key)
    if kind not in (b"stream", b"none"):
        detail = f"is a {text(kind)}, not a stream; name another one in `{WHERE}.streams`"
        return [Finding(f"{WHERE}: read {stream}", False, detail)]
    there = "is there" if kind == b"stream" else "is not there yet, and would be made"
    letters = naming.dead_letter_stream(stream)
    found = []
    if naming.written and servers.cluster and crosses(stream, letters):
        letters = cluster_dead_letter_stream(naming, stream)
        if crosses(stream, letters):
            detail = (
                f"{letters} lies in another slot than {stream}, and the two are committed as one; let "
                "`dead_letters.stream` hold {stream}, and the stream's name a hash tag rather than single braces"
            )
            return [Finding(f"{WHERE}: write to {letters}", False, detail)]
    nobody = uuid4().hex
    read: list[Command] = [
        ("XREADGROUP", "GROUP", nobody, nobody, "STREAMS", key, ">"),
        ("XREAD", "COUNT", 1, "STREAMS", key, "$"),
        ("XRANGE", key, "-", "+", "COUNT", 1),
        ("XGROUP", "CREATE", key, group, "no-id"),
        ("XGROUP", "CREATECONSUMER", key, nobody, nobody),
        ("XGROUP", "DELCONSUMER", key, nobody, nobody),
        ("XGROUP", "SETID", key, nobody, "0"),
        ("XACK", key, nobody, "0-0"),
        ("XCLAIM", key, nobody, nobody, 1, "0-0"),
        ("XPENDING", key, nobody),
        ("XINFO", "GROUPS", key),
        ("XINFO", "CONSUMERS", key, nobody),
        ("XINFO", "STREAM", key),
        ("EVALSHA", "0" * 40, 1, key),
        ("EVAL", "return 0", 1, key),
        ("SCRIPT", "LOAD", "return 0"),
    ]
    found.append(await _tried(link, f"{WHERE}: read {stream}", read, there))
    if naming.written:
        found.append(await _tried(link, f"{WHERE}: write to {letters}", _writing(letters), "is allowed"))
    return found


async def _exhausted(link: RedisConnection, stream: str, group: str) -> Finding:
    """Whether entries can be taken from another group."""
    what, key = f"{WHERE}.exhausted: {group}: {stream}", raw(stream)
    (listed,) = await link.calls([("XINFO", "GROUPS", key)])
    names = [] if isinstance(listed, Exception) else [pairs(flat)[b"name"] for flat in listed]
    if raw(group) not in names:
        # A warning would be one at each stream that another group reads: it may have none here.
        return Finding(what, True, f"there is no group {group} on this stream (yet): nothing would be taken here")
    return await _tried(link, what, [("XPENDING", key, raw(group)), ("XACK", key, raw(group), "0-0")], "is allowed")


async def _gate(servers: RedisPool, link: RedisConnection, stream: str, target: str) -> Finding:
    """Whether what passes `stream` can go to `target`."""
    what = f"{WHERE}.gate: {stream}: write to {target}"
    if servers.cluster and crosses(stream, target):
        detail = (
            f"{target} lies in another slot than {stream}, and the two are committed as one; give both the same hash "
            "tag, such as {orders}.in and {orders}"
        )
        return Finding(what, False, detail)
    return await _tried(link, what, _writing(target), "is allowed")


def _writing(stream: str) -> list[Command]:
    return [("XADD", raw(stream), "0-0", "payload", "x"), ("EVALSHA", "0" * 40, 1, raw(stream))]


async def _tried(link: RedisConnection, what: str, commands: list[Command], good: str) -> Finding:
    """Whether these commands are allowed. Each is made so that it cannot do anything (a group that does not exist, an
    entry id that is none); what it is answered otherwise does not matter."""
    for command, reply in zip(commands, await link.calls(commands), strict=True):
        if isinstance(reply, RedisReplyError) and reply.code == "NOPERM":
            name = " ".join(str(word) for word in command[: 2 if command[0] in ("XGROUP", "XINFO", "SCRIPT") else 1])
            return Finding(what, False, f"{name} is refused ({reply}); allow it with ACL SETUSER")
    return Finding(what, True, good)


def _bytes(value: object) -> bytes:
    assert isinstance(value, bytes)
    return value
