"""The terminal's keys: a lone escape is told as soon as it is known to be one.

A terminal sends the same byte for escape and at the beginning of other keys, so that one waits a moment for what may
follow. Textual waits for `ESCDELAY` (see `tui`), but looks whether that has passed only ten times a second."""

from __future__ import annotations

import os
import selectors
from codecs import getincrementaldecoder

from textual import constants
from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver

IDLE_SECONDS = 0.1
_A_MOMENT_LATER = 0.002


class PromptDriver(LinuxDriver):
    """Textual's own driver, but for when it looks."""

    def run_input_thread(self) -> None:
        """Read keys until the dashboard ends."""
        parser, decode = XTermParser(self._debug), getincrementaldecoder("utf-8")("replace").decode
        with selectors.SelectSelector() as selector:
            selector.register(self.fileno, selectors.EVENT_READ)
            wait = IDLE_SECONDS
            while not self.exit_event.is_set():
                came = os.read(self.fileno, 4096) if selector.select(wait) else None
                if came == b"":  # nothing will come any more
                    self.exit_event.wait(IDLE_SECONDS)
                text = decode(came or b"")
                for event in parser.feed(text) if text else ():
                    self.process_message(event)
                for event in parser.tick():
                    self.process_message(event)
                wait = constants.ESCAPE_DELAY + _A_MOMENT_LATER if text else IDLE_SECONDS
