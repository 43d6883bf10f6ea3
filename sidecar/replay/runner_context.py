"""Dependencies of the runners of replays."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from sidecar.dead_letters.reader import LetterSource
from sidecar.domain.model import DeadLetter
from sidecar.pipeline.consumer_groups.tracker import ConsumerGroupTracker
from sidecar.replay.job_store import JobStore
from sidecar.replay.record_builder import InSight
from sidecar.replay.step_planner import BodyEditor

EVALUATION_TIMEOUT_S = 30.0
"""Time without consumer progress after which a replay that waits for a batch pauses.

If the positions of some records are unknown, the replay waits this long for letters to fail again, then continues.
"""
UNSEEN_TIMEOUT_S = 5.0
"""Time to wait for letters to fail again if no consumer of the stream is known, because there may be one."""
WATCH_AFTER_END_S = 60.0
"""Time during which a finished job still counts letters that fail again."""


@dataclass(frozen=True)
class RunnerContext:
    """Dependencies of runners."""

    source: LetterSource
    jobs: JobStore
    tracker: ConsumerGroupTracker
    editor: BodyEditor
    in_sight: InSight
    runner_id: str
    """Name of this process among all that may run a job."""
    clock: Callable[[], int] = lambda: time.time_ns() // 1_000
    """Microseconds since 1970, for display."""
    redact_message: Callable[[DeadLetter], str] = lambda letter: letter.message
    """Function that returns a letter's message without hidden values."""
    evaluation_timeout_s: float = EVALUATION_TIMEOUT_S
    unseen_timeout_s: float = UNSEEN_TIMEOUT_S
    watch_after_end_s: float = WATCH_AFTER_END_S
