"""Reducers that are the operator's Python functions, in a process of their own with limits and clear errors."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from sidecar.adapters.reducers.process import ProcessReducer
from sidecar.domain.aggregate_fold import EMPTY_STATE, AggregateState, ReducerEvent
from sidecar.domain.errors import Refused
from sidecar.domain.json_safe import encode_json, parse_float

pytestmark = pytest.mark.slow  # each test starts processes

CODE = """
import os, sys, time
from decimal import Decimal

def total(state, event):
    data = event["body"]["data"]
    state["total"] = state.get("total", 0) + data.get("amount", 0)
    state.update({name: value for name, value in data.items() if name != "amount"})
    print("printed", file=sys.stdout); print("printed", file=sys.stderr); sys.stdin.read()
    return state

def raises(state, event):
    return {"n": event["body"]["data"]["n"]}

def sleeps(state, event):
    time.sleep(event["body"]["data"].get("seconds", 0))
    return state

def loops(state, event):
    while event["body"]["data"].get("loop"):
        pass
    return state

def ends(state, event):
    if event["body"]["data"].get("end"):
        os._exit(3)
    return state

def crashes(state, event):
    if event["body"]["data"].get("end"):
        os.kill(os.getpid(), 11)
    return state

def grows(state, event):
    return {"held": len(b"x" * (event["body"]["data"].get("bytes", 0)))}

def writes(state, event):
    with open(event["body"]["data"]["file"], "w") as file:
        file.write("x" * 100_000)
    return state

def exits(state, event):
    raise SystemExit(5)

def environment(state, event):
    return {"names": sorted(os.environ), "fds": len(os.listdir("/proc/self/fd")), "pid": os.getpid()}

def returns_nothing(state, event):
    state["n"] = 1

def decimals(state, event):
    return {"n": Decimal("1.10"), "same": event["body"]["data"]["rate"]}

not_a_function = 5
"""


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    (tmp_path / "shop_reducers.py").write_text(CODE)
    (tmp_path / "broken_module.py").write_text("raise RuntimeError('broken on purpose')")
    return tmp_path


def reducer(modules: Path, function: str, *, timeout_s: float = 20.0, module: str = "shop_reducers") -> ProcessReducer:
    return ProcessReducer(f"{module}:{function}", path=str(modules), timeout_s=timeout_s, memory_bytes=400_000_000)


def events(*data: Any) -> list[ReducerEvent]:
    return [
        ReducerEvent(f"kafka://orders/0/{n}", {"headers": [], "body": {"data": each}}) for n, each in enumerate(data)
    ]


async def run(chosen: ProcessReducer, *data: Any, state: AggregateState = EMPTY_STATE) -> AggregateState:
    async with chosen.start(state) as reduction:
        await reduction.apply(events(*data))
        return await reduction.state()


async def test_the_function_builds_the_state_and_may_change_its_arguments(modules: Path) -> None:
    async with reducer(modules, "total").start(EMPTY_STATE) as reduction:
        steps = await reduction.apply(events({"amount": 5, "a": [1]}, {"amount": 7}, {"amount": 0}))
        state = await reduction.state()
    assert state.value == {"total": 12, "a": [1]}
    assert state.origins == {"total": "kafka://orders/0/1", "a": "kafka://orders/0/0"}
    assert [[(change.path, change.after) for change in step.changes] for step in steps] == [
        [("total", 5), ("a", [1])], [("total", 12)], [],
    ]  # fmt: skip
    again = await run(reducer(modules, "total"), {"amount": 1}, state=state)
    assert again.value == {"total": 13, "a": [1]}


async def test_numbers_keep_their_digits_on_the_way(modules: Path) -> None:
    rate = parse_float("0.10000000000000000001")
    state = await run(reducer(modules, "decimals"), {"rate": rate})
    assert encode_json(state.value) == b'{"n":"1.10","same":0.10000000000000000001}'


@pytest.mark.parametrize(
    ("function", "data", "words"),
    [
        ("raises", [{"n": 1}, {}], "failed on kafka://orders/0/1: KeyError: 'n' (shop_reducers.py, line 13)"),
        ("returns_nothing", [{}], "on kafka://orders/0/0: expected an object as the new state, found NoneType"),
        ("exits", [{}], "on kafka://orders/0/0: SystemExit: 5"),
        ("ends", [{}, {}, {"end": True}], "ended with status 3, in the event at kafka://orders/0/2"),
        ("crashes", [{}, {"end": True}], "ended with signal 11, in the event at kafka://orders/0/1"),
        ("grows", [{}, {"bytes": 1 << 31}], "failed on kafka://orders/0/1: MemoryError"),
        ("unknown", [{}], "cannot be loaded: AttributeError"),
        ("not_a_function", [{}], "expected a function, found int"),
    ],
)
async def test_an_error_names_the_event_and_the_place(
    modules: Path, function: str, data: list[Any], words: str
) -> None:
    with pytest.raises(Refused) as raised:
        await run(reducer(modules, function), *data)
    assert words in str(raised.value)
    assert "shop_reducers:" in str(raised.value)


async def test_a_module_that_cannot_be_loaded_is_named(modules: Path) -> None:
    for module in ("broken_module", "no_such_module"):
        with pytest.raises(Refused, match=rf"{module}:order failed: it cannot be loaded: \w+Error"):
            await run(reducer(modules, "order", module=module))


@pytest.mark.parametrize(("function", "slow"), [("sleeps", {"seconds": 3600}), ("loops", {"loop": True})])
async def test_a_slow_function_is_stopped_at_its_event(modules: Path, function: str, slow: Any) -> None:
    with pytest.raises(Refused, match="took longer than 1 s and was stopped, in the event at kafka://orders/0/1"):
        await run(reducer(modules, function, timeout_s=1.0), {}, slow)


async def test_the_process_sees_no_secrets_and_is_gone_afterwards(
    modules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_PASSWORD", "secret")
    state = await run(reducer(modules, "environment"), {})
    assert "KAFKA_PASSWORD" not in state.value["names"]
    assert state.value["fds"] < 10
    with pytest.raises(ProcessLookupError):
        os.kill(state.value["pid"], 0)


async def test_the_process_cannot_fill_the_disk(modules: Path) -> None:
    target = modules / "written"
    with pytest.raises(Refused):
        await run(reducer(modules, "writes"), {"file": str(target)})
    assert target.stat().st_size == 0


async def test_a_caller_that_goes_away_leaves_no_process(modules: Path) -> None:
    started = asyncio.Event()
    pids: list[int] = []

    async def ask() -> None:
        async with reducer(modules, "sleeps").start(EMPTY_STATE) as reduction:
            pids.append(reduction._process.pid)
            started.set()
            await reduction.apply(events({"seconds": 3600}))

    task = asyncio.create_task(ask())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)
