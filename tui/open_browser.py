"""Detection of a web browser on this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping


def has_browser(environment: Mapping[str, str] = os.environ, platform: str = sys.platform) -> bool:
    """Return True if a graphical browser can be opened.

    Over SSH the browser would run inside this terminal, on top of the dashboard, so the answer is False there. The
    environment variable `BROWSER` overrides this.
    """
    if "BROWSER" in environment:
        return True
    if "SSH_CONNECTION" in environment or "SSH_TTY" in environment:
        return "DISPLAY" in environment or "WAYLAND_DISPLAY" in environment
    return platform in ("darwin", "win32") or "DISPLAY" in environment or "WAYLAND_DISPLAY" in environment
