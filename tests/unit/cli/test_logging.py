"""The sidecar's log lines, as a log collector parses them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

SAYS = """
import logging
import structlog
from sidecar.cli.logging import log_to_stderr

log_to_stderr()
structlog.get_logger().warning("ours", stream="orders")
logging.getLogger("aiokafka").warning("theirs %s", "node 1\\nline")
try:
    secret = "hunter2"
    raise ValueError("wrong")
except ValueError:
    logging.getLogger("asyncio").exception("a future failed")
logging.getLogger("aiokafka").info("chatter")
"""


@pytest.mark.slow  # a process
def test_every_line_is_json_the_libraries_too() -> None:
    done = subprocess.run([sys.executable, "-c", SAYS], capture_output=True, text=True, check=True)
    ours, theirs, failed = [json.loads(line) for line in done.stderr.splitlines()]
    assert (ours["event"], ours["level"], ours["stream"]) == ("ours", "warning", "orders")
    assert (theirs["event"], theirs["level"], theirs["logger"]) == ("theirs node 1\nline", "warning", "aiokafka")
    assert "ValueError: wrong" in failed["exception"]
    assert all(line["time"].endswith("Z") for line in (ours, theirs, failed))
