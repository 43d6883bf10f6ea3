"""Python's cycle collector, set for a process that makes many small objects and hardly any cycles.

By default it looks through the young objects after each 700 that came to stay, and through all of them every so often:
where 50,000 dead letters are in memory that took a quarter of the time. What is freed by counting references, which is
nearly everything here, does not wait for it."""

from __future__ import annotations

import gc

YOUNG, MIDDLE, OLD = 20_000, 20, 50
"""Objects that came to stay before the young are looked through, and how often that is before the older ones are."""


def freeze_startup_objects() -> None:
    """Never look through what is there now (modules, code) again."""
    gc.collect()
    gc.freeze()


def tune_gc() -> None:
    """Leave out what is loaded, and look through the rest less often."""
    freeze_startup_objects()
    gc.set_threshold(YOUNG, MIDDLE, OLD)
