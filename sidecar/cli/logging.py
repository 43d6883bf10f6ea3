"""Logging to stderr: colored on a terminal, JSON lines for log collectors."""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.typing import EventDict, Processor

from sidecar.domain.secrets import mask_credentials


def log_to_stderr(*, quiet: bool = False) -> None:
    """Configure structlog and the standard library's logging.

    Args:
        quiet: Log errors only, for commands that print a result.
    """
    terminal = sys.stderr.isatty()
    last: list[Processor] = (
        # No values of variables in tracebacks: they can be payloads and tokens.
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if terminal
        else [structlog.processors.format_exc_info, _mask_texts, structlog.processors.JSONRenderer()]
    )
    first: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        _mask_texts,
    ]
    structlog.configure(
        processors=[*first, *last],
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR if quiet else logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    # Logs of libraries have the same format, from warnings on; aiokafka logs a lot below.
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*first, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(level=logging.ERROR if quiet else logging.WARNING, handlers=[handler])


def _mask_texts(logger: object, method: str, event: EventDict) -> EventDict:
    """Mask passwords in addresses: libraries quote them in errors."""
    return {name: mask_credentials(value) if isinstance(value, str) else value for name, value in event.items()}
