"""Commands as text for error messages."""

from __future__ import annotations

from collections.abc import Sequence

MAX_SHOWN_KEYS = 5
MAX_KEY_CHARACTERS = 100
_SCRIPT_COMMANDS = ("EVAL", "EVALSHA")
_FIRST_KEY_INDEX = 3


def describe_command(command: Sequence[object]) -> str:
    """Return the name of a command; for a call of a script also the keys that it uses."""
    name = str(command[0])
    if name not in _SCRIPT_COMMANDS or len(command) < _FIRST_KEY_INDEX:
        return name
    count = int(str(command[_FIRST_KEY_INDEX - 1]))
    keys = [_show_key(key) for key in command[_FIRST_KEY_INDEX : _FIRST_KEY_INDEX + min(count, MAX_SHOWN_KEYS)]]
    if count > MAX_SHOWN_KEYS:
        keys.append("…")
    return f"{name} on {', '.join(keys)}" if keys else name


def _show_key(key: object) -> str:
    text = key.decode("utf-8", "backslashreplace") if isinstance(key, bytes) else str(key)
    shown = "".join(character if character.isprintable() else "?" for character in text[:MAX_KEY_CHARACTERS])
    return shown if len(text) <= MAX_KEY_CHARACTERS else f"{shown}…"
