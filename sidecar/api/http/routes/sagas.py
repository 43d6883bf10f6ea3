"""Sagas: declared processes and their state."""

from __future__ import annotations

from collections.abc import Sequence

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from sidecar.api import models
from sidecar.api.http.middleware import id_of
from sidecar.api.http.routes.parameters import Cursor, Limit, QueryText
from sidecar.api.services.sagas import SagaService


def routes(sagas: SagaService) -> Sequence[HTTPRouteHandler]:
    """Build the routes of `/v1/sagas`."""

    @get(
        "/v1/sagas",
        summary="List sagas",
        description="Sagas that match a query, such as `state:stuck saga:order`, latest first.",
    )
    async def list_sagas(search: QueryText = "", limit: Limit = 100, cursor: Cursor = None) -> models.SagaPage:
        return await sagas.sagas(search, limit, cursor)

    @get(
        "/v1/sagas/learn",
        summary="Propose sagas",
        description="Declarations proposed from the flows that match a query of events, with the paths that they took.",
    )
    async def learn_sagas(search: QueryText = "") -> models.LearnedSagaPage:
        return await sagas.learn(search)

    @get(
        "/v1/sagas/{id:str}",
        summary="Get a saga",
        description="One saga by its id, or the latest one of an aggregate id or a trace id; for a stuck one with the "
        "missing step, the group that should have produced it, and its dead letters.",
    )
    async def get_saga(id: FromPath[str]) -> models.SagaModel:
        return await sagas.saga(id_of(id))

    return list_sagas, learn_sagas, get_saga
