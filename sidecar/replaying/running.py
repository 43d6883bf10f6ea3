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
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass

import structlog

from sidecar.dead_letters.entries import standing
from sidecar.dead_letters.reading import Source
from sidecar.delivery import Follower
from sidecar.errors import Outage, Refused, TooLarge
from sidecar.model import DeadLetter, Partition, Position
from sidecar.ports import Done
from sidecar.replaying.jobs import Held, Jobs
from sidecar.replaying.keeping import SAVE_SECONDS, Keeping, Stopped
from sidecar.replaying.preparing import CHANGED, Editor, Item, Preparing, Step, sent_by
from sidecar.replaying.recurring import MOST_LETTERS, Recurring
from sidecar.replaying.selecting import WHY
from sidecar.replaying.sending import InSight
from sidecar.replaying.watching import Watch, readers
from sidecar.replaying.wishes import Failure, Job, Wish

log = structlog.get_logger()

FIRST_STEP, LARGEST_STEP = 50, 2_000
"""Letters of a step."""
GROWTH = (1, 2, 5)
"""Batches grow by these, times ten, times a hundred, and so on."""
MOST_FAILURES = 20
"""Failures that a job names."""
MOST_WARNINGS = 20
"""Warnings of a job, beyond which nothing is added to them."""
LOOK_SECONDS = 0.3
VERDICT_SECONDS = 30.0
"""How long a batch waits for readers that do not get on, before the replay pauses; and for what comes back, where it is
not known where all of the batch lies."""
UNSEEN_SECONDS = 5.0
"""The same where nobody is known to read the stream: somebody may."""
AFTERWARDS_SECONDS = 60.0
"""How long a job looks for what failed again once it is done."""


@dataclass(frozen=True)
class Kit:
    """What runners work with."""

    source: Source
    jobs: Jobs
    follower: Follower
    editor: Editor
    in_sight: InSight
    me: str
    """The name of this process among all that may run a job."""
    clock: Callable[[], int] = lambda: time.time_ns() // 1_000
    """Microseconds since 1970, for people to read."""
    veil: Callable[[Wish], Wish] = lambda wish: wish
    """Hides what of a wish may not be kept once it is carried out."""
    shown: Callable[[DeadLetter], str] = lambda letter: letter.message
    """A letter's message as it may be shown."""
    verdict_seconds: float = VERDICT_SECONDS
    unseen_seconds: float = UNSEEN_SECONDS
    afterwards_seconds: float = AFTERWARDS_SECONDS


class Ahead:
    """The next step's items, read while the step before is being sent: the ledger is asked about them only then."""

    def __init__(self, items: Coroutine[None, None, tuple[list[Item], int]], at: int) -> None:
        self.at = at
        self.task = asyncio.create_task(items)

    def drop(self) -> None:
        """They are not wanted any more."""
        self.task.cancel()
        self.task.add_done_callback(lambda done: done.cancelled() or done.exception())


class Runner:
    """Runs one job of dead letters, from wherever it stands."""

    def __init__(self, kit: Kit, held: Held) -> None:
        self._kit = kit
        self._keeping = Keeping(kit.jobs, held, kit.me, kit.clock, kit.veil)
        self._preparing = Preparing(kit.source, kit.follower, kit.editor, kit.in_sight, self.job, waits=True)
        self._watch = Watch(kit.source, self.job.id, self.job.marks)
        self._step_size = FIRST_STEP
        self._ahead: Ahead | None = None
        self._batch: dict[Partition, Position] | None = None
        """The last positions of what was sent in this batch; None where that is not known, because another runner, or
        an act whose answer was lost, sent some of it."""
        self._recurring: Recurring | None = None
        """What failed again, where batches grow; None before the first look."""

    @property
    def job(self) -> Job:
        return self._keeping.job

    async def run(self) -> None:
        """Returns once the job has ended, was paused, or is another's."""
        try:
            await self._keeping.until_ended(self._step)
            await afterwards(self._kit, self._keeping, self._look)
        except Stopped:
            log.info("replay.left", replay=self.job.id, state=self.job.state)
        finally:
            if self._ahead is not None:
                self._ahead.drop()

    # --- a step

    async def _step(self) -> None:
        job = self.job
        if job.wish.growth and self._recurring is None:
            await self._look_back()
        if job.wish.growth and self._batch_ended:
            await self._keeping.look()
            await self._verdict()
            return
        if job.at >= job.selected:
            await self._look()
            await self._keeping.done()
            return
        size = await self._keeping.paced(self._size())
        began = time.monotonic()
        await self._keeping.look()
        items, asked = await self._prepared(job.at, size)
        step = Step(items, job)
        await step.read(self._kit.source.broker.ledger, self._kit.clock())
        if not job.wish.growth and job.wish.rate is None:
            self._ahead = Ahead(self._items(job.at + len(items), self._size()), job.at + len(items))
        await self._carry_out(step)
        self._count(items)
        job.at += len(items)
        job.note = None
        self._remember(items)
        self._grow(len(items), asked, time.monotonic() - began)
        if self._keeping.due:
            await self._look()
            await self._keeping.save()

    async def _prepared(self, at: int, size: int) -> tuple[list[Item], int]:
        """The items from an index of the selection on, and how many were asked for: those that were prepared while the
        last step was sent, if they are these."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead.at == at:
            return await ahead.task
        if ahead is not None:
            ahead.drop()
        return await self._items(at, size)

    async def _items(self, at: int, size: int) -> tuple[list[Item], int]:
        refs = await self._kit.jobs.refs(self.job, at, min(self.job.selected, at + size))
        return await self._preparing.items(refs), len(refs)

    @property
    def _batch_ended(self) -> bool:
        """The current batch is sent, and nothing was decided about it."""
        job = self.job
        return job.at > job.judged and job.at >= min(job.selected, job.judged + job.batch)

    def _size(self) -> int:
        job = self.job
        if not job.wish.growth:
            return self._step_size
        if job.at == job.judged:
            job.batch, self._batch = job.batch or _next_batch(0), {}
        return min(self._step_size, job.judged + job.batch - job.at)

    def _grow(self, done: int, asked: int, took: float) -> None:
        """Steps are so long that others see us at work, and that a pause or a cancellation is noticed soon."""
        if took > SAVE_SECONDS or done < asked:
            self._step_size = max(1, min(self._step_size, done) // 2)
        else:
            self._step_size = min(LARGEST_STEP, 2 * self._step_size)

    def _remember(self, items: list[Item]) -> None:
        """Where the batch lies."""
        if not self.job.wish.growth or self._batch is None:
            return
        for item in items:
            if item.position is not None:
                last = self._batch.get(item.position.log)
                if last is None or last.offset < item.position.offset:
                    self._batch[item.position.log] = item.position
            elif item.sent:
                self._batch = None
                return

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
                _outcome(step.item(index), one, self.job.id)
            return

    async def _one_by_one(self, step: Step) -> None:
        refusals: list[tuple[Step, Refused]] = []
        for stream in step.streams:
            part = step.of_stream(stream)
            try:
                await self._carry_out(part)
            except Refused as refused:
                refusals.append((part, refused))
        if len(refusals) == len(step.streams):
            raise refusals[0][1]
        for part, why in refusals:
            while part.acts:
                part.leave_out(0, str(why))

    def _count(self, items: list[Item]) -> None:
        job = self.job
        for item in items:
            if item.sent:
                job.published += 1
                self._keeping.sent(1)
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
        if self._recurring is not None:
            self._recurring.take(found)
        return found

    async def _look_back(self) -> None:
        """What came back before we began to run the job counts where it is of the current batch: somebody saw the rest,
        and resumed all the same."""
        job = self.job
        end = job.judged + (job.batch or _next_batch(0))
        batch: set[str] = set()
        for at in range(job.judged, min(job.selected, end), LARGEST_STEP):
            for ref in await self._kit.jobs.refs(job, at, min(job.selected, end, at + LARGEST_STEP)):
                batch.update(ref.ids)
        found = await self._look()
        self._recurring = Recurring(self._kit.source, self._kit.jobs)
        self._recurring.knows(one for one in found if one.replay_of not in batch)
        self._recurring.take([one for one in found if one.replay_of in batch])

    async def _verdict(self) -> None:
        """Wait until everybody has passed this batch; pause where a cause came back with it, or nobody gets on."""
        kit, recurring = self._kit, self._recurring
        assert recurring is not None
        since, before = time.monotonic(), None
        while True:
            found = None if self._batch is None else await readers(kit.source, list(self._batch.values()))
            await self._look()
            behind = found.behind if found is not None else {}
            if behind != before:
                since, before = time.monotonic(), behind
            patience = kit.verdict_seconds if found is None or behind else kit.unseen_seconds
            waited = time.monotonic() - since > patience
            came_back = await recurring.found(self.job)
            if came_back:
                self._pause(self._told(came_back))
            elif behind and waited:
                self._pause(
                    f"the last batch of {self.job.batch} was not passed by {', '.join(sorted(behind)[:3])}, and for "
                    f"{patience:.0f} seconds nothing moved: whether it fails again is not known"
                )
            if came_back or waited or (found is not None and found.known and not behind):
                self._warn(recurring.settle())
                self.job.judged = self.job.at
                if self.job.at < self.job.selected:
                    self.job.batch = _next_batch(self.job.batch)
                await self._keeping.save()
                return
            if self._keeping.due:
                await self._keeping.save()
            await asyncio.sleep(LOOK_SECONDS)

    def _warn(self, others: Sequence[DeadLetter]) -> None:
        """Of what failed again, and did not stop the replay."""
        for one in others:
            if len(self.job.warnings) < MOST_WARNINGS:
                said = f"{one.replay_of} failed again, otherwise than before: {self._why(one)}"
                self.job.warnings = [*self.job.warnings, said]

    def _told(self, came_back: Sequence[DeadLetter]) -> str:
        causes = ", ".join(sorted({self._why(one) for one in came_back})[:3])
        more = " or more" if len(came_back) == MOST_LETTERS else ""
        return f"{len(came_back)}{more} of the last batch of {self.job.batch} failed again: {causes}"

    def _why(self, letter: DeadLetter) -> str:
        return f"{letter.code} ({self._kit.shown(letter)[:200]})"

    def _pause(self, why: str) -> None:
        job = self.job
        job.state, job.note = "paused", f"{why}. Resume to go on all the same, or cancel"
        log.warning("replay.paused", replay=job.id, reason=job.note)


async def afterwards(kit: Kit, keeping: Keeping, look: Callable[[], Awaitable[Sequence[DeadLetter]]]) -> None:
    """Go on counting for a while what fails again once the job is done. Raises Stopped."""
    deadline = time.monotonic() + kit.afterwards_seconds
    while keeping.job.state == "done" and keeping.job.published and time.monotonic() < deadline:
        await asyncio.sleep(SAVE_SECONDS)
        try:
            if await look():
                await keeping.save()
        except (Outage, Refused) as error:
            log.debug("replay.not_followed", replay=keeping.job.id, reason=str(error))


def _outcome(item: Item, done: Done, replay: str) -> None:
    entry = standing(done.stands)
    if done.carried_out or sent_by(replay, entry):  # by us, or by another runner of the same job
        item.sent = True
        item.position = done.positions[0] if done.positions else None
        return
    item.skip = CHANGED if entry is None else WHY.get(entry.state, CHANGED)


def _next_batch(size: int) -> int:
    """1, 2, 5, 10, 20, 50, 100 and so on."""
    scale = 1
    while True:
        for one in GROWTH:
            if one * scale > size:
                return one * scale
        scale *= 10
