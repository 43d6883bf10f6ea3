"""Work beside the screen: questions to the sidecar, which must not keep keys waiting."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, cast

from textual.dom import DOMNode


def begin(
    node: DOMNode,
    act: Callable[..., Coroutine[Any, Any, None]],
    *arguments: object,
    group: str,
    exclusive: bool = False,
) -> None:
    """Runs `act(*arguments)`; `exclusive` cancels what the group does already. The call is made when it begins, so that
    one that is cancelled before leaves nothing behind."""
    node.run_worker(cast("Callable[[], Any]", partial(act, *arguments)), group=group, exclusive=exclusive)
