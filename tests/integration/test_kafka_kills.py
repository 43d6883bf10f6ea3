"""Each rejected record is dead-lettered exactly once, although processes are killed and paused at random moments."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from sidecar.demo.embedded_kafka import EmbeddedKafka
from sidecar.domain.model import Outgoing
from tests.contracts.batch_reader import PATIENCE, letter_ids
from tests.contracts.test_broker_kafka import KafkaHarness
from tests.servers.kafka import committed, create_topic, published, unique
from tests.support.conditions import until

pytestmark = pytest.mark.kafka

ROOT = Path(__file__).parents[2]
REQUESTS = (
    "AddPartitionsToTxnRequest",
    "AddOffsetsToTxnRequest",
    "ProduceRequest",
    "TxnOffsetCommitRequest",
    "EndTxnRequest",
)


class Worker(subprocess.Popen[str]):
    """A process, and its output so far."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "tests.support.kafka_worker", *arguments]
        super().__init__(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        self.lines: list[str] = []
        self._listener = Thread(target=self._listen)
        self._listener.start()

    def _listen(self) -> None:
        assert self.stdout is not None
        with self.stdout as said:
            for line in said:
                self.lines.append(line)

    async def says(self, word: str) -> None:
        await until(lambda: self.said(word))

    def said(self, word: str) -> bool:
        return any(line.startswith(word) for line in self.lines)

    def end(self) -> None:
        self.kill()
        self.wait()
        self._listener.join()


class Story:
    """A topic, a group, and the processes of the group."""

    def __init__(self, kafka: EmbeddedKafka, partitions: int) -> None:
        self.servers, self.partitions = kafka.bootstrap_servers, partitions
        self.topic = create_topic(self.servers, unique("kills"), partitions)
        self.group = unique("tracecar.kills")
        self.rejected: list[str] = []
        self.ends = dict.fromkeys(range(partitions), 0)
        self._workers: list[Worker] = []

    def publish(self, count: int) -> None:
        """Publish records to all partitions, two in five of them bad."""
        sent = [
            Outgoing(self.topic, None, b"bad" if n % 5 < 2 else b"good", (), partition=n % self.partitions)
            for n in range(count)
        ]
        for one, position in zip(sent, published(self.servers, sent), strict=True):
            if one.value == b"bad":
                self.rejected.append(f"{self.group}@{position}")
            self.ends[position.partition] = position.offset + 1

    def worker(self, *armed: str) -> Worker:
        worker = Worker(self.servers, self.topic, self.group, *(("--signal", *armed) if armed else ()))
        self._workers.append(worker)
        return worker

    async def all_settled(self) -> None:
        await until(lambda: asyncio.to_thread(self._is_settled))

    def _is_settled(self) -> bool:
        return committed(self.servers, self.group, self.topic, self.partitions) == self.ends

    async def letters_are_right(self) -> None:
        """Assert that there is exactly one letter for each rejected record, and none for others."""
        harness = KafkaHarness(self.servers)

        async def found() -> list[str]:
            return letter_ids(await harness.contents(f"{self.topic}.dlt"))

        await until(lambda: _as_many(found, len(self.rejected)))
        assert await found() == sorted(self.rejected)

    def end(self) -> None:
        while self._workers:
            self._workers.pop().end()


async def _as_many(found, count: int) -> bool:
    return len(await found()) >= count


@pytest.fixture
def stories(kafka: EmbeddedKafka) -> Iterator[list[Story]]:
    made: list[Story] = []
    yield made
    for story in made:
        story.end()


async def test_killed_at_each_step_of_a_transaction(kafka, stories):
    """One scenario for each step, all at the same time: the worker dies there, and the next one continues."""
    steps = [*((request, "before") for request in REQUESTS), ("EndTxnRequest", "after")]

    async def play(request: str, moment: str) -> None:
        story = Story(kafka, 1)
        stories.append(story)
        story.publish(60)
        dying = story.worker(request, moment, "KILL")
        assert await asyncio.to_thread(dying.wait) == -signal.SIGKILL
        story.worker()
        await story.all_settled()
        await story.letters_are_right()
        story.end()

    await asyncio.gather(*(play(*step) for step in steps))


@pytest.mark.parametrize("request_type", ["ProduceRequest", "TxnOffsetCommitRequest", "EndTxnRequest"])
async def test_a_member_that_was_paused_in_a_transaction_and_wakes_up(kafka, stories, request_type):
    """Paused for longer than its session, while another member takes its partition and commits all of it."""
    story = Story(kafka, 1)
    stories.append(story)
    story.publish(100)
    zombie = story.worker(request_type, "before", "STOP")
    await asyncio.to_thread(os.waitid, os.P_PID, zombie.pid, os.WSTOPPED | os.WNOWAIT)
    story.worker()
    await story.all_settled()
    zombie.send_signal(signal.SIGCONT)
    await zombie.says("fenced")
    story.publish(20)
    await story.all_settled()
    await story.letters_are_right()


async def test_two_members_killed_again_and_again(kafka, stories):
    random.seed(7)
    story = Story(kafka, 4)
    stories.append(story)
    members = [story.worker(), story.worker()]
    for _ in range(6):
        victim = members.pop(0)
        async with asyncio.timeout(PATIENCE):
            # A late member finds no uncommitted record of the earlier ones.
            while not victim.said("committed"):
                await asyncio.to_thread(story.publish, 200)
                await asyncio.sleep(0.1)
        await asyncio.sleep(random.random() * 0.05)  # at any point of its work
        victim.end()
        members.append(story.worker())
    await story.all_settled()
    await story.letters_are_right()
