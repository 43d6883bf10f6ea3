"""A node for the real API server.

Kubernetes' own controllers create pods of workloads, and the pods in the namespaces of a test run here, as root, in
networks of their own. kubectl's exec, port-forward and logs reach them.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx2

from tests.servers.kubernetes import Kubernetes
from tests.servers.pod_network import Address, Network
from tests.servers.pods import Image, Manifest, Pod, containers
from tests.support.ports import free_port

NAME = "node"
_PATCH = "application/merge-patch+json"


class Node:
    """Runs the pods of its namespaces until the block ends."""

    def __init__(self, kubernetes: Kubernetes, folder: Path, images: Mapping[str, Image]) -> None:
        self.images = dict(images)
        self._kubernetes, self._folder = kubernetes, folder
        self._outside: dict[str, Mapping[Address, Address]] = {}
        self._running: dict[str, _Running] = {}
        self._addresses = itertools.count(2)
        self._leaving: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._main(),), name="node")
        self._ended = asyncio.Event()
        self._failure: BaseException | None = None

    def __enter__(self) -> Node:
        port = free_port()
        self._kubernetes.start("node", str(self._kubernetes.kubeconfig), str(port), str(self._folder))
        about = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NAME}}
        self._kubernetes.apply(about)
        status = {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        }
        patch = json.dumps({"status": status})
        self._kubernetes.run("kubectl", "patch", "node", NAME, "--subresource=status", "-p", patch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()
        self._loop.close()
        if self._failure is not None:
            raise self._failure

    def namespace(self, name: str, outside: Mapping[Address, Address]) -> str:
        """Create a namespace whose pods run, and reach hosts outside of the cluster by a name and a port: such as
        `("valkey", 6379)` for `("127.0.0.1", 41234)`."""
        self._outside[name] = outside
        return self._kubernetes.namespace(name)

    async def _main(self) -> None:
        try:
            async with self._kubernetes.client() as client:
                watching = asyncio.create_task(self._watch(client))
                ended = asyncio.create_task(self._ended.wait())
                await asyncio.wait((watching, ended), return_when=asyncio.FIRST_COMPLETED)
                for task in (watching, ended):
                    task.cancel()
                await asyncio.gather(watching, ended, return_exceptions=True)
                await asyncio.gather(*(self._end(uid) for uid in list(self._running)))
                await asyncio.gather(*self._leaving)
                if not watching.cancelled():
                    watching.result()
        except Exception as error:
            self._failure = error

    async def _watch(self, client: httpx2.AsyncClient) -> None:
        async with client.stream("GET", "/api/v1/pods", params={"watch": "1"}, timeout=None) as answer:
            async for line in answer.aiter_lines():
                event = json.loads(line)
                pod = event["object"]
                if pod["metadata"].get("namespace") in self._outside:
                    await self._changed(client, event["type"], pod)

    async def _changed(self, client: httpx2.AsyncClient, how: str, pod: Any) -> None:
        about = pod["metadata"]
        uid, place = about["uid"], f"/api/v1/namespaces/{about['namespace']}/pods/{about['name']}"
        if how == "DELETED":
            return
        if "deletionTimestamp" in about:
            if uid in self._running:
                leaving = asyncio.create_task(self._leave(client, place, uid))
                self._leaving.add(leaving)
                leaving.add_done_callback(self._leaving.discard)
        elif "nodeName" not in pod["spec"]:
            target = {"apiVersion": "v1", "kind": "Node", "name": NAME}
            binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": about["name"]}, "target": target}
            await client.post(f"{place}/binding", json=binding)
        elif uid not in self._running:
            made = await self._made(client, place, pod)
            self._running[uid] = _Running(about["namespace"], about.get("labels", {}), made)

    async def _leave(self, client: httpx2.AsyncClient, place: str, uid: str) -> None:
        await self._end(uid)
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": uid}}
        await client.request("DELETE", place, json=options)

    async def _end(self, uid: str) -> None:
        running = self._running.pop(uid, None)
        if running is None:
            return
        await running.pod.stop()
        running.task.cancel()
        with suppress(asyncio.CancelledError):
            await running.task
        await running.pod.close()

    async def _made(self, client: httpx2.AsyncClient, place: str, pod: Any) -> Pod:
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        number = next(self._addresses)
        network = Network(f"10.200.{number // 250}.{number % 250 + 1}")
        hosts = ["127.0.0.1 localhost", f"{network.address} {name}"]
        own = {port["containerPort"] for one in containers(pod["spec"]) for port in one.get("ports", ())}
        for (outer, port), far in self._outside[namespace].items():
            hosts.append(f"127.0.0.1 {outer}")
            await network.relay(("127.0.0.1", port), partial(asyncio.open_connection, *far))
        services = (await client.get(f"/api/v1/namespaces/{namespace}/services")).json()["items"]
        for service in services:
            short, address = service["metadata"]["name"], service["spec"]["clusterIP"]
            full = f"{short}.{namespace}.svc.cluster.local"
            hosts.append(f"{address} {short} {short}.{namespace} {short}.{namespace}.svc {full}")
            network.add(address)
            for one in service["spec"]["ports"]:
                if one["port"] in own:  # the address is on the pod's loopback, where the pod itself listens
                    continue
                connect = partial(self._to_service, namespace, service["spec"]["selector"], one["targetPort"])
                await network.relay((address, one["port"]), connect)

        async def get(kind: str, called: str) -> Manifest | None:
            answer = await client.get(f"/api/v1/namespaces/{namespace}/{kind}/{called}")
            return answer.json() if answer.status_code == 200 else None

        async def patch(change: Manifest) -> None:
            # A deleted pod needs no status.
            await client.patch(f"{place}/status", content=json.dumps(change), headers={"Content-Type": _PATCH})

        folder = self._folder / namespace / name
        return Pod(pod, folder, network, self.images, "\n".join(hosts) + "\n", get, patch)

    async def _to_service(
        self, namespace: str, selector: Mapping[str, str], target: str | int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to a ready pod of the service at its address, as in a cluster. Raises OSError."""
        for one in self._running.values():
            if one.namespace == namespace and selector.items() <= one.labels.items() and one.pod.ready:
                return await one.pod.network.connect(one.pod.port(target))
        raise ConnectionRefusedError("no pod of the service is ready")


class _Running:
    """A running pod of this node."""

    def __init__(self, namespace: str, labels: Mapping[str, str], pod: Pod) -> None:
        self.namespace, self.labels, self.pod = namespace, labels, pod
        self.task = asyncio.create_task(pod.run())
