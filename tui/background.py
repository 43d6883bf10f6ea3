"""Background work: requests to the sidecar, which must not delay key presses."""

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
    """Run `act(*arguments)` in the background.

    `exclusive` cancels work of the same group that is still running. The coroutine is created when the work starts, so
    that work that is cancelled before then leaves no pending coroutine.
    """
    node.run_worker(cast("Callable[[], Any]", partial(act, *arguments)), group=group, exclusive=exclusive)
