"""What `sidecar.redis_link.urls` has, which the index has use for too."""

from __future__ import annotations

from sidecar.redis_link.urls import Address, Target, parse

__all__ = ["Address", "Target", "parse"]
