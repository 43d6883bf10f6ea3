"""The dashboard."""

import os

# A lone Escape is recognized by waiting for the rest of a key sequence. Textual waits 100 ms, which people notice.
# The value is in milliseconds. A value that is already set in the environment is kept.
os.environ.setdefault("ESCDELAY", "40")
