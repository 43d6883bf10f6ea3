"""Parser of the URLs of Redis or Valkey servers, Sentinels and Clusters."""

from __future__ import annotations

from typing import Literal
from urllib.parse import parse_qs, unquote

from msgspec import Struct

Address = tuple[str, int]
"""Host and port."""


class RedisAddress(Struct, frozen=True):
    """The servers that a URL names, and how to connect to them."""

    kind: Literal["server", "sentinel", "cluster", "unix"]
    addresses: tuple[Address, ...]
    """The server; or Sentinels, or nodes of the Cluster, tried in turn."""
    tls: bool = False
    username: str | None = None
    password: str | None = None
    database: int = 0
    master: str = ""
    """Name of the master that the Sentinels watch."""
    path: str = ""
    """Path of the Unix socket."""
    sentinel_username: str | None = None
    sentinel_password: str | None = None

    def __repr__(self) -> str:
        return f"RedisAddress({self})"

    def __str__(self) -> str:
        """Return the URL without its secrets."""
        if self.kind == "unix":
            return f"unix://{self.path}"
        servers = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.addresses)
        scheme = ("rediss" if self.tls else "redis") + ("" if self.kind == "server" else f"+{self.kind}")
        path = {"sentinel": f"/{self.master}/{self.database}", "cluster": ""}.get(self.kind, f"/{self.database}")
        return f"{scheme}://{servers}{path}"


def parse(url: str) -> RedisAddress:
    """Parse a URL. Raises ValueError, without secrets in its text.

    `redis://[USER:PASSWORD@]HOST[:PORT][/DB]`, `rediss://` with TLS, `unix://PATH`,
    `redis+sentinel://[USER:PASSWORD@]H1:P1,H2:P2/MASTER[/DB]` and `redis+cluster://[USER:PASSWORD@]H1:P1,H2:P2`. The
    credentials before the host are the server's. Those of the Sentinels, if they differ, are the parameters
    `sentinel_username` and `sentinel_password`.
    """
    scheme, separator, rest = url.partition("://")
    scheme, _, kind = scheme.partition("+")
    rest, _, query = rest.partition("?")
    credentials, _, place = rest.rpartition("@")
    username, _, password = credentials.partition(":")
    if not separator or scheme not in ("redis", "rediss", "unix") or kind not in ("", "sentinel", "cluster"):
        raise ValueError(
            f"expected a Redis URL such as redis://HOST:PORT/DB, found the scheme {url.partition(':')[0][:20]!r}"
        )
    parameters = {name: values[-1] for name, values in parse_qs(query).items()}
    user, secret = unquote(username) or None, unquote(password) or None
    if scheme == "unix":
        database = int(parameters.get("db", "0"))
        return RedisAddress("unix", (), username=user, password=secret, path=unquote(place), database=database)
    servers, _, path = place.partition("/")
    master, _, database_text = path.partition("/") if kind == "sentinel" else ("", "", path)
    if kind == "sentinel" and not master:
        raise ValueError("a Sentinel URL names its master: redis+sentinel://H1:P1,H2:P2/MASTER")
    default_port = 26379 if kind == "sentinel" else 6379
    return RedisAddress(
        kind="sentinel" if kind == "sentinel" else "cluster" if kind == "cluster" else "server",
        addresses=tuple(_address(server, default_port) for server in servers.split(",")),
        tls=scheme == "rediss",
        username=user,
        password=secret,
        database=int(database_text or parameters.get("db", "0")),
        master=unquote(master),
        sentinel_username=parameters.get("sentinel_username"),
        sentinel_password=parameters.get("sentinel_password"),
    )


def _address(text: str, default_port: int) -> Address:
    host, colon, port = text.rpartition(":")
    if text.endswith("]") or not colon:
        host, port = text, str(default_port)
    return host.strip("[]") or "localhost", int(port)
