"""A flow as a page, as Markdown, as diagrams and as OTLP JSON."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import httpx2
import pytest

from exporters.tracing.span_ids import span_id_at
from sidecar.api.documents.formats import negotiate_format
from sidecar.domain.position import Position
from tests.support.api import BAD, OPERATOR, READER, REPORTER, Sidecar, assert_problem, get_json, order, serving

HOSTILE = "<script>alert(1)</script>'\"&;#|`\x1b[31m\u202e\n```"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


class _Elements(HTMLParser):
    """Collects the elements of a page, and what it refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.handlers: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("href", "src", "action", "data")]
        self.handlers += [name for name, _ in attrs if name.startswith("on") or name == "style"]

    def handle_data(self, data: str) -> None:
        self.text += data


async def _fail_flow(sidecar: Sidecar) -> None:
    """Process a flow of two events, the second of which is rejected."""
    await sidecar.pass_on(order(1, correlationId="c-1"))
    await sidecar.pass_on(order(2, correlationId="c-1", causationId="e-1", data={"total": [1]}))


async def _read(http: httpx2.AsyncClient, format: str, id: str = "c-1", **parameters: str) -> str:
    response = await http.get(f"/v1/flows/{id}", params={"format": format, **parameters})
    assert response.status_code == 200, response.text
    return response.text


@pytest.mark.parametrize(
    ("accept", "format"),
    [
        (None, None),
        ("*/*", None),
        ("application/json", None),
        (BROWSER, "html"),
        ("text/markdown", "markdown"),
        ("application/json;q=0.5, text/html;q=0.9", "html"),
        ("application/json, text/html", None),
        ("text/html;q=0", None),
        ("text/html;q=nonsense", None),
    ],
)
def test_the_accept_header_selects_the_format(accept: str | None, format: str | None) -> None:
    assert negotiate_format(accept) == format


async def test_a_browser_gets_a_page_and_other_clients_get_json(sidecar: Sidecar, http: httpx2.AsyncClient) -> None:
    await _fail_flow(sidecar)
    page = await http.get("/v1/flows/c-1", headers={"Accept": BROWSER})
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["vary"] == "Accept"
    assert (await get_json(http, "/v1/flows/c-1"))["event_count"] == 2
    elements = _Elements()
    elements.feed(page.text)
    for part in ("Failures", "Waterfall", "Events", "schema.mismatch", "o-1", "rejected", "+"):
        assert part in elements.text, part
    assert '<html lang="en">' in page.text
    assert elements.tags.count("h1") == 1
    assert 'scope="col"' in page.text
    assert "@media print" in page.text


async def test_a_page_runs_nothing_and_loads_nothing(sidecar: Sidecar, http: httpx2.AsyncClient) -> None:
    await _fail_flow(sidecar)
    page = await http.get("/v1/flows/c-1", headers={"Accept": "text/html"})
    policies = [value for name, value in page.headers.multi_items() if name == "content-security-policy"]
    assert len(policies) == 1
    assert "default-src 'none'" in policies[0]
    assert "script-src" not in policies[0]
    assert "unsafe" not in policies[0]
    elements = _Elements()
    elements.feed(page.text)
    assert "script" not in elements.tags
    assert not elements.handlers
    assert all(reference.startswith(("#", "data:image/svg+xml,")) for reference in elements.references)


async def test_text_of_events_stays_text(sidecar: Sidecar, http: httpx2.AsyncClient) -> None:
    await sidecar.pass_on(order(1, correlationId="c-1", eventType=HOSTILE, aggregateId=HOSTILE))
    await sidecar.pass_on(order(2, correlationId="c-1", causationId="e-1", eventType=HOSTILE, data={HOSTILE: [1]}))
    page = await _read(http, "html")
    assert "<script" not in page
    elements = _Elements()
    elements.feed(page)
    assert "<script>alert(1)</script>'\"&" in elements.text
    for format in ("html", "markdown", "mermaid", "sequence"):
        text = await _read(http, format)
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e]", text), format
    mermaid = (await _read(http, "mermaid")).splitlines()
    assert mermaid[0] == "sequenceDiagram"
    assert not [line for line in mermaid if "<" in line or "`" in line or '"' in line]
    markdown = await _read(http, "markdown")
    assert markdown.count("```mermaid") == 1
    assert markdown.count("\n```\n") == 1
    rows = [line for line in markdown.splitlines() if line.startswith("| ") and "kafka" not in line[:2]]
    cells = {len(re.findall(r"(?<!\\)\|", row)) for row in rows}
    assert len(cells) == 1
    json.loads(await _read(http, "otlp"))


async def test_redacted_values_are_in_no_document(tmp_path: Path) -> None:
    async with (
        serving(tmp_path / "token", redact=["body:aggregateId", "body:data.*"]) as sidecar,
        sidecar.http() as http,
    ):
        await sidecar.pass_on(order(1, correlationId="c-1", aggregateId="secret-aggregate"))
        await sidecar.pass_on(
            order(2, correlationId="c-1", causationId="e-1", aggregateId="secret-2", data={"total": ["secret-value"]})
        )
        for format in ("html", "markdown", "mermaid", "otlp", "sequence"):
            assert "secret" not in await _read(http, format), format


async def test_otlp_has_the_spans_that_exporters_send(sidecar: Sidecar, http: httpx2.AsyncClient) -> None:
    await _fail_flow(sidecar)
    flow = await get_json(http, "/v1/flows/c-1")
    document = json.loads(await _read(http, "otlp"))
    spans = {
        span["spanId"]: span
        for resource in document["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    }
    for event in flow["events"]:
        span = spans[f"{span_id_at(Position.parse(event['position'])):016x}"]
        assert span["traceId"] == flow["trace_id"]
        assert int(span["endTimeUnixNano"]) >= int(span["startTimeUnixNano"]) > 0
        attributes = {each["key"]: each["value"] for each in span["attributes"]}
        assert attributes["tracecar.position"] == {"stringValue": event["position"]}
        if event["parent"] is not None:
            assert span["parentSpanId"] in spans
    assert [span["status"]["code"] for span in spans.values() if "status" in span] == [2]


async def test_otlp_is_what_the_protocol_defines(sidecar: Sidecar, http: httpx2.AsyncClient) -> None:
    from google.protobuf import json_format
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    await _fail_flow(sidecar)
    request = json_format.Parse(await _read(http, "otlp"), ExportTraceServiceRequest())
    assert sum(len(scope.spans) for resource in request.resource_spans for scope in resource.scope_spans) == 2


async def test_the_sequence_fits_its_width(sidecar: Sidecar, http: httpx2.AsyncClient) -> None:
    await _fail_flow(sidecar)
    for width in (40, 80, 200):
        diagram = await _read(http, "sequence", width=str(width))
        assert "OrderC" in diagram
        assert max(map(len, diagram.splitlines())) <= width
    await assert_problem(await http.get("/v1/flows/c-1", params={"format": "sequence", "width": "5"}), 400)
    await assert_problem(await http.get("/v1/flows/c-1", params={"format": "pdf"}), 400)


async def test_a_browser_can_give_the_token_as_a_password(sidecar: Sidecar) -> None:
    await _fail_flow(sidecar)

    def basic(token: str) -> dict[str, str]:
        return {"Accept": BROWSER, "Authorization": f"Basic {base64.b64encode(f'me:{token}'.encode()).decode()}"}

    async with sidecar.http(None) as http:
        asked = await http.get("/v1/flows/c-1", headers={"Accept": BROWSER})
        assert asked.status_code == 401
        assert any(
            value.startswith("Basic ") for name, value in asked.headers.multi_items() if name == "www-authenticate"
        )
        for token, status in ((OPERATOR, 200), (READER, 200), (REPORTER, 403), ("unknown", 401)):
            assert (await http.get("/v1/flows/c-1", headers=basic(token))).status_code == status
        # Anywhere else a remembered password could be misused by other sites.
        for path, accept in (("/v1/events", BROWSER), ("/v1/flows", BROWSER), ("/v1/flows/c-1", "*/*")):
            refused = await http.get(path, headers=basic(OPERATOR) | {"Accept": accept})
            assert refused.status_code == 401
            assert "Basic" not in refused.headers["www-authenticate"]
        posted = await http.post("/v1/replays", headers=basic(OPERATOR), json={"dry_run": True})
        assert posted.status_code == 401


async def test_a_dead_letter_leads_to_its_flow(sidecar: Sidecar, http: httpx2.AsyncClient) -> None:
    await _fail_flow(sidecar)
    (letter,) = (await get_json(http, "/v1/dead-letters"))["items"]
    for id in (letter["id"], letter["position"], letter["origin"]):
        flow = await get_json(http, f"/v1/flows/{id}")
        assert letter["origin"] in [event["position"] for event in flow["events"]], id
    await assert_problem(await http.get("/v1/flows/shop@kafka://orders/0/999"), 404)


async def test_a_dead_letter_of_an_evicted_event_has_no_flow(sidecar: Sidecar, http: httpx2.AsyncClient) -> None:
    await sidecar.pass_on(BAD)
    await assert_problem(await http.get("/v1/flows/shop@sha256:" + "0" * 64), 404)
