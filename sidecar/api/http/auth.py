"""Who may do what: bearer tokens and their roles (RFC 6750)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from msgspec import Struct

from sidecar.config.schema import ApiConfig
from sidecar.config.token_file import MAX_TOKEN_CHARS, read_or_create_token

Role = Literal["report", "read", "operate"]
ALLOWS: dict[Role, frozenset[Role]] = {
    "report": frozenset({"report"}),
    "read": frozenset({"read"}),
    "operate": frozenset({"report", "read", "operate"}),
}


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
        if scheme.lower() != "bearer" or not 0 < len(token) <= MAX_TOKEN_CHARS:
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
    operator = api.token or read_or_create_token(Path(api.token_file).expanduser())
    named = [(token.token, Caller(token.name, token.role)) for token in api.tokens]
    return TokenStore([(operator, Caller("operator", "operate")), *named])
