"""Terminal input that recognizes a lone Escape without delay.

A terminal sends the same byte for Escape and at the beginning of other keys, so a lone Escape is known only after a
short wait. Textual waits for `ESCDELAY` (see `tui`), but checks only ten times a second whether that time has passed.
"""

from __future__ import annotations

import os
import selectors
from codecs import getincrementaldecoder

from textual import constants
from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver

IDLE_POLL_S = 0.1
_ESCAPE_MARGIN_S = 0.002


class PromptDriver(LinuxDriver):
    """Textual's terminal driver with a shorter interval between checks."""

    def run_input_thread(self) -> None:
        """Read keys until the dashboard ends."""
        parser, decode = XTermParser(self._debug), getincrementaldecoder("utf-8")("replace").decode
        with selectors.SelectSelector() as selector:
            selector.register(self.fileno, selectors.EVENT_READ)
            wait = IDLE_POLL_S
            while not self.exit_event.is_set():
                came = os.read(self.fileno, 4096) if selector.select(wait) else None
                if came == b"":  # end of input
                    self.exit_event.wait(IDLE_POLL_S)
                text = decode(came or b"")
                for event in parser.feed(text) if text else ():
                    self.process_message(event)
                for event in parser.tick():
                    self.process_message(event)
                wait = constants.ESCAPE_DELAY + _ESCAPE_MARGIN_S if text else IDLE_POLL_S
