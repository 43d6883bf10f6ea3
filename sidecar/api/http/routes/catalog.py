"""The catalog of events."""

from __future__ import annotations

from collections.abc import Sequence

from litestar import get
from litestar.handlers import HTTPRouteHandler

from sidecar.api import models
from sidecar.api.http.routes.parameters import QueryText
from sidecar.api.services.catalog import CatalogService


def routes(catalog: CatalogService) -> Sequence[HTTPRouteHandler]:
    """Build the routes of `/v1/catalog`."""

    @get(
        "/v1/catalog",
        summary="Get the catalog",
        description="The types of the events that match a query, by stream: producers, consumers, rates, sizes, schema "
        "versions, owners and redacted examples. The query has no conditions on headers and bodies.",
    )
    async def get_catalog(search: QueryText = "") -> models.CatalogPage:
        return await catalog.entries(search)

    return (get_catalog,)
