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

EVALUATION_TIMEOUT_S = 30.0
"""How long a batch waits for readers that do not get on, before the replay pauses; and for what comes back, where it is
not known where all of the batch lies."""
UNSEEN_TIMEOUT_S = 5.0
"""The same where nobody is known to read the stream: somebody may."""
WATCH_AFTER_END_S = 60.0
"""How long a job looks for what failed again once it is done."""


@dataclass(frozen=True)
class RunnerContext:
    """What runners work with."""

    source: LetterSource
    jobs: JobStore
    tracker: ConsumerGroupTracker
    editor: BodyEditor
    in_sight: InSight
    runner_id: str
    """The name of this process among all that may run a job."""
    clock: Callable[[], int] = lambda: time.time_ns() // 1_000
    """Microseconds since 1970, for people to read."""
    redact_request: Callable[[ReplayRequest], ReplayRequest] = lambda request: request
    """Hides what of a request may not be kept once it is carried out."""
    redact_message: Callable[[DeadLetter], str] = lambda letter: letter.message
    """A letter's message as it may be shown."""
    evaluation_timeout_s: float = EVALUATION_TIMEOUT_S
    unseen_timeout_s: float = UNSEEN_TIMEOUT_S
    watch_after_end_s: float = WATCH_AFTER_END_S
