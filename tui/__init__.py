"""The dashboard."""

import os

# A lone escape is told from the beginning of another key's sequence by waiting; Textual's tenth of a second is what a
# person notices. In milliseconds; who has set it otherwise keeps it.
os.environ.setdefault("ESCDELAY", "40")
