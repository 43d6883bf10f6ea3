"""`python -m tests.servers.prefetch`: download the servers that tests start, and say what is downloaded.

Nothing is downloaded twice: Maven's cache and the user's cache directory keep everything.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from sidecar.demo import embedded_kafka
from tests.servers import apicurio, asyncapi_parser, images, kubernetes_definitions, kubernetes_tools, s3, zipkin

SERVERS: tuple[tuple[str, Callable[[], object]], ...] = (
    (f"Apache Kafka {embedded_kafka.VERSION} (45 MB from Maven Central, unless cached)", embedded_kafka._jars),
    (f"Apicurio Registry {apicurio.VERSION} (158 MB from Maven Central, unless cached)", apicurio._unpacked),
    (f"Zipkin {zipkin.VERSION} (131 MB from Maven Central, unless cached)", zipkin.jar),
)
BUILT: tuple[tuple[str, Callable[[], object], Callable[[], str | None]], ...] = (
    (
        f"Helm and a Kubernetes {kubernetes_tools.RELEASE} API server (minutes of building with Go, unless cached)",
        kubernetes_tools.directory,
        kubernetes_tools.missing,
    ),
    (
        "schemas of Kubernetes releases and of operators (160 MB of Go modules, unless cached)",
        kubernetes_definitions.bring,
        kubernetes_tools.missing,
    ),
    ("AsyncAPI's parser (55 MB from npm, unless cached)", asyncapi_parser.bring, asyncapi_parser.missing),
    ("an S3 server, VersityGW (two minutes of building with Go, unless cached)", s3.build, s3.missing),
    ("a Debian to build the image on (30 MB of packages, unless cached)", images.rootfs, images.missing),
)
"""Servers that need more than Python. Without it, the tests of the chart or of the image are skipped."""


def main() -> None:
    print("Servers that the tests start, all on 127.0.0.1 and free ports; Valkey came with the packages:", flush=True)
    # Downloads wait for the network while builds need the processors.
    with ThreadPoolExecutor(1) as beside:
        downloaded = beside.submit(_download)
        _make()
        downloaded.result()


def _download() -> None:
    for what, bring in SERVERS:
        _bring(what, bring)


def _make() -> None:
    for what, bring, missing in BUILT:
        reason = missing()
        if reason is None:
            _bring(what, bring)
        else:
            print(f"  {what}: left out, {reason}", flush=True)


def _bring(what: str, bring: Callable[[], object]) -> None:
    print(f"  {what} …", flush=True)
    began = time.monotonic()
    bring()
    print(f"  {what.partition(' (')[0]}: ready, {time.monotonic() - began:.1f} s", flush=True)


if __name__ == "__main__":
    main()
