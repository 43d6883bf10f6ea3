"""AsyncAPI's own parser accepts the catalog's document."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from sidecar.cli.output.asyncapi import to_asyncapi
from tests.servers import asyncapi_parser
from tests.support.api import order, serving

pytestmark = pytest.mark.system

ERROR, WARNING = 0, 1


async def test_the_document_has_no_errors_and_no_warnings(tmp_path: Path) -> None:
    reason = asyncapi_parser.missing()
    if reason is not None:
        pytest.skip(reason)
    async with serving(tmp_path / "token") as sidecar:
        await sidecar.pass_on(order(1, data={"total": 5}), headers=(("producer", b"the shop/1"),))
        await sidecar.pass_on({"eventType": "order.paid & shipped", "items": [{"qty": 1, "price": 2.5}]}, "payments")
        await sidecar.pass_on({"no": "type", "nothing": None}, "payments")
        async with sidecar.client() as client:
            page = await client.catalog()
    document = yaml.safe_dump(to_asyncapi(page, "1.0.0"), sort_keys=False)
    answer = asyncapi_parser.parse(document)
    assert answer["parsed"]
    assert [each for each in answer["diagnostics"] if each["severity"] in (ERROR, WARNING)] == []
    broken = asyncapi_parser.parse(document.replace("action: send", "action: shout"))
    assert any(each["severity"] == ERROR for each in broken["diagnostics"])
