"""The dependencies of the runners of replays."""

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
"""Time that a batch waits for readers without progress before the replay pauses.

It also waits this long for letters to return, if the position of some records is unknown.
"""
UNSEEN_TIMEOUT_S = 5.0
"""The same if no reader of the stream is known: there may be one."""
WATCH_AFTER_END_S = 60.0
"""Time during which a finished job still counts letters that fail again."""


@dataclass(frozen=True)
class RunnerContext:
    """The dependencies of runners."""

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
