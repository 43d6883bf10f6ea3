"""`tracecar lint`: problems in the events themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sidecar.cli.arguments import QueryCommand, join_words
from sidecar.cli.command_group import examples
from sidecar.cli.completion import complete_query
from sidecar.cli.errors import print_suggestion
from sidecar.cli.options import URL, Connection, Json, Output, OutputFormat, Token, Url, choose_format
from sidecar.cli.output.lists import ListView, print_list
from sidecar.cli.output.tables import TableColumn, print_json, print_line, print_note

if TYPE_CHECKING:
    from sidecar.api import models

COLUMNS = (
    TableColumn("severity", whole=True),
    TableColumn("rule", whole=True),
    TableColumn("subject", least=12, rank=1),
    TableColumn("count", right=True, whole=True, rank=2),
    TableColumn("last_seen", whole=True, rank=3, age=True),
    TableColumn("message", least=30),
    TableColumn("evidence", least=20, rank=4),
)


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command(
        "lint",
        cls=QueryCommand,
        epilog=examples(
            "tracecar lint",
            "tracecar lint stream:orders since:1h",
            "tracecar lint --explain missing-id",
            "tracecar lint --sarif > events.sarif",
        ),
    )(lint)


def lint(
    query: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="QUERY",
            help="Query of the events to check, for example: stream:orders since:1h.",
            show_default=False,
            autocompletion=complete_query,
        ),
    ] = None,
    explain: Annotated[
        str | None,
        typer.Option("--explain", metavar="RULE", help="Explain a rule: what it finds, why, and what to do."),
    ] = None,
    sarif: Annotated[bool, typer.Option("--sarif", help="Print SARIF 2.1.0, for code-scanning tools.")] = False,
    json: Json = False,
    output: Output = None,
    url: Url = URL,
    token: Token = None,
) -> None:
    """Check the events for problems, and report them with sample events.

    Exits with 1 if something is found. `lint.ignore` in the configuration silences findings.
    """
    chosen = choose_format(json, output)
    if sarif and chosen is not None:
        raise typer.BadParameter(f"--sarif and --output {chosen.value} contradict each other: use one of them")
    if explain is not None:
        _explain(explain)
        return

    page = Connection(url, token).ask(lambda client: client.lint(join_words(query)))
    if sarif:
        _print_sarif(page)
    else:
        print_list(VIEW, page.items, chosen)
    if chosen in (None, OutputFormat.WIDE) and not sarif:
        print_note(f"{page.events:,} events, {page.flows:,} flows and {page.payloads:,} payloads were checked")
        if page.coverage.note:
            print_note(page.coverage.note)
        print_suggestion(page.did_you_mean)
    if page.items:
        raise typer.Exit(1)


def _explain(name: str) -> None:
    from sidecar.insights.lint.linter import list_rules

    rules = {rule.name: rule for rule in list_rules()}
    rule = rules.get(name)
    if rule is None:
        raise typer.BadParameter(f"no rule has the name {name!r}; the rules are {', '.join(rules)}")
    print_line(f"{rule.name} ({rule.severity.value}): {rule.summary}")
    print_line(f"Why: {rule.reason}")
    print_line(f"What to do: {rule.remedy}")


def _print_sarif(page: models.LintPage) -> None:
    from importlib.metadata import version

    from sidecar.cli.output.sarif import to_sarif

    print_json(to_sarif(page, version("tracecar")))


def _row(finding: models.LintFindingModel) -> tuple[object, ...]:
    return (
        finding.severity,
        finding.rule,
        finding.subject,
        finding.count,
        finding.last_seen,
        finding.message,
        finding.evidence[:1],
    )


VIEW = ListView(COLUMNS, _row, lambda finding: f"{finding.rule}:{finding.subject}", "nothing was found")
