"""Bearer tokens (RFC 6750) and the roles that they grant."""

from __future__ import annotations

import base64
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
    """An authenticated client. The audit log shows its name."""

    name: str
    role: Role

    def may(self, role: Role) -> bool:
        """Check whether the caller's role includes this one."""
        return role in ALLOWS[self.role]


class TokenStore:
    """The known tokens, stored as digests."""

    def __init__(self, callers: Sequence[tuple[str, Caller]]) -> None:
        self._digests = [(_digest(token), caller) for token, caller in callers]

    def caller(self, authorization: str | None) -> Caller | None:
        """Return the caller whose token the header carries; None if it carries no known token.

        Takes the same time whichever token matches.
        """
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not 0 < len(token) <= MAX_TOKEN_CHARS:
            return None
        presented, match = _digest(token.strip()), None
        for digest, caller in self._digests:
            if hmac.compare_digest(digest, presented):
                match = caller
        return match


def read_basic_token(authorization: str) -> str | None:
    """Return the bearer form of Basic credentials (RFC 7617), whose password is the token; None for anything else."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic" or len(encoded) > 2 * MAX_TOKEN_CHARS:
        return None
    try:
        _, colon, token = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except ValueError:
        return None
    return f"Bearer {token}" if colon else None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def build_token_store(api: ApiConfig) -> TokenStore:
    """Build the store with the configured tokens and the operator's token.

    If no operator's token is configured, it is read from the token file, or created there. Raises Refused if the file
    cannot be used.
    """
    operator = api.token or read_or_create_token(Path(api.token_file).expanduser())
    named = [(token.token, Caller(token.name, token.role)) for token in api.tokens]
    return TokenStore([(operator, Caller("operator", "operate")), *named])
