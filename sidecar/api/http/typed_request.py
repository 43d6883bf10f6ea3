"""Requests whose JSON body is decoded as the type that its route declares."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request
from litestar.exceptions import ValidationException
from litestar.types import Empty


class TypedRequest(Request[Any, Any, Any]):
    """A request whose body is decoded strictly.

    Litestar decodes a body into plain objects first and converts them afterwards, leniently: 16 MB of empty lists would
    take half a gigabyte, and `"dry_run": 0` would start a replay.
    """

    async def json(self) -> Any:
        """Decode the body. Raises ValidationException."""
        if self._json is Empty:
            field = self.route_handler.parsed_data_field
            body = await self.body()
            try:
                self._json = msgspec.json.decode(body or b"null", type=Any if field is None else field.annotation)
            except msgspec.MsgspecError as error:
                raise ValidationException(f"the body: {error}") from None
            except RecursionError:
                raise ValidationException("the body is nested too deeply") from None
        return self._json
