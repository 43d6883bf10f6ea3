"""Whether a page can be opened in a browser from here."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping


def has_browser(environment: Mapping[str, str] = os.environ, platform: str = sys.platform) -> bool:
    """Over ssh a browser would be one in this terminal, over the dashboard: better none. `BROWSER` says otherwise."""
    if "BROWSER" in environment:
        return True
    if "SSH_CONNECTION" in environment or "SSH_TTY" in environment:
        return "DISPLAY" in environment or "WAYLAND_DISPLAY" in environment
    return platform in ("darwin", "win32") or "DISPLAY" in environment or "WAYLAND_DISPLAY" in environment
