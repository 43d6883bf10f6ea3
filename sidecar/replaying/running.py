"""Carrying out one replay, step by step, so that a crash at any moment neither doubles nor skips.

A step reads some letters again, asks the ledger what became of them, and sends those that are still to be sent; each
letter's record and its entry in the ledger become durable as one act (`sidecar.ports.Ledger.act`). How far the job is,
is written behind that, about once a second.

**The process dies**
 - before the act: nothing was sent; the next runner begins the step again.
 - within it: the ledger knows which acts were carried out, each wholly or not at all. The next runner begins again at
   the last progress that was written, finds entries that name this job, and counts them as sent.
 - between the act and the progress: the same.
 - after the last act, before the job is `done`: the next runner finds everything sent, and ends it.

**Two runners of one job** (the first was slow, and was taken for dead): both may do the same step. Each act compares
the entry that it found; the second finds it changed by this very job, and counts it as sent. Progress is written by
compare-and-set on the job: who finds another's name there stops.

**Two jobs with the same letters**: the entry names the other job: left out.

**An act's answer comes late or never**: the same acts are tried again; those that were carried out are known by their
entries.

**The clock** is not compared with anybody's: it is written down for people only."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from msgspec.structs import replace

from sidecar.dead_letters.entries import decode
from sidecar.dead_letters.reading import Source
from sidecar.delivery import Follower
from sidecar.errors import Outage, Refused, TooLarge
from sidecar.model import DeadLetter, Position
from sidecar.ports import Done
from sidecar.replaying.jobs import Held, Jobs
from sidecar.replaying.preparing import CHANGED, Editor, Item, Preparing, Step
from sidecar.replaying.selecting import WHY
from sidecar.replaying.watching import Watch, passed_by_all
from sidecar.replaying.wishes import Failure

log = structlog.get_logger()

FIRST_STEP, LARGEST_STEP, STEP_BYTES = 100, 2_000, 8 << 20
"""Letters of a step, and about how many bytes of them are in memory at the same time."""
SAVE_SECONDS = 1.0
GROWTH = (1, 2, 5)
"""Batches grow by these, times ten, times a hundred, and so on."""
MOST_FAILURES = 20
"""Failures that a job names."""
LOOK_SECONDS = 0.3
VERDICT_SECONDS = 30.0
"""How long a batch waits for its readers, before the next one is sent."""
AFTERWARDS_SECONDS = 60.0
"""How long a job looks for what failed again once it is done."""


@dataclass(frozen=True)
class Kit:
    """What runners work with."""

    source: Source
    jobs: Jobs
    follower: Follower
    editor: Editor
    me: str
    """The name of this process among all that may run a job."""
    clock: Callable[[], int] = lambda: time.time_ns() // 1_000
    """Microseconds since 1970, for people to read."""
    verdict_seconds: float = VERDICT_SECONDS
    afterwards_seconds: float = AFTERWARDS_SECONDS


class Stopped(Exception):  # nothing went wrong
    """The job is not ours to run any more: paused, cancelled, or taken by another sidecar."""


class Runner:
    """Runs one job of dead letters, from wherever it stands."""

    def __init__(self, kit: Kit, held: Held) -> None:
        self._kit, self._held = kit, held
        self.job = replace(held.job)
        self._preparing = Preparing(kit.source, kit.follower, kit.editor, self.job)
        self._watch = Watch(kit.source, self.job.id, self.job.marks)
        self._step_size, self._batch_left = FIRST_STEP, 0
        self._verdict_due = False
        self._batch: list[Position] = []
        """Where what was sent in this batch lies."""
        self._saved = self._began = time.monotonic()
        self._sent_here = 0

    async def run(self) -> None:
        """Returns once the job has ended, was paused, or is another's. Raises what has no class of ours."""
        try:
            await self._until_ended()
            await self._afterwards()
        except Stopped:
            log.info("replay.left", replay=self.job.id, state=self.job.state)

    async def _until_ended(self) -> None:
        pause = 0.2
        while self.job.state == "running":
            try:
                if self.job.at < self.job.selected:
                    await self._step()
                else:
                    await self._end()
                pause = 0.2
            except Outage as outage:
                self.job.note = f"waiting: {outage}"
                log.warning("replay.waiting", replay=self.job.id, reason=str(outage))
                await asyncio.sleep(outage.retry_after or pause)
                pause = min(5.0, pause * 2)
            except Refused as refused:
                await self._fail(str(refused))

    async def _end(self) -> None:
        if self._verdict_due:
            await self._verdict()
        await self._look()
        if self.job.state == "running":
            self.job.state, self.job.ended_at, self.job.note = "done", self._kit.clock(), None
            await self._save()
            log.info("replay.done", replay=self.job.id, published=self.job.published, failed=self.job.failed)

    async def _fail(self, why: str) -> None:
        self.job.state, self.job.note = "failed", f"{why}. What was not sent is open; mend it, then resume the replay"
        log.error("replay.failed", replay=self.job.id, reason=why)
        while True:
            try:
                return await self._save()
            except (Outage, Refused) as error:
                log.warning("replay.waiting", replay=self.job.id, reason=str(error))
                await asyncio.sleep(1)

    # --- a step

    async def _step(self) -> None:
        job = self.job
        if self._verdict_due:
            await self._look_at_the_job()
            await self._verdict()
            return
        size = await self._paced(self._size())
        await self._look_at_the_job()
        refs = await self._kit.jobs.refs(job, job.at, min(job.selected, job.at + size))
        items = await self._preparing.items(refs)
        step = Step(items, job)
        await step.read(self._kit.source.broker.ledger, self._kit.clock())
        await self._carry_out(step)
        self._count(items)
        job.at += len(refs)
        job.note = None
        self._grow(items)
        if job.wish.growth:
            self._batch += [item.position for item in items if item.position is not None]
            self._batch_left -= len(refs)
            self._verdict_due = self._batch_left <= 0 or job.at >= job.selected
        if time.monotonic() - self._saved >= SAVE_SECONDS:
            await self._look()
            await self._save()

    def _size(self) -> int:
        size = self._step_size
        if self.job.wish.growth:
            if self._batch_left <= 0:
                self.job.batch = _next_batch(self.job.batch)
                self._batch_left, self._batch = self.job.batch, []
            size = min(size, self._batch_left)
        if self.job.wish.rate is not None:
            size = min(size, max(1, int(self.job.wish.rate / 2)))
        return size

    async def _paced(self, size: int) -> int:
        """Wait until so many may be sent."""
        rate = self.job.wish.rate
        if rate is None:
            return size
        while (wait := self._began + (self._sent_here + size) / rate - time.monotonic()) > 0:
            await asyncio.sleep(min(wait, SAVE_SECONDS))
            if wait > SAVE_SECONDS:
                await self._save()
        return size

    def _grow(self, items: list[Item]) -> None:
        bytes_ = sum(item.size for item in items) / max(1, len(items))
        fits = int(STEP_BYTES / max(1.0, bytes_))
        self._step_size = max(1, min(LARGEST_STEP, 2 * self._step_size, fits))

    async def _carry_out(self, step: Step) -> None:
        """Send. A letter that is too large, or goes to a stream that cannot be written while others can, fails alone.
        Raises Outage; Refused where nothing of it can be sent."""
        while step.acts:
            try:
                done = await self._kit.source.broker.ledger.act(step.acts)
            except TooLarge as error:
                step.leave_out(error.index, str(error))
                continue
            except Refused:
                if len(step.streams) < 2:
                    raise
                await self._one_by_one(step)
                return
            for index, one in enumerate(done):
                _outcome(step.item(index), one)
            return

    async def _one_by_one(self, step: Step) -> None:
        for stream in step.streams:
            part = step.of_stream(stream)
            try:
                await self._carry_out(part)
            except Refused as refused:
                while part.acts:
                    part.leave_out(0, str(refused))

    def _count(self, items: list[Item]) -> None:
        job = self.job
        for item in items:
            if item.sent:
                job.published += 1
                self._sent_here += 1
            elif item.fail is not None:
                job.failed += 1
                if len(job.failures) < MOST_FAILURES:
                    job.failures = [*job.failures, Failure(id=item.ref.ids[-1], why=item.fail)]
            else:
                why = item.skip or CHANGED
                job.skipped += 1
                job.reasons = {**job.reasons, why: job.reasons.get(why, 0) + 1}

    # --- what comes back

    async def _look(self) -> list[DeadLetter]:
        found = await self._watch.look()
        self.job.returned = max(self.job.returned, self._watch.returned)
        return found

    async def _verdict(self) -> None:
        """Wait until everybody has passed this batch; pause where something of it came back."""
        deadline = time.monotonic() + self._kit.verdict_seconds
        while True:
            seen = await passed_by_all(self._kit.source, self._batch)
            found = await self._look()
            if found:
                causes = ", ".join(sorted({f"{one.code} ({one.message[:200]})" for one in found})[:3])
                job = self.job
                job.state = "paused"
                job.note = (
                    f"{len(found)} of the last batch of {job.batch} failed again: {causes}. Resume to go on all the "
                    "same, or cancel"
                )
                log.warning("replay.paused", replay=job.id, reason=job.note)
            if found or seen or time.monotonic() > deadline:
                self._verdict_due = False
                return await self._save()
            if time.monotonic() - self._saved >= SAVE_SECONDS:
                await self._save()
            await asyncio.sleep(LOOK_SECONDS)

    async def _afterwards(self) -> None:
        """Go on counting what fails again, until everybody has passed what was sent last."""
        deadline = time.monotonic() + self._kit.afterwards_seconds
        while self.job.state == "done" and self.job.published and time.monotonic() < deadline:
            await asyncio.sleep(SAVE_SECONDS)
            try:
                if await self._look():
                    await self._save()
            except (Outage, Refused) as error:
                log.debug("replay.not_followed", replay=self.job.id, reason=str(error))

    # --- the job in the ledger

    async def _look_at_the_job(self) -> None:
        """Take over what others decided. Raises Stopped where it is not ours to run any more."""
        now = await self._kit.jobs.get(self.job.id)
        if now is None:
            raise Refused("the replay is gone from the ledger")
        if now.stands != self._held.stands:
            await self._merge(now)

    async def _save(self) -> None:
        """Write down how far we are. Raises Stopped where somebody else decided otherwise meanwhile."""
        while True:
            self.job.beat += 1
            held = await self._kit.jobs.change(self._held, self.job)
            if held is not None:
                self._held, self._saved = held, time.monotonic()
                return
            now = await self._kit.jobs.get(self.job.id)
            if now is None:
                raise Refused("the replay is gone from the ledger")
            await self._merge(now)

    async def _merge(self, now: Held) -> None:
        """Somebody changed the job. Raises Stopped where it is not ours to run any more; what we did until then is
        written behind the decision, so that whoever resumes does not count it twice."""
        while True:
            theirs = now.job
            if theirs.runner != self._kit.me:
                self.job = theirs
                raise Stopped
            self._held = now
            self.job.beat = max(self.job.beat, theirs.beat) + 1
            if theirs.state == "running" or self.job.state == "done":
                return
            self.job.state, self.job.note, self.job.ended_at = theirs.state, theirs.note, theirs.ended_at
            self.job.changed_at, self.job.changed_by = theirs.changed_at, theirs.changed_by
            if await self._kit.jobs.change(now, self.job) is not None:
                raise Stopped
            found = await self._kit.jobs.get(self.job.id)
            if found is None:
                raise Stopped
            now = found


def _outcome(item: Item, done: Done) -> None:
    if done.carried_out:
        item.sent = True
        item.position = done.positions[0] if done.positions else None
        return
    entry = next((found for one in done.stands if (found := decode(one)) is not None), None)
    item.skip = CHANGED if entry is None else WHY.get(entry.state, CHANGED)


def _next_batch(size: int) -> int:
    """1, 2, 5, 10, 20, 50, 100 and so on, up to what a step holds."""
    scale = 1
    while True:
        for one in GROWTH:
            if one * scale > size:
                return one * scale
        scale *= 10
