"""What the runners of replays work with."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from sidecar.dead_letters.reader import LetterSource
from sidecar.domain.model import DeadLetter
from sidecar.pipeline.consumer_groups.tracker import ConsumerGroupTracker
from sidecar.replay.job_store import JobStore
from sidecar.replay.models import ReplayRequest
from sidecar.replay.record_builder import InSight
from sidecar.replay.step_planner import BodyEditor

VERDICT_SECONDS = 30.0
"""How long a batch waits for readers that do not get on, before the replay pauses; and for what comes back, where it is
not known where all of the batch lies."""
UNSEEN_SECONDS = 5.0
"""The same where nobody is known to read the stream: somebody may."""
AFTERWARDS_SECONDS = 60.0
"""How long a job looks for what failed again once it is done."""


@dataclass(frozen=True)
class RunnerContext:
    """What runners work with."""

    source: LetterSource
    jobs: JobStore
    follower: ConsumerGroupTracker
    editor: BodyEditor
    in_sight: InSight
    me: str
    """The name of this process among all that may run a job."""
    clock: Callable[[], int] = lambda: time.time_ns() // 1_000
    """Microseconds since 1970, for people to read."""
    veil: Callable[[ReplayRequest], ReplayRequest] = lambda wish: wish
    """Hides what of a wish may not be kept once it is carried out."""
    shown: Callable[[DeadLetter], str] = lambda letter: letter.message
    """A letter's message as it may be shown."""
    verdict_seconds: float = VERDICT_SECONDS
    unseen_seconds: float = UNSEEN_SECONDS
    afterwards_seconds: float = AFTERWARDS_SECONDS
