"""Who may do what: bearer tokens and their roles (RFC 6750)."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from msgspec import Struct

from sidecar.config.schema import ApiConfig
from sidecar.domain.errors import Refused

Role = Literal["report", "read", "operate"]
ALLOWS: dict[Role, frozenset[Role]] = {
    "report": frozenset({"report"}),
    "read": frozenset({"read"}),
    "operate": frozenset({"report", "read", "operate"}),
}
LONGEST_TOKEN = 4_096


class Caller(Struct, frozen=True):
    """Who asks. The name is the audit's "who"."""

    name: str
    role: Role

    def may(self, role: Role) -> bool:
        return role in ALLOWS[self.role]


class TokenStore:
    """The tokens that are known, as digests."""

    def __init__(self, callers: Sequence[tuple[str, Caller]]) -> None:
        self._digests = [(_digest(token), caller) for token, caller in callers]

    def caller(self, authorization: str | None) -> Caller | None:
        """Whose token the header brings; None where it brings none that is known. Takes the same time whichever
        matches."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not 0 < len(token) <= LONGEST_TOKEN:
            return None
        given, found = _digest(token.strip()), None
        for digest, caller in self._digests:
            if hmac.compare_digest(digest, given):
                found = caller
        return found


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def tokens(api: ApiConfig) -> TokenStore:
    """The configured tokens and the operator's, which is made and kept in the token file where none is configured.
    Raises Refused where the file cannot be used."""
    operator = api.token or kept_token(Path(api.token_file).expanduser())
    named = [(token.token, Caller(token.name, token.role)) for token in api.tokens]
    return TokenStore([(operator, Caller("operator", "operate")), *named])


def kept_token(file: Path) -> str:
    """The token in the file, which is made first where it is not there (mode 0600, its directory 0700)."""
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
            f"api.token_file: {file} cannot be used ({error.strerror}): "
            "set api.token, or name a file that can be written"
        ) from error


def _read(file: Path) -> str:
    with file.open(encoding="ascii", errors="replace") as opened:
        if os.fstat(opened.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise Refused(f"api.token_file: others can read {file}: chmod 600 it, or delete it to get a new token")
        token = opened.read(LONGEST_TOKEN + 2).strip()
    if not token or len(token) > LONGEST_TOKEN:
        raise Refused(f"api.token_file: {file} holds no token: delete it to get a new one")
    return token
