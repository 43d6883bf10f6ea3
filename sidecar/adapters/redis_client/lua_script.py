"""Lua scripts that Redis or Valkey executes atomically."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib import resources
from typing import Any

from sidecar.adapters.redis_client.connection_pool import Argument, Command, RedisConnection
from sidecar.adapters.redis_client.errors import RedisReplyError


class LuaScript:
    """A Lua script, called by its digest.

    A server that does not know the digest (after a restart or a failover) gets the text.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    @classmethod
    def load_files(cls, package: str, *names: str) -> LuaScript:
        """Read a script from files of a package, such as `commit.lua`. Several files are joined in this order."""
        folder = resources.files(package)
        return cls("\n".join(folder.joinpath(name).read_text("utf-8") for name in names))

    def command(self, keys: Sequence[Argument], arguments: Sequence[Argument]) -> Command:
        """Build the command that calls the script by its digest."""
        return ("EVALSHA", self.sha, len(keys), *keys, *arguments)

    async def call(self, connection: RedisConnection, keys: Sequence[Argument], arguments: Sequence[Argument]) -> Any:
        """Run the script and return its reply. Raises as `RedisConnection.call` does."""
        try:
            return await connection.call(*self.command(keys, arguments))
        except RedisReplyError as error:
            if error.code != "NOSCRIPT":
                raise
            return await connection.call("EVAL", self.text, len(keys), *keys, *arguments)

    async def load(self, connection: RedisConnection) -> None:
        """Load the script into the server's cache."""
        await connection.call("SCRIPT", "LOAD", self.text)
