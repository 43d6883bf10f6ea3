"""What `sidecar.redis_link.connections` has, which the index has use for too."""

from __future__ import annotations

from sidecar.redis_link.connections import ANSWER_SECONDS, CONNECT_SECONDS, Argument, Command, Link, Servers, closing

__all__ = ["ANSWER_SECONDS", "CONNECT_SECONDS", "Argument", "Command", "Link", "Servers", "closing"]
