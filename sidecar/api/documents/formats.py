"""Formats of the document of a flow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from sidecar.api import models
from sidecar.api.documents.markdown import write_markdown
from sidecar.api.documents.mermaid import write_mermaid
from sidecar.api.documents.otlp import write_otlp_json
from sidecar.api.documents.page import write_page
from sidecar.api.documents.sequence import write_sequence


class DocumentFormat(NamedTuple):
    """A format in which a flow can be written."""

    media_type: str
    write: Callable[[models.FlowModel], str]


FORMATS: Mapping[str, DocumentFormat] = {
    "html": DocumentFormat("text/html", write_page),
    "markdown": DocumentFormat("text/markdown", write_markdown),
    "mermaid": DocumentFormat("text/vnd.mermaid", write_mermaid),
    "otlp": DocumentFormat("application/json", write_otlp_json),
    "sequence": DocumentFormat("text/plain", write_sequence),
}


def negotiate_format(accept: str | None) -> str | None:
    """Return the format that an `Accept` header asks for; None for the JSON of the API.

    Only what the header names counts: `*/*` is answered with JSON, which other clients rely on.
    """
    wanted: list[tuple[float, int, str]] = []
    for place, part in enumerate((accept or "").split(",")):
        media_type, *parameters = (piece.strip().lower() for piece in part.split(";"))
        quality = next((value[2:] for value in parameters if value.startswith("q=")), "1")
        try:
            wanted.append((-float(quality), place, media_type))
        except ValueError:
            continue
    for negative_quality, _, media_type in sorted(wanted):
        if negative_quality == 0:
            continue
        if media_type == "application/json":
            return None
        for name, (known, _) in FORMATS.items():
            if media_type == known:
                return name
    return None
