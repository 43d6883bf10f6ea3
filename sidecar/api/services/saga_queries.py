"""Queries of sagas: the query language, with the fields that a saga has."""

from __future__ import annotations

from collections.abc import Callable

from sidecar.domain.errors import QueryError
from sidecar.insights.sagas.saga import Occurrence, Saga
from sidecar.query import parse
from sidecar.query.ast import And, Expression, Not, Or, Term
from sidecar.query.compiler import QueryTarget, compile_expression

SAGA_FIELDS = ("saga", "state", "aggregate", "trace", "type", "stream")


def compile_saga_query(text: str, now: int) -> Callable[[Saga], bool]:
    """Compile a query of sagas. `now`: microseconds since 1970. Raises QueryError.

    A bare word is compared with the id, the aggregate id and the trace id. `type` and `stream` match any event of it.
    """
    query = parse(text, now // 1000)
    for field in _list_fields(query.expression):
        if field not in (*SAGA_FIELDS, "since", "until"):
            known = ", ".join((*SAGA_FIELDS, "since", "until"))
            raise QueryError(f"a saga has no field {field}; it has {known}", text, max(0, text.find(field)))
    target: QueryTarget[Saga] = QueryTarget(
        fields={
            "saga": lambda saga: saga.declaration.name,
            "state": lambda saga: saga.state(now).value,
            "aggregate": lambda saga: saga.aggregate_id,
            "trace": lambda saga: f"{saga.trace_id:032x}",
            "type": lambda saga: tuple({each.type for each in _occurrences(saga)}),
            "stream": lambda saga: tuple({each.position.stream for each in _occurrences(saga)}),
        },
        ids=lambda saga: (saga.id, saga.aggregate_id, f"{saga.trace_id:032x}", str(saga.start.position)),
        time=lambda saga: saga.start.at // 1000,
        id_match=lambda text: None,
    )
    matches = compile_expression(query.expression, target, now // 1000)
    return lambda saga: matches(saga, None, None)


def _occurrences(saga: Saga) -> list[Occurrence]:
    return [saga.start, *(each for events in saga.seen.values() for each in events), *saga.compensations]


def _list_fields(expression: Expression) -> list[str]:
    match expression:
        case Term(field=field):
            return [] if field is None else [field]
        case Not(item=item):
            return _list_fields(item)
        case And(items=items) | Or(items=items):
            return [field for item in items for field in _list_fields(item)]
