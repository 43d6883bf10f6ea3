"""One run of the demo, from the sidecar being ready to the summary."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import shutil
import signal
import sys
import time
from functools import partial
from pathlib import Path

import msgspec
from aiokafka.errors import KafkaError
from redis.exceptions import RedisError

from sidecar.adapters.registry.directory import DirectoryRegistry
from sidecar.api.client.client import Client, ClientError
from sidecar.api.models.replays import ReplayModel
from sidecar.demo.api_view import SidecarCounts, committed, counts, replayed
from sidecar.demo.auto_repair import mend
from sidecar.demo.shop import kafka_transport, redis_transport
from sidecar.demo.shop.saga import STREAMS
from sidecar.demo.shop.schemas import DIRECTORY, ShopSchemas, versions
from sidecar.demo.shop.serializers import Serializers
from sidecar.demo.shop.services import Shop
from sidecar.demo.shop.transport import Connect
from sidecar.demo.sidecar_process import SidecarProcess
from sidecar.demo.summary import DemoResult, lines, mismatches, summary
from sidecar.domain.errors import Outage

PATIENCE_SECONDS = 30.0
"""How long the sidecar may take, once the shop is closed, to have committed everything."""
_POLL_SECONDS = 0.1
FAILED = 1
OPEN = "The shop is open"


class Demo:
    """The shop and what is shown of it. `rate`: orders a second. `seconds`: None is until Ctrl-C."""

    def __init__(
        self, broker: str, address: str, sidecar: SidecarProcess, *, seed: int, rate: float, seconds: float | None
    ) -> None:
        self._broker, self._address, self._sidecar = broker, address, sidecar
        self._seed, self._rate, self._seconds = seed, rate, seconds
        self._began = time.monotonic()
        self._stop = asyncio.Event()

    async def run(self, *, headless: bool, json: bool) -> int:
        """Returns the exit code: 0 where the sidecar and the shop agree."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._interrupt)
        if self._broker == "kafka":
            await kafka_transport.create_topics(self._address, STREAMS)
        schemas = await registered_schemas()
        await self._sidecar.ready()
        shop = Shop(
            self._connect(),
            Serializers(schemas, flat_entries=self._broker == "redis"),
            seed=self._seed,
            rate=self._rate,
        )
        self._began = time.monotonic()
        async with Client(self._sidecar.url, self._sidecar.token) as client:
            if headless:
                length = "until it is stopped" if self._seconds is None else f"for {self._seconds:g} s"
                sys.stderr.write(f"{OPEN} {length}. From another terminal:\n{self._variables()}\n")
                sys.stderr.flush()
                complete = await self._open(shop)
            else:
                complete = await self._show(shop)
            if not json and (acted := await client.replays()):
                _say_goodbye(acted)
                return 0
            found = await self._counted(shop, client)
            sent = await self._mended(client, found)
        result = summary(shop.ledger, found, time.monotonic() - self._began, self._broker, lost=not complete, sent=sent)
        _print(result, json=json)
        return FAILED if result.mismatches else 0

    def _interrupt(self) -> None:
        """The first Ctrl-C closes the shop and counts; the second does not wait."""
        if self._stop.is_set():
            raise KeyboardInterrupt
        self._stop.set()

    def _connect(self) -> Connect:
        return partial(kafka_transport.connect if self._broker == "kafka" else redis_transport.connect, self._address)

    async def _open(self, shop: Shop) -> bool:
        orders = None if self._seconds is None else max(1, round(self._rate * self._seconds))
        try:
            return await shop.run(self._stop, orders)
        except ExceptionGroup as failures:
            if (lost := failures.subgroup((RedisError, KafkaError, OSError))) is None:
                raise
            raise Outage(f"the shop has lost its broker: {_first(lost)}") from failures

    async def _show(self, shop: Shop) -> bool:
        """Run the shop with the dashboard over it."""
        from sidecar.demo.dashboard import look

        sys.stderr.write(f"From another terminal: {self._command()}\n")
        opened = asyncio.ensure_future(self._open(shop))
        try:
            await look(self._sidecar, opened, self._stop)
            sys.stderr.write("The shop closes …\n")
            self._stop.set()
            return await opened
        finally:
            opened.cancel()
            await asyncio.wait({opened})

    async def _counted(self, shop: Shop, client: Client) -> SidecarCounts:
        """The sidecar's counts once it has committed all and agrees; else what they were when patience ended."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            self._sidecar.check()
            late = time.monotonic() > deadline
            try:
                if late or await committed(client):
                    found = await counts(client)
                    if late or not mismatches(shop.ledger, found):
                        return found
            except ClientError as error:
                if late:
                    raise Outage(f"the sidecar could not be asked for its counts: {error}") from error
            await asyncio.sleep(_POLL_SECONDS)

    async def _mended(self, client: Client, found: SidecarCounts) -> int:
        """Mend and replay what can be; puts into `found` how many replayed records the sidecar sees."""
        try:
            sent = await mend(client)
            deadline = time.monotonic() + PATIENCE_SECONDS
            while found.replayed < sent and time.monotonic() < deadline:
                found.replayed = await replayed(client)
                await asyncio.sleep(_POLL_SECONDS)
        except ClientError as error:
            raise Outage(f"the dead letters could not be replayed: {error}") from error
        return sent

    def _variables(self) -> str:
        """Two lines to copy, after which every command finds this sidecar."""
        return f"export TRACECAR_URL={self._sidecar.url}\nexport TRACECAR_TOKEN={self._sidecar.token}"

    def _command(self) -> str:
        """A whole line, so that it can be copied."""
        return f"export TRACECAR_URL={self._sidecar.url} TRACECAR_TOKEN={self._sidecar.token}; {_program()} --help"


async def registered_schemas() -> ShopSchemas:
    """The shop's schemas with the ids that the registry gives them: what its serialisers would ask for."""
    registry = DirectoryRegistry(DIRECTORY)
    ids: dict[tuple[str, int], int] = {}
    for subject, version, _ in versions():
        registered = await registry.by_version(subject, version)
        assert registered is not None
        assert registered.ref.id is not None
        ids[subject, version] = registered.ref.id
    return ShopSchemas(DIRECTORY, ids)


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first single failure of a group, however deep it stands."""
    found = failures.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found


def _program() -> str:
    """How this person can call `tracecar`."""
    called = Path(sys.argv[0])
    if shutil.which("tracecar") or called.name != "tracecar":
        return "tracecar"
    with contextlib.suppress(ValueError):
        called = called.absolute().relative_to(Path.cwd())
    return shlex.quote(str(called))


def _say_goodbye(replays: list[ReplayModel]) -> None:
    """Who has replayed something has made events that the shop does not know of; there is nothing to compare."""
    sent = sum(replay.published for replay in replays)
    sys.stdout.write(f"{sent} dead letter{' was' if sent == 1 else 's were'} replayed here. The shop is closed.\n")


def _print(result: DemoResult, *, json: bool) -> None:
    if json:
        sys.stdout.buffer.write(msgspec.json.encode(result) + b"\n")
    else:
        sys.stdout.write("\n".join(lines(result)) + "\n")
    sys.stdout.flush()
    if json:
        for sentence in result.mismatches:
            sys.stderr.write(f"tracecar: {sentence}\n")
