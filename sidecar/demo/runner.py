"""Run of the demo, from the start of the shop to the summary."""

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
from sidecar.demo.api_view import SidecarCounts, count_replayed, fetch_counts, has_committed_all
from sidecar.demo.auto_repair import replay_repaired
from sidecar.demo.shop import kafka_transport, redis_transport
from sidecar.demo.shop.saga import STREAMS
from sidecar.demo.shop.schemas import DIRECTORY, ShopSchemas, list_versions
from sidecar.demo.shop.serializers import Serializers
from sidecar.demo.shop.services import Shop
from sidecar.demo.shop.transport import Connect
from sidecar.demo.sidecar_process import SidecarProcess
from sidecar.demo.summary import DemoResult, find_mismatches, format_lines, summarize
from sidecar.domain.errors import Outage

COMMIT_TIMEOUT_S = 30.0
"""Longest wait, after the shop has closed, until the sidecar has committed everything."""
_POLL_SECONDS = 0.1
FAILED_EXIT_CODE = 1
SHOP_OPEN_MESSAGE = "The shop is open"


class Demo:
    """A run of the demo."""

    def __init__(
        self,
        broker: str,
        address: str,
        sidecar: SidecarProcess,
        *,
        seed: int,
        rate: float,
        seconds: float | None,
        clean: bool,
    ) -> None:
        """Create the run.

        Args:
            broker: `redis` or `kafka`.
            address: Bootstrap servers, or a Redis URL.
            sidecar: The running sidecar.
            seed: Seed of the shop.
            rate: Orders per second.
            seconds: Duration; None: until Ctrl-C.
            clean: True for a shop that makes no mistake.
        """
        self._broker, self._address, self._sidecar = broker, address, sidecar
        self._seed, self._rate, self._seconds, self._clean = seed, rate, seconds, clean
        self._started_at = time.monotonic()
        self._stop = asyncio.Event()

    async def run(self, *, headless: bool, json: bool) -> int:
        """Run the shop and return the exit code: 0 if the counts of sidecar and shop agree."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._interrupt)
        if self._broker == "kafka":
            await kafka_transport.create_topics(self._address, STREAMS)
        schemas = await load_registered_schemas()
        await self._sidecar.ready()
        shop = Shop(
            self._connect(),
            Serializers(schemas, flat_entries=self._broker == "redis", old_instances=not self._clean),
            seed=self._seed,
            rate=self._rate,
            clean=self._clean,
        )
        self._started_at = time.monotonic()
        async with Client(self._sidecar.url, self._sidecar.token) as client:
            if headless:
                duration = "until you press Ctrl-C" if self._seconds is None else f"for {self._seconds:g} s"
                sys.stderr.write(f"{SHOP_OPEN_MESSAGE} {duration}. From another terminal:\n{self._variables()}\n")
                sys.stderr.flush()
                complete = await self._run_shop(shop)
            else:
                complete = await self._run_with_dashboard(shop)
            if not json and (replays := await client.replays()):
                _print_goodbye(replays)
                return 0
            counts = await self._await_counts(shop, client)
            sent = await self._replay_repaired(client, counts)
        result = summarize(
            shop.ledger, counts, time.monotonic() - self._started_at, self._broker, lost=not complete, sent=sent
        )
        _print(result, json=json)
        return FAILED_EXIT_CODE if result.mismatches else 0

    def _interrupt(self) -> None:
        """Close the shop on the first Ctrl-C, interrupt on the second."""
        if self._stop.is_set():
            raise KeyboardInterrupt
        self._stop.set()

    def _connect(self) -> Connect:
        return partial(kafka_transport.connect if self._broker == "kafka" else redis_transport.connect, self._address)

    async def _run_shop(self, shop: Shop) -> bool:
        orders = None if self._seconds is None else max(1, round(self._rate * self._seconds))
        try:
            return await shop.run(self._stop, orders)
        except ExceptionGroup as failures:
            if (lost := failures.subgroup((RedisError, KafkaError, OSError))) is None:
                raise
            raise Outage(f"the shop lost the connection to its broker: {_find_first(lost)}") from failures

    async def _run_with_dashboard(self, shop: Shop) -> bool:
        """Run the shop and show the dashboard."""
        from sidecar.demo.dashboard import show_dashboard

        sys.stderr.write(f"From another terminal: {self._command()}\n")
        shop_task = asyncio.ensure_future(self._run_shop(shop))
        try:
            await show_dashboard(self._sidecar, shop_task, self._stop)
            sys.stderr.write("Closing the shop …\n")
            self._stop.set()
            return await shop_task
        finally:
            shop_task.cancel()
            await asyncio.wait({shop_task})

    async def _await_counts(self, shop: Shop, client: Client) -> SidecarCounts:
        """Return the sidecar's counts once it has committed everything and agrees with the shop, or at the timeout."""
        deadline = time.monotonic() + COMMIT_TIMEOUT_S
        while True:
            self._sidecar.check()
            late = time.monotonic() > deadline
            try:
                if late or await has_committed_all(client):
                    counts = await fetch_counts(client)
                    if late or not find_mismatches(shop.ledger, counts):
                        return counts
            except ClientError as error:
                if late:
                    raise Outage(f"cannot read the sidecar's counts: {error}") from error
            await asyncio.sleep(_POLL_SECONDS)

    async def _replay_repaired(self, client: Client, counts: SidecarCounts) -> int:
        """Repair and replay dead letters. Updates `counts.replayed` and returns the number of replayed records."""
        try:
            sent = await replay_repaired(client)
            deadline = time.monotonic() + COMMIT_TIMEOUT_S
            while counts.replayed < sent and time.monotonic() < deadline:
                counts.replayed = await count_replayed(client)
                await asyncio.sleep(_POLL_SECONDS)
        except ClientError as error:
            raise Outage(f"cannot replay the dead letters: {error}") from error
        return sent

    def _variables(self) -> str:
        """Return two lines to copy, after which every command finds this sidecar."""
        return f"export TRACECAR_URL={self._sidecar.url}\nexport TRACECAR_TOKEN={self._sidecar.token}"

    def _command(self) -> str:
        """Return a complete command line to copy."""
        return f"export TRACECAR_URL={self._sidecar.url} TRACECAR_TOKEN={self._sidecar.token}; {_find_program()} --help"


async def load_registered_schemas() -> ShopSchemas:
    """Load the shop's schemas with their ids in the registry, as serializers do."""
    registry = DirectoryRegistry(DIRECTORY)
    ids: dict[tuple[str, int], int] = {}
    for subject, version, _ in list_versions():
        registered = await registry.by_version(subject, version)
        assert registered is not None
        assert registered.ref.id is not None
        ids[subject, version] = registered.ref.id
    return ShopSchemas(DIRECTORY, ids)


def _find_first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first single exception of a group, at any depth."""
    first = failures.exceptions[0]
    return _find_first(first) if isinstance(first, BaseExceptionGroup) else first


def _find_program() -> str:
    """Return the command with which the user can call `tracecar`."""
    program = Path(sys.argv[0])
    if shutil.which("tracecar") or program.name != "tracecar":
        return "tracecar"
    with contextlib.suppress(ValueError):
        program = program.absolute().relative_to(Path.cwd())
    return shlex.quote(str(program))


def _print_goodbye(replays: list[ReplayModel]) -> None:
    """Say goodbye after replays by the user: they create events that the shop does not know, so counts cannot agree."""
    sent = sum(replay.published for replay in replays)
    sys.stdout.write(f"You replayed {sent} dead letter{'' if sent == 1 else 's'}. The shop is closed.\n")


def _print(result: DemoResult, *, json: bool) -> None:
    if json:
        sys.stdout.buffer.write(msgspec.json.encode(result) + b"\n")
    else:
        sys.stdout.write("\n".join(format_lines(result)) + "\n")
    sys.stdout.flush()
    if json:
        for sentence in result.mismatches:
            sys.stderr.write(f"tracecar: {sentence}\n")
