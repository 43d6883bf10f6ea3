"""The grammar of event type names: words, and whether they read as a command or as something that happened."""

from __future__ import annotations

import re
from functools import lru_cache


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_VERSION = re.compile(r"(?:^|[._:/-])v[0-9]+$|(?<=[a-z])V[0-9]+$")
_COMMAND_STREAM = re.compile(r"(?:^|[._:/-])(?:commands?|cmds?|requests?)(?:$|[._:/-])", re.IGNORECASE)
_SUFFIXES = frozenset({"event", "message", "notification", "domain", "integration"})
COMMAND_SUFFIX = "command"
_IMPERATIVES = _words(
    """
    accept activate add allocate apply approve archive assign authorize block book bill calculate cancel capture change
    charge check clear close collect complete compute confirm convert copy create credit deactivate debit decline
    delete deliver deny disable dispatch do enable execute export fetch finish generate get grant handle import
    initiate insert install invoice issue join launch leave load lock log make mark merge migrate modify move notify
    open pay perform pick place post prepare print process provision publish purchase put queue reactivate receive
    record refresh refund register reject release remove rename renew replace request reserve reset resolve restart
    restore resume retry return revoke run save schedule sell send set ship sign start stop store submit
    subscribe suspend sync terminate track transfer trigger unlock unsubscribe update upload validate verify withdraw
    write
    """
)
_IRREGULAR_PARTICIPLES = _words(
    """
    begun become bought broken brought built burnt caught chosen come cut dealt done drawn driven eaten fallen fed felt
    forgotten found frozen given gone gotten grown held hidden hit kept known laid led left lent lost made meant met
    paid proven put read rebuilt reset ridden rung run said seen sent set shown shut sold spent split spoken stolen
    stood sworn taken taught thrown told understood withdrawn won written
    """
)
_NOT_PARTICIPLES = frozenset({"need", "feed", "seed", "speed", "embed", "shared", "bed", "red", "advanced", "unified"})


@lru_cache(maxsize=4_096)
def type_words(name: str) -> tuple[str, ...]:
    """Return the words of a type name in lower case, without its namespace, version and suffixes such as `Event`."""
    name = _VERSION.sub("", name)
    last = re.split(r"[/:#]", name)[-1]
    parts = last.split(".")
    # A dotted name is either a namespace before a name (com.shop.OrderPlaced) or words (order.placed).
    if any(part[:1].isupper() for part in parts):
        last = parts[-1]
    words = [word.lower() for word in _WORD.findall(last)]
    while len(words) > 1 and words[-1] in _SUFFIXES:
        words.pop()
    return tuple(words)


@lru_cache(maxsize=4_096)
def reads_as_command(name: str) -> bool:
    """Return True if a type name is an order to another service, such as `PlaceOrder` or `order.place`."""
    words = type_words(name)
    if not words:
        return False
    if words[-1] == COMMAND_SUFFIX:
        return True
    if any(is_participle(word) for word in words):
        return False
    return len(words) > 1 and (words[0] in _IMPERATIVES or ("." in name and words[-1] in _IMPERATIVES))


@lru_cache(maxsize=4_096)
def reads_as_event(name: str) -> bool:
    """Return True if a type name says that something happened, such as `OrderPlaced` or `order.placed`."""
    words = type_words(name)
    return bool(words) and words[-1] != COMMAND_SUFFIX and any(is_participle(word) for word in words)


def is_participle(word: str) -> bool:
    """Return True if a word is a past participle such as `placed` or `sent`."""
    return word in _IRREGULAR_PARTICIPLES or (
        len(word) > 3 and word.endswith("ed") and word not in _NOT_PARTICIPLES and not word.endswith("eed")
    )


@lru_cache(maxsize=4_096)
def is_command_stream(stream: str) -> bool:
    """Return True if a stream's name says that it holds commands, such as `orders.commands`."""
    return _COMMAND_STREAM.search(stream) is not None
