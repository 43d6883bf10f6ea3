"""Runs a pod like a kubelet: volumes, environment, users, read-only roots, order of start, probes and end.

Resource limits are not applied.
"""

from __future__ import annotations

import asyncio
import base64
import os
import shlex
import shutil
import signal
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.servers.pod_network import Network

Manifest = Mapping[str, Any]
Get = Callable[[str, str], Awaitable[Manifest | None]]
"""Returns an object of the pod's namespace by kind and name, such as `secrets`, `tracecar`."""
AGAIN_SECONDS = 0.5
"""Delay before a container that could not be started, or that ended, is started again."""


@dataclass(frozen=True)
class Image:
    """Files of an image, and the part of its configuration that a kubelet uses."""

    root: Path
    entrypoint: Sequence[str]
    command: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    user: int = 0


class Refused(Exception):
    """A container that cannot be created: the kubelet's reason, and the fault."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Container:
    """A container of a pod: started, probed, restarted."""

    def __init__(self, pod: Pod, spec: Manifest) -> None:
        self.spec, self.name = spec, str(spec["name"])
        self.native = spec.get("restartPolicy") == "Always"
        self.ledger_started_at = asyncio.Event()
        self._pod, self._folder = pod, pod.folder / self.name
        self._folder.mkdir(parents=True)
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False
        self._restarts = 0
        self._state: dict[str, Any] = {"waiting": {"reason": "ContainerCreating"}}
        self.ready = False

    @property
    def status(self) -> dict[str, Any]:
        known = {"name": self.name, "image": self.spec["image"], "imageID": self.spec["image"]}
        state = {"state": self._state, "ready": self.ready, "started": self.ledger_started_at.is_set()}
        return {**known, **state, "restartCount": self._restarts}

    async def run(self, policy: str) -> int:
        """Run until it has ended for good. Returns its exit code."""
        while not self._stopping:
            try:
                process = await self._start()
            except Refused as error:
                await self._now("waiting", reason=error.reason, message=str(error))
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            await self._now("running", startedAt=_time())
            probing = asyncio.create_task(self._probed())
            code = await process.wait()
            probing.cancel()
            await asyncio.gather(probing, return_exceptions=True)
            self.ready = False
            reason = "Completed" if code == 0 else "Error"
            await self._now("terminated", exitCode=code % 256, reason=reason, finishedAt=_time())
            if policy == "Never" or (policy == "OnFailure" and code == 0):
                return code
            self._restarts += not self._stopping
            await asyncio.sleep(0 if self._stopping else AGAIN_SECONDS)
        return 0

    async def stop(self, grace: float) -> None:
        self._stopping = True
        if self._process is None:
            return
        for signum, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, 30.0)):
            with suppress(ProcessLookupError):
                self._process.send_signal(signum)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), seconds)
                return

    async def _now(self, state: str, **about: Any) -> None:
        self._state = {state: about}
        await self._pod.report()

    async def _start(self) -> asyncio.subprocess.Process:
        image = self._pod.images.get(self.spec["image"])
        if image is None:
            raise Refused("ErrImagePull", f"there is no image {self.spec['image']}")
        secure = {**self._pod.spec.get("securityContext", {}), **self.spec.get("securityContext", {})}
        user = secure.get("runAsUser", image.user)
        if user == 0 and secure.get("runAsNonRoot"):
            raise Refused("CreateContainerConfigError", "container has runAsNonRoot and image will run as root")
        environment = {**image.environment, "HOSTNAME": self._pod.name, **await self._environment()}
        argv = [*self.spec.get("command", image.entrypoint)]
        argv += self.spec.get("args", () if "command" in self.spec else image.command)
        inside = ["env", "-i", *(f"{name}={value}" for name, value in environment.items())]
        group, groups = secure.get("runAsGroup", user), secure.get("fsGroup", user)
        script = [*self._mounts(image.root, secure.get("readOnlyRootFilesystem", False))]
        held = ["setpriv", *(["--no-new-privs"] if secure.get("allowPrivilegeEscalation") is False else [])]
        held += ["chroot", f"--userspec={user}:{group}", f"--groups={groups}", str(image.root), *inside, *argv]
        script.append(f"exec {shlex.join(held)}")
        network = f"--net={self._pod.network.path}"
        with (self._folder / "log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *("nsenter", network, "unshare", "--mount", "sh", "-ec", "\n".join(script)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        enter = ["nsenter", "--target", str(self._process.pid), "--mount", "--net", "--root", "--wd"]
        enter += ["--setuid", str(user), "--setgid", str(group), *inside]
        (self._folder / "enter").write_text(f'#!/bin/sh\nexec {shlex.join(enter)} "$@"\n')
        (self._folder / "enter").chmod(0o755)
        return self._process

    def _mounts(self, root: Path, read_only: bool) -> Iterable[str]:
        places = [(self._pod.hosts, "/etc/hosts", True)]
        for mount in self.spec.get("volumeMounts", ()):
            places.append((self._pod.volume(mount["name"]), mount["mountPath"], mount.get("readOnly", False)))
        at = shlex.quote(str(root))
        for source, path, _ in places:
            place = root / path.lstrip("/")
            if source.is_dir():
                place.mkdir(parents=True, exist_ok=True)
            elif not place.exists():
                place.touch()
        yield f"mount --bind {at} {at}"
        if read_only:
            yield f"mount -o remount,bind,ro {at}"
        yield f"mount --rbind /dev {at}/dev; mount -t proc proc {at}/proc"
        for source, path, fixed in places:
            yield f"mount --bind {shlex.quote(str(source))} {at}{path}"
            if fixed:
                yield f"mount -o remount,bind,ro {at}{path}"

    async def _environment(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for one in self.spec.get("envFrom", ()):
            for kind, reference in (("secrets", one.get("secretRef")), ("configmaps", one.get("configMapRef"))):
                if reference is not None:
                    found.update(await self._pod.data(kind, reference))
        for one in self.spec.get("env", ()):
            if "value" in one or "valueFrom" not in one:
                found[one["name"]] = one.get("value", "")
                continue
            for name, kind in (("secretKeyRef", "secrets"), ("configMapKeyRef", "configmaps")):
                if reference := one["valueFrom"].get(name):
                    found[one["name"]] = (await self._pod.data(kind, reference))[reference["key"]]
        return found

    async def _probed(self) -> None:
        if probe := self.spec.get("startupProbe"):
            await self._until(probe, well=True)
        self.ledger_started_at.set()
        self.ready = "readinessProbe" not in self.spec
        await self._pod.report()
        await asyncio.gather(self._readiness(), self._liveness())

    async def _readiness(self) -> None:
        while probe := self.spec.get("readinessProbe"):
            well = await self._asked(probe)
            if well != self.ready:
                self.ready = well
                await self._pod.report()
            await asyncio.sleep(probe.get("periodSeconds", 10))

    async def _liveness(self) -> None:
        if probe := self.spec.get("livenessProbe"):
            await self._until(probe, well=False)

    async def _until(self, probe: Manifest, *, well: bool) -> None:
        """Wait until it is healthy, or was killed after the probe's limit of failures."""
        await asyncio.sleep(probe.get("initialDelaySeconds", 0))
        failures = 0
        while failures < probe.get("failureThreshold", 3):
            if await self._asked(probe):
                if well:
                    return
                failures = 0
            else:
                failures += 1
            await asyncio.sleep(probe.get("periodSeconds", 10))
        assert self._process is not None
        self._process.terminate()

    async def _asked(self, probe: Manifest) -> bool:
        asked = probe["httpGet"]
        try:
            async with asyncio.timeout(probe.get("timeoutSeconds", 1)):
                reader, writer = await self._pod.network.connect(self._pod.port(asked["port"]))
                try:
                    host = f"{self._pod.network.address}:{asked['port']}"
                    writer.write(f"GET {asked['path']} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                    return 200 <= int((await reader.readline()).split()[1]) < 400
                finally:
                    writer.close()
        except (OSError, TimeoutError, IndexError):
            return False


class Pod:
    """A pod on this node."""

    def __init__(
        self,
        manifest: Manifest,
        folder: Path,
        network: Network,
        images: Mapping[str, Image],
        hosts: str,
        get: Get,
        patch: Callable[[Manifest], Awaitable[None]],
    ) -> None:
        self.spec, self.name = manifest["spec"], str(manifest["metadata"]["name"])
        self.folder, self.network, self.images = folder, network, images
        self._get, self._patch, self._since = get, patch, _time()
        self._phase = "Pending"
        self._reporting = asyncio.Lock()
        self._tasks: list[asyncio.Task[int]] = []
        folder.mkdir(parents=True)
        (folder / "network").write_text(network.path)
        self.hosts = folder / "hosts"
        self.hosts.write_text(hosts)
        self.init = [Container(self, one) for one in self.spec.get("initContainers", ())]
        self.main = [Container(self, one) for one in self.spec["containers"]]

    async def run(self) -> None:
        """Run until all containers have ended."""
        while True:
            try:
                for volume in self.spec.get("volumes", ()):
                    await self._filled(volume)
                break
            except Refused:
                await asyncio.sleep(AGAIN_SECONDS)
        policy = self.spec.get("restartPolicy", "Always")
        for container in self.init:
            if container.native:
                self._tasks.append(asyncio.create_task(container.run("Always")))
                await container.ledger_started_at.wait()
            elif await container.run("Never" if policy == "Never" else "OnFailure") != 0:
                await self._ended("Failed")
                return
        self._phase = "Running"
        codes = await asyncio.gather(*(container.run(policy) for container in self.main))
        await self._stop_natives(5)
        await self._ended("Succeeded" if not any(codes) else "Failed")

    async def stop(self) -> None:
        """Stop it like a deleted pod: sidecars last, in reverse order of their start."""
        grace = self.spec.get("terminationGracePeriodSeconds", 30)
        await asyncio.gather(*(one.stop(grace) for one in self.main))
        await self._stop_natives(grace)

    async def _stop_natives(self, grace: float) -> None:
        for one in reversed([one for one in self.init if one.native]):
            await one.stop(grace)
        await asyncio.gather(*self._tasks)

    async def _ended(self, phase: str) -> None:
        self._phase = phase
        await self.report()

    def volume(self, name: str) -> Path:
        return self.folder / "volumes" / name

    async def _filled(self, volume: Manifest) -> None:
        place = self.volume(volume["name"])
        place.mkdir(parents=True, exist_ok=True)
        group = self.spec.get("securityContext", {}).get("fsGroup")
        if "emptyDir" in volume:
            place.chmod(0o777 if group is None else 0o2777)
        elif "configMap" in volume or "secret" in volume:
            kind = "configmaps" if "configMap" in volume else "secrets"
            about = volume.get("configMap") or {"name": volume["secret"]["secretName"], **volume["secret"]}
            for name, text in (await self.data(kind, about)).items():
                (place / name).write_text(text)
        if group is not None:
            for one in (place, *place.iterdir()):
                os.chown(one, -1, group)

    async def data(self, kind: str, reference: Manifest) -> dict[str, str]:
        """Return the data of a ConfigMap or a Secret. Raises Refused."""
        found = await self._get(kind, reference["name"])
        if found is None:
            if reference.get("optional"):
                return {}
            raise Refused("CreateContainerConfigError", f'{kind.removesuffix("s")} "{reference["name"]}" not found')
        values = found.get("data") or {}
        return {name: base64.b64decode(one).decode() if kind == "secrets" else one for name, one in values.items()}

    @property
    def ready(self) -> bool:
        natives = [one for one in self.init if one.native]
        return self._phase == "Running" and all(one.ready for one in (*self.main, *natives))

    def port(self, target: str | int) -> int:
        """Return a port by its name or number. Raises OSError if no container names it."""
        if isinstance(target, int):
            return target
        for one in (port for spec in containers(self.spec) for port in spec.get("ports", ())):
            if one.get("name") == target:
                return int(one["containerPort"])
        raise ConnectionRefusedError(f"no container of {self.name} has a port {target}")

    async def report(self) -> None:
        # One after the other, because the status that is sent last must arrive last.
        async with self._reporting:
            await self._patch({"status": self._status()})

    def _status(self) -> Manifest:
        ready = self.ready
        conditions = [
            {"type": name, "status": str(holds), "lastTransitionTime": _time()}
            for name, holds in (
                ("PodScheduled", True),
                ("Initialized", self._phase != "Pending"),
                ("ContainersReady", ready),
                ("Ready", ready),
            )
        ]
        return {
            "phase": self._phase,
            "conditions": conditions,
            "startTime": self._since,
            "hostIP": "127.0.0.1",
            "podIP": self.network.address,
            "podIPs": [{"ip": self.network.address}],
            "containerStatuses": [one.status for one in self.main],
            "initContainerStatuses": [one.status for one in self.init],
        }

    async def close(self) -> None:
        await self.network.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def containers(spec: Manifest) -> list[Manifest]:
    """Return all containers of a pod, in no particular order."""
    return [*spec["containers"], *spec.get("initContainers", ())]


def _time() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
