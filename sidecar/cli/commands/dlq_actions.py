"""`tracecar dlq discard`, `restore`, `export` and `import`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import msgspec
import typer

from sidecar.cli.errors import FAILED, WRONG_USAGE, ask, say
from sidecar.cli.options import URL, Json, Token, Url, connect
from sidecar.cli.output.tables import print_json, print_line, say_note
from sidecar.cli.query_argument import QueryCommand, joined

if TYPE_CHECKING:
    from sidecar.api.models.replays import OutcomeModel

LINES, BYTES = 1_000, 8 << 20
"""How much of an import goes in one request."""
LONGEST_LINE = 12 << 20


def register(dlq: typer.Typer) -> None:
    dlq.command("discard", cls=QueryCommand)(discard)
    dlq.command("restore")(restore)
    dlq.command("export", cls=QueryCommand)(export)
    dlq.command("import")(import_letters)


def discard(
    what: Annotated[list[str], typer.Argument(help="Ids, or a query: all open and parked ones that match.")],
    reason: Annotated[str, typer.Option("--reason", "-r", help="Why; kept with each of them.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, where a query says which.")] = False,
    json: Json = False,
    url: Url = URL,
    token: Token = None,
) -> None:
    """Set dead letters aside. Nothing is deleted; `restore` undoes it."""
    from sidecar.cli.commands.replay import named
    from sidecar.cli.output.dry_run import can_ask, confirm, letters, refuse_unasked

    query, ids = named(what)
    if query and not yes:
        if not can_ask():
            refuse_unasked()

        async def count() -> int:
            async with connect(url, token) as client:
                return (await client.causes(f"({query}) (state:open OR state:parked)", limit=1)).letters

        found = ask(count())
        if not found:
            print_line("no open or parked dead letter matches: nothing to discard")
            return
        confirm(f"Discard {letters(found)}?")

    telling = _OutcomePrinter("discarded", json=json)

    async def act() -> None:
        async with connect(url, token) as client:
            more = True
            while more:
                page = await client.discard_page(ids, reason, query)
                more = page.more
                telling.tell(page.items, page.note)
                if more:
                    say_note(f"{telling.done} discarded so far")

    ask(act())
    telling.end()


def restore(
    ids: Annotated[list[str], typer.Argument(help="The dead letters' ids.")],
    json: Json = False,
    url: Url = URL,
    token: Token = None,
) -> None:
    """Undo `discard`."""

    async def act() -> list[OutcomeModel]:
        async with connect(url, token) as client:
            return await client.restore(ids)

    telling = _OutcomePrinter("restored", json=json)
    telling.tell(ask(act()))
    telling.end()


class _OutcomePrinter:
    """What came of each letter, as it comes, and of all at the end. `word`: what was done with them."""

    def __init__(self, word: str, *, json: bool) -> None:
        self._word, self._json = word, json
        self.done = self._failed = 0
        self._notes: dict[str, None] = {}

    def tell(self, outcomes: Iterable[OutcomeModel], note: str | None = None) -> None:
        for outcome in outcomes:
            self.done += outcome.done
            self._failed += not outcome.done
            if self._json:
                print_json(outcome)
            elif not outcome.done:
                print_line(f"not {self._word}: {outcome.id}: {outcome.why}")
        if note:
            self._notes[note] = None

    def end(self) -> None:
        """Exits with 1 where something was not done, or could not be looked at."""
        if not self._json:
            print_line(f"{self.done} {self._word}{f', {self._failed} not' if self._failed else ''}")
        for note in self._notes:
            say_note(note)
        if self._failed or self._notes:
            sys.exit(FAILED)


def export(
    query: Annotated[list[str] | None, typer.Argument(help="Such as: cause:9f86d081884c since:1d")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A file; without it stdout.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=0, help="At most so many; 0 is all.")] = 0,
    url: Url = URL,
    token: Token = None,
) -> None:
    """Dead letters with exact bytes, one JSON object a line, for `import`."""
    if output is None:
        if sys.stdout.isatty():
            say("this is for a file or a pipe, and not for a terminal: -o FILE")
            sys.exit(WRONG_USAGE)
        count, partly = ask(_exported(joined(query), limit, sys.stdout.buffer, url, token))
        sys.stdout.buffer.flush()
    else:
        # What broke off is not taken for whole: the file has its name once all is in it.
        part = output.with_name(f"{output.name}.part")
        try:
            with part.open("wb") as file:
                count, partly = ask(_exported(joined(query), limit, file, url, token))
            os.replace(part, output)
        except OSError as error:
            say(f"{output}: {error.strerror or error}: name a file that can be written")
            sys.exit(FAILED)
        finally:
            part.unlink(missing_ok=True)
    say_note(f"{count} dead letters exported")
    if partly:
        say_note(
            f"{partly} of them without what may not be shown (redact): imported only where the origin holds the record"
        )


async def _exported(query: str, limit: int, file: BinaryIO, url: str, token: str | None) -> tuple[int, int]:
    """How many lines were written, and how many of them are not whole."""
    from sidecar.api.models.replays import ExportedLetterModel

    decoder = msgspec.json.Decoder(ExportedLetterModel)
    count = partly = 0
    async with connect(url, token) as client, aclosing(client.export(query, limit)) as lines:
        async for line in lines:
            file.write(line + b"\n")
            count += 1
            partly += bool(b'"hidden":[]' not in line and decoder.decode(line).hidden)
    return count, partly


def import_letters(
    file: Annotated[str, typer.Argument(help="A file that `export` wrote; - is stdin.")] = "-",
    json: Json = False,
    url: Url = URL,
    token: Token = None,
) -> None:
    """Write exported dead letters into their streams again: those that are not there, each once."""
    if file == "-":
        if sys.stdin.isatty():
            say("name a file that `tracecar dlq export` wrote, or pipe one in")
            sys.exit(WRONG_USAGE)
        outcomes = _taken_in(sys.stdin.buffer, url, token)
    else:
        try:
            opened = Path(file).open("rb")  # noqa: SIM115  # closed below
        except OSError as error:
            say(f"{file}: {error.strerror or error}")
            sys.exit(WRONG_USAGE)
        outcomes = _taken_in(opened, url, token)
    done = failed = 0
    try:
        for outcome in outcomes:
            done, failed = done + outcome.done, failed + (not outcome.done)
            if json:
                print_json(outcome)
            elif not outcome.done:
                print_line(f"not imported: {outcome.id}: {outcome.why}")
    finally:
        say_note(f"{done} dead letters are in their streams{f', {failed} are not' if failed else ''}")
    if failed:
        sys.exit(FAILED)


def _taken_in(file: BinaryIO, url: str, token: str | None) -> Iterator[OutcomeModel]:
    """The outcomes, part by part. Exits where a line is none of an export; what stands before it was taken in."""

    async def send(lines: list[bytes]) -> list[OutcomeModel]:
        async with connect(url, token) as client:
            return await client.import_letters(lines)

    with file:
        for part in _parts(file):
            yield from ask(send(part))


def _parts(file: BinaryIO) -> Iterator[list[bytes]]:
    part: list[bytes] = []
    size = 0
    for line in _checked(iter(lambda: file.readline(LONGEST_LINE + 1), b"")):
        if part and (len(part) >= LINES or size + len(line) > BYTES):
            yield part
            part, size = [], 0
        part.append(line)
        size += len(line)
    if part:
        yield part


def _checked(lines: Iterable[bytes]) -> Iterator[bytes]:
    from sidecar.api.models.replays import ExportedLetterModel

    decoder = msgspec.json.Decoder(ExportedLetterModel)
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            if len(line) > LONGEST_LINE:
                raise ValueError(f"longer than {LONGEST_LINE} bytes")
            decoder.decode(line)
        except (msgspec.DecodeError, ValueError) as error:
            say(f"line {number}: expected a dead letter as `tracecar dlq export` writes it: {error}")
            sys.exit(FAILED)
        yield line.strip()
