"""`tracecar dlq discard`, `restore`, `export` and `import`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from sidecar.cli.arguments import PlainCommand, QueryCommand, join_words
from sidecar.cli.command_group import examples
from sidecar.cli.completion import complete_letter, complete_query
from sidecar.cli.errors import FAILED_CODE, USAGE_CODE, print_error, run_client
from sidecar.cli.options import URL, Connection, Json, Token, Url
from sidecar.cli.output.tables import print_json, print_line, print_note

if TYPE_CHECKING:
    from sidecar.api.models.replays import OutcomeModel

MAX_REQUEST_LINES = 1_000
MAX_REQUEST_BYTES = 8 << 20
"""Size of a request of an import."""
MAX_LINE_BYTES = 12 << 20


def register(dlq: typer.Typer) -> None:
    """Add the commands to an app."""
    dlq.command(
        "discard",
        cls=QueryCommand,
        epilog=examples(
            "tracecar dlq discard tracecar.shop@kafka://orders/0/4711 --reason 'test order'",
            "tracecar dlq discard cause:9f86d081884c --reason 'load test' --yes",
        ),
    )(discard)
    dlq.command(
        "restore", cls=PlainCommand, epilog=examples("tracecar dlq restore tracecar.shop@kafka://orders/0/4711")
    )(restore)
    dlq.command(
        "export",
        cls=QueryCommand,
        epilog=examples(
            "tracecar dlq export cause:9f86d081884c -o letters.ndjson",
            "tracecar dlq export state:open | gzip > letters.gz",
        ),
    )(export)
    dlq.command(
        "import",
        cls=PlainCommand,
        epilog=examples("tracecar dlq import letters.ndjson", "zcat letters.gz | tracecar dlq import"),
    )(import_letters)


def discard(
    what: Annotated[
        list[str],
        typer.Argument(
            help="Ids, or a query for open and parked letters.", metavar="ID|QUERY", autocompletion=complete_letter
        ),
    ],
    reason: Annotated[
        str, typer.Option("--reason", "-r", metavar="TEXT", help="Reason, which is kept with each letter.")
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    json: Json = False,
    url: Url = URL,
    token: Token = None,
) -> None:
    """Discard dead letters: they are no longer open. Nothing is deleted; `restore` undoes it."""
    from sidecar.cli.commands.replay import parse_selection
    from sidecar.cli.output.dry_run import can_ask, confirm, count_letters, exit_unconfirmed

    connection = Connection(url, token)
    query, ids = parse_selection(what)
    if query and not yes:
        if not can_ask():
            exit_unconfirmed()
        page = connection.ask(lambda client: client.causes(f"({query}) (state:open OR state:parked)", limit=1))
        matching = page.letters
        if not matching:
            print_line("no open or parked dead letters match: nothing to discard")
            return
        confirm(f"Discard {count_letters(matching)}?")

    printer = _OutcomePrinter("discarded", json=json)

    async def act() -> None:
        async with connection.connect() as client:
            more = True
            while more:
                page = await client.discard_page(ids, reason, query)
                more = page.more
                printer.print(page.items, page.note)
                if more:
                    print_note(f"{printer.done} discarded so far")

    run_client(act())
    printer.finish()


def restore(
    ids: Annotated[
        list[str], typer.Argument(help="Ids of the dead letters.", metavar="ID", autocompletion=complete_letter)
    ],
    json: Json = False,
    url: Url = URL,
    token: Token = None,
) -> None:
    """Restore discarded dead letters: they are open again."""
    printer = _OutcomePrinter("restored", json=json)
    printer.print(Connection(url, token).ask(lambda client: client.restore(ids)))
    printer.finish()


class _OutcomePrinter:
    """Prints the outcome of each letter, and a summary at the end. `verb`: past participle of the action."""

    def __init__(self, verb: str, *, json: bool) -> None:
        self._verb, self._json = verb, json
        self.done = self._failed = 0
        self._notes: dict[str, None] = {}

    def print(self, outcomes: Iterable[OutcomeModel], note: str | None = None) -> None:
        """Print outcomes, and keep the note for the end."""
        for outcome in outcomes:
            self.done += outcome.done
            self._failed += not outcome.done
            if self._json:
                print_json(outcome)
            elif not outcome.done:
                print_line(f"not {self._verb}: {outcome.id}: {outcome.why}")
        if note:
            self._notes[note] = None

    def finish(self) -> None:
        """Print the summary. Exits with 1 if a letter failed or could not be checked."""
        if not self._json:
            print_line(f"{self.done} {self._verb}{f', {self._failed} not' if self._failed else ''}")
        for note in self._notes:
            print_note(note)
        if self._failed or self._notes:
            sys.exit(FAILED_CODE)


def export(
    query: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="QUERY", help="Query, for example: cause:9f86d081884c since:1d.", autocompletion=complete_query
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="File to write. Default: stdout.", show_default=False),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=0, help="Maximum number of letters; 0 means all.")
    ] = 0,
    url: Url = URL,
    token: Token = None,
) -> None:
    """Export dead letters with their exact bytes, for `import`.

    The format is one JSON object per line.
    """
    if output is None:
        if sys.stdout.isatty():
            print_error("an export does not go to a terminal: add -o FILE, or pipe it into a command")
            sys.exit(USAGE_CODE)
        count, partly = run_client(_export(join_words(query), limit, sys.stdout.buffer, Connection(url, token)))
        sys.stdout.buffer.flush()
    else:
        # The file gets its name when it is complete, so that a broken export is not taken for a whole one.
        part = output.with_name(f"{output.name}.part")
        try:
            with part.open("wb") as file:
                count, partly = run_client(_export(join_words(query), limit, file, Connection(url, token)))
            os.replace(part, output)
        except OSError as error:
            print_error(f"{output}: {error.strerror or error}: name a file that can be written")
            sys.exit(FAILED_CODE)
        finally:
            part.unlink(missing_ok=True)
    print_note(f"{count} dead letters exported")
    if partly:
        print_note(f"{partly} of them are redacted: they can be imported only while the origin still has the record")


async def _export(query: str, limit: int, file: BinaryIO, connection: Connection) -> tuple[int, int]:
    """Write an export. Returns the number of lines, and of those that are redacted."""
    import msgspec

    from sidecar.api.models.replays import ExportedLetterModel

    decoder = msgspec.json.Decoder(ExportedLetterModel)
    count = partly = 0
    async with connection.connect() as client, aclosing(client.export(query, limit)) as lines:
        async for line in lines:
            file.write(line + b"\n")
            count += 1
            partly += bool(b'"hidden":[]' not in line and decoder.decode(line).hidden)
    return count, partly


def import_letters(
    file: Annotated[str, typer.Argument(metavar="FILE", help="File from `export`; - is stdin.")] = "-",
    json: Json = False,
    url: Url = URL,
    token: Token = None,
) -> None:
    """Import exported dead letters into their streams. Letters that are there already are not written again."""
    if file == "-":
        if sys.stdin.isatty():
            print_error("no input: name a file from `tracecar dlq export`, or pipe one into this command")
            sys.exit(USAGE_CODE)
        outcomes = _import(sys.stdin.buffer, Connection(url, token))
    else:
        try:
            opened = Path(file).open("rb")  # noqa: SIM115  # closed below
        except OSError as error:
            print_error(f"{file}: {error.strerror or error}: name a file from `tracecar dlq export`")
            sys.exit(USAGE_CODE)
        outcomes = _import(opened, Connection(url, token))
    done = failed = 0
    try:
        for outcome in outcomes:
            done, failed = done + outcome.done, failed + (not outcome.done)
            if json:
                print_json(outcome)
            elif not outcome.done:
                print_line(f"not imported: {outcome.id}: {outcome.why}")
    finally:
        print_note(f"{done} dead letters are in their streams{f', {failed} are not' if failed else ''}")
    if failed:
        sys.exit(FAILED_CODE)


def _import(file: BinaryIO, connection: Connection) -> Iterator[OutcomeModel]:
    """Import a file part by part. Exits at an invalid line; the lines before its part are imported."""

    async def send(lines: list[bytes]) -> list[OutcomeModel]:
        async with connection.connect() as client:
            return await client.import_letters(lines)

    with file:
        for part in _split_parts(file):
            yield from run_client(send(part))


def _split_parts(file: BinaryIO) -> Iterator[list[bytes]]:
    part: list[bytes] = []
    size = 0
    for line in _check_lines(iter(lambda: file.readline(MAX_LINE_BYTES + 1), b"")):
        if part and (len(part) >= MAX_REQUEST_LINES or size + len(line) > MAX_REQUEST_BYTES):
            yield part
            part, size = [], 0
        part.append(line)
        size += len(line)
    if part:
        yield part


def _check_lines(lines: Iterable[bytes]) -> Iterator[bytes]:
    import msgspec

    from sidecar.api.models.replays import ExportedLetterModel

    decoder = msgspec.json.Decoder(ExportedLetterModel)
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            if len(line) > MAX_LINE_BYTES:
                raise ValueError(f"longer than {MAX_LINE_BYTES} bytes")
            decoder.decode(line)
        except (msgspec.DecodeError, ValueError) as error:
            print_error(f"line {number}: expected a dead letter from `tracecar dlq export`: {error}")
            sys.exit(FAILED_CODE)
        yield line.strip()
