"""The generated configuration reference is current."""

from pathlib import Path

from sidecar.config.docs_generator import markdown
from sidecar.query.fields import FIELDS

DOCS = Path(__file__).parents[3] / "docs"


def test_the_reference_of_the_configuration_is_the_one_that_the_code_writes() -> None:
    written = (DOCS / "configuration.md").read_text()
    assert written == markdown(), "write it again: python -m sidecar.config.docs_generator > docs/configuration.md"


def test_every_field_of_queries_is_in_their_document() -> None:
    document = (DOCS / "queries.md").read_text()
    for name in (*FIELDS, "header.NAME", "body.PATH", "since", "until"):
        assert f"`{name}`" in document, name
