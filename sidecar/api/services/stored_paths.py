"""The paths of flows in the history, for learning declarations of sagas."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.domain.history_rows import quote_stream
from sidecar.domain.ports.history_sql import HistorySql, SqlAnswer, SqlLimits
from sidecar.insights.sagas.learner import SagaLearner
from sidecar.query import Query
from sidecar.query.ast import And, Expression, Term

MAX_PATHS = 10_000
"""Different paths that are read, the most frequent first."""
MAX_EVENTS_PER_FLOW = 10_000
TIMEOUT_S = 60.0
_FIELDS = frozenset({"stream", "since", "until"})
# Events belong together by trace id. Those without one have the trace id of others with their correlation id, where it
# is a single one, else that correlation id itself. Events that were published twice count once.
_PATHS = """
WITH chosen AS (
    SELECT trace_id, correlation_id, type, stream, coalesce(occurred_at, appended_at) AS moment,
           coalesce(event_id, position) AS id
    FROM events WHERE type IS NOT NULL AND rejection_code IS NULL AND hop_of IS NULL{moments}
), traces AS (
    SELECT correlation_id, min(trace_id) AS trace_id FROM chosen
    WHERE correlation_id IS NOT NULL AND trace_id IS NOT NULL GROUP BY correlation_id
), steps AS (
    SELECT coalesce(chosen.trace_id, traces.trace_id, chosen.correlation_id) AS flow, type, id, min(moment) AS moment,
           bool_or({streams}) AS matches
    FROM chosen LEFT JOIN traces USING (correlation_id) GROUP BY ALL
), flows AS (
    SELECT flow, list(type ORDER BY moment, type) AS types, epoch_us(max(moment)) - epoch_us(min(moment)) AS duration_us
    FROM steps WHERE flow IS NOT NULL GROUP BY flow
    HAVING count(*) BETWEEN 2 AND {most} AND bool_or(matches)
)
SELECT types, count(*) AS flows, quantile_disc(duration_us, 0.99) AS duration_us, min(flow) AS example
FROM flows GROUP BY types ORDER BY flows DESC, example LIMIT {limit}
"""
_PRODUCERS = """
SELECT type, producer, count(*) AS events FROM events
WHERE type IS NOT NULL AND producer IS NOT NULL AND rejection_code IS NULL{moments}
GROUP BY ALL ORDER BY events DESC LIMIT {limit}
"""


def can_select(query: Query) -> bool:
    """Return True if a query has conditions on time and streams only, which the history can apply to all rows."""
    terms = _list_terms(query.expression)
    if terms is None or any(term.field not in _FIELDS for term in terms):
        return False
    return query.streams is not None or all(term.field != "stream" for term in terms)


async def learn_paths(learner: SagaLearner, sql: HistorySql, query: Query) -> None:
    """Give the paths in the history to a learner. Raises Outage, and Refused if there are too many events."""
    limits = SqlLimits(rows=MAX_PATHS, timeout_s=TIMEOUT_S, since_ms=query.since, until_ms=query.until)
    values = {
        "moments": _format_moments(query),
        "streams": _format_streams(query.streams),
        "most": MAX_EVENTS_PER_FLOW,
        "limit": MAX_PATHS,
    }
    paths: SqlAnswer = await sql.run(_PATHS.format(**values), limits)
    producers = await sql.run(_PRODUCERS.format(**values), limits)
    for types, flows, duration_us, example in paths.rows:
        learner.observe_path(types, duration_us, example, flows)
    for type, producer, events in producers.rows:
        learner.observe_producer(type, producer, events)


def _list_terms(expression: Expression) -> list[Term] | None:
    """Return the conditions that must all hold; None if the query has others."""
    match expression:
        case Term():
            return [expression]
        case And(items=items):
            lists = [_list_terms(item) for item in items]
            return None if None in lists else [term for terms in lists for term in terms or ()]
    return None


def _format_moments(query: Query) -> str:
    since = "" if query.since is None else f" AND appended_at >= to_timestamp({query.since} / 1000)"
    until = "" if query.until is None else f" AND appended_at < to_timestamp({query.until} / 1000)"
    return since + until


def _format_streams(streams: Sequence[str] | frozenset[str] | None) -> str:
    if streams is None:
        return "true"
    names = ", ".join("'" + quote_stream(name).replace("'", "''") + "'" for name in sorted(streams))
    return f"stream IN ({names})" if names else "false"
