"""What `sidecar.redis_link.errors` has, which the index has use for too."""

from __future__ import annotations

from sidecar.redis_link.errors import Moved, Said, code_of, translated

__all__ = ["Moved", "Said", "code_of", "translated"]
