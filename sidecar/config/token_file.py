"""File with the operator's token, used if the configuration has no token (`api.token_file`)."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from sidecar.domain.errors import Refused

MAX_TOKEN_CHARS = 4_096


def read_or_create_token(file: Path) -> str:
    """Return the token in the file, after creating the file if it is missing (mode 0600, its directory 0700).

    Raises Refused if the file cannot be used, or if other users can read it.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
        except FileExistsError:
            return _read(file)
        with os.fdopen(descriptor, "w", encoding="ascii") as new:
            token = secrets.token_urlsafe(32)
            new.write(token + "\n")
        return token
    except OSError as error:
        raise Refused(
            f"api.token_file: cannot use {file} ({error.strerror}): set api.token, or name a file that can be written"
        ) from error


def read_token(file: Path) -> str | None:
    """Return the token in the file; None if there is no file. For clients of the user who runs the sidecar."""
    try:
        return file.read_text("ascii")[:MAX_TOKEN_CHARS].strip() or None
    except (OSError, ValueError):
        return None


def _read(file: Path) -> str:
    with file.open(encoding="ascii", errors="replace") as opened:
        if os.fstat(opened.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise Refused(
                f"api.token_file: other users can read {file}: run chmod 600 on it, or delete it, and "
                "the sidecar creates a new one"
            )
        token = opened.read(MAX_TOKEN_CHARS + 2).strip()
    if not token or len(token) > MAX_TOKEN_CHARS:
        problem = f"more than {MAX_TOKEN_CHARS} characters" if token else "an empty file"
        raise Refused(
            f"api.token_file: expected a token in {file}, found {problem}: delete the file, and the sidecar creates a "
            "new token when it starts"
        )
    return token
