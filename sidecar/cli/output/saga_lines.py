"""Texts of sagas: one as its steps, and a proposed declaration as YAML."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sidecar.api import models


def saga_lines(saga: models.SagaModel) -> Iterator[str]:
    """Yield the lines of one saga: its state, then a line for each step with its time."""
    about = saga.aggregate_id or saga.trace_id
    yield f"{saga.name} {about}: {saga.state}"
    yield f"started {saga.started_at}, " + (
        f"ended {saga.ended_at}" if saga.ended_at else f"deadline {saga.deadline_at}"
    )
    if saga.obstacle is not None:
        yield f"stuck since {saga.overdue_since}: {saga.obstacle.message}"
    yield f"flow: tracecar flow {saga.trace_id}"
    yield ""
    width = max(len(step.name) for step in saga.steps)
    for step in saga.steps:
        yield _step_line(step, width, is_waiting=saga.obstacle is not None and saga.obstacle.step == step.name)


def _step_line(step: models.SagaStepModel, width: int, *, is_waiting: bool) -> str:
    if step.event is not None:
        mark, times = "↩" if step.compensation else "✓", f" ({step.count} times)" if step.count > 1 else ""
        return f"  {mark} {step.name:<{width}}  {step.at}{times}  {step.event}"
    if is_waiting:
        return f"  ✗ {step.name:<{width}}  missing" + (
            f", expected from {step.expected_from}" if step.expected_from else ""
        )
    return f"  · {step.name:<{width}}  " + ("not seen (optional)" if step.optional else "not seen")


def proposal_yaml(page: models.LearnedSagaPage) -> str:
    """Write the proposed declarations as YAML for the configuration, with what they rest on as comments."""
    import yaml

    if not page.items:
        return f"# no process: {page.flows:,} flows were looked at, and none of their starts is frequent enough\n"
    parts = [f"# proposed from {page.flows:,} flows of the {page.source}\n"]
    for saga in page.items:
        parts += [f"# {_comment(line)}\n" for line in _evidence(saga)]
        parts.append(yaml.safe_dump({"sagas": [declaration(saga)]}, sort_keys=False, allow_unicode=True, width=120))
        parts.append("\n")
    text = "".join(parts)
    head, *rest = text.split("sagas:\n")
    return head + "sagas:\n" + "".join(rest)


def declaration(saga: models.LearnedSagaModel) -> dict[str, Any]:
    """Return a proposed declaration as the configuration writes it."""
    main_end = next(iter(saga.ends))
    steps = []
    for step in saga.steps:
        entry: dict[str, Any] = {"on": [step.type]}
        if step.optional:
            entry["optional"] = True
        if step.repeated:
            entry["repeated"] = True
        if step.producer is not None:
            entry["expected_from"] = step.producer
        steps.append(entry)
    return {
        "name": saga.name,
        "start": saga.start,
        "deadline": f"{max(1, round(saga.deadline_s))}s",
        "order": "sequence" if saga.in_sequence else "any",
        "steps": steps,
        "completed": [main_end],
    }


def _other_ends(saga: models.LearnedSagaModel) -> list[str]:
    return [type for type in saga.ends if type != next(iter(saga.ends))]


def _evidence(saga: models.LearnedSagaModel) -> Iterator[str]:
    yield f"{saga.name}: {saga.flows:,} flows; {saga.not_fitting:,} do not fit"
    for variant in saga.variants:
        yield f"{variant.flows:>7,} {' → '.join(variant.path)}"
    yield "ends: " + ", ".join(f"{type} {flows:,}" for type, flows in saga.ends.items())
    if others := _other_ends(saga):
        yield f"add those of {', '.join(others)} that end it otherwise, as `failed:` or `compensated:`"
    if saga.examples:
        yield "do not fit, for example: " + ", ".join(saga.examples)


def _comment(text: str) -> str:
    return " ".join(text.split()) if "\n" in text else text
