"""Pure functions that render lines of text."""
