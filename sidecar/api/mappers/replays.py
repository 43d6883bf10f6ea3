"""Mapper from requests to replay jobs and failures, and from jobs, plans and outcomes to redacted JSON models."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec
from litestar.exceptions import ValidationException
from msgspec import UNSET

from sidecar.api.mappers.events import change
from sidecar.api.models import replays as models
from sidecar.api.models.links import link_letters
from sidecar.domain.broker_traits import position_forms
from sidecar.domain.json_safe import encode_json, to_json, to_text
from sidecar.domain.position import Position
from sidecar.domain.redaction import HIDDEN, Redactor
from sidecar.domain.timestamps import format_rfc3339
from sidecar.query.compiler import resolve_time_ms
from sidecar.replay.audit import AuditEntry
from sidecar.replay.edit.redacted_edit import redact_edit
from sidecar.replay.models import BodyEdit, EventRange, LetterOutcome, ReplayJob, ReplayPlan, ReplayRequest
from sidecar.replay.ports import ExportedLetter, FailedRecord, ReportedFailure
from sidecar.replay.step_planner import KEPT_BACK

MAX_RANGE_ENDS = 10_000
MAX_EDIT_DEPTH = 128
"""Deepest nesting of a value in an edit."""
MAX_LINKED_LETTERS = 10
"""Dead letters that the link of an audit entry names."""
MAX_TEXT_CHARS = 4_000
"""Longest name, comment or reason."""
_MASK = msgspec.json.encode(HIDDEN)


def invalid(where: str, expected: str, value: object) -> ValidationException:
    """Build the error for a value of the wrong form."""
    return ValidationException(f"{where}: expected {expected}, found {str(value)[:200]!r}")


def replay_request(request: models.ReplayRequestModel, redactor: Redactor) -> ReplayRequest:
    """Map a request to start a replay. Raises ValidationException."""
    if request.edit is not None:
        _refuse_deep_values(request.edit)
        if redactor.active:
            _refuse_masks(request.edit)
    if len(request.ids) > models.MAX_IDS_PER_REQUEST:
        raise invalid("ids", f"at most {models.MAX_IDS_PER_REQUEST}", len(request.ids))
    for name, value in (("to", request.to), ("group", request.group), ("comment", request.comment)):
        if value is not None and not 0 < len(value) <= MAX_TEXT_CHARS:
            raise invalid(name, f"1 to {MAX_TEXT_CHARS} characters", value)
    if request.rate is not None and not 0 < request.rate < 1e9:
        raise invalid("rate", "records a second, more than 0", request.rate)
    edit = request.edit
    return ReplayRequest(
        query=request.query,
        ids=tuple(dict.fromkeys(request.ids)),
        range=None if request.range is None else _range(request.range),
        to=request.to,
        group=request.group,
        rate=request.rate,
        growth=request.batch_growth,
        force=request.force,
        again=request.again,
        edit=BodyEdit() if edit is None else BodyEdit(set=edit.set, remove=tuple(edit.remove), body=edit.body),
        comment=request.comment,
    )


def _refuse_deep_values(edit: models.EditRequest) -> None:
    """Raise ValidationException if a value is nested so deeply that later steps would exceed the recursion limit."""
    level: list[Any] = [*edit.set.values(), edit.body]
    for _ in range(MAX_EDIT_DEPTH):
        level = [
            inner
            for value in level
            if isinstance(value, dict | list)
            for inner in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return
    raise ValidationException(f"edit: expected values with at most {MAX_EDIT_DEPTH} levels, found deeper ones")


def _refuse_masks(edit: models.EditRequest) -> None:
    """Raise ValidationException if an edit would write the mask over the value that it hides."""
    values = dict(edit.set) if edit.body is UNSET else {**edit.set, "the body": edit.body}
    for path, value in values.items():
        if _MASK in encode_json(value):
            raise ValidationException(
                f"edit: {path} contains {HIDDEN}, which would replace the hidden value: name only the changed paths in "
                "`set` and `remove`"
            )


def _range(request: models.RangeRequest) -> EventRange:
    now = time.time_ns() // 1_000_000

    def moment(name: str, value: str | None) -> int | None:
        if value is None:
            return None
        try:
            return resolve_time_ms(value, now)
        except ValueError:
            expected = "a time such as 2026-01-31T12:00:00Z, or a duration such as 15m"
            raise invalid(f"range.{name}", expected, value) from None

    since, until = moment("from", request.since), moment("to", request.until)
    if since is not None and until is not None and since >= until:
        raise invalid("range.to", "a time after range.from", request.until)
    return EventRange(
        stream=request.stream,
        since=since,
        until=until,
        ends=_ends(request),
        into_itself=request.into_itself,
        confirmed=request.confirmed,
    )


def _ends(request: models.RangeRequest) -> tuple[str, ...]:
    if len(request.ends) > MAX_RANGE_ENDS:
        raise invalid("range.ends", f"at most {MAX_RANGE_ENDS}", len(request.ends))
    for end in request.ends:
        try:
            stream = Position.parse(end).stream
        except ValueError:
            raise invalid("range.ends", position_forms(), end) from None
        if stream != request.stream:
            raise invalid("range.ends", f"positions of {request.stream}", end)
    return tuple(request.ends)


def failure(request: models.FailureRequest) -> ReportedFailure:
    """Map a report of a failure. Raises ValidationException."""
    if (request.position is None) == (request.record is None):
        count = "neither" if request.position is None else "both"
        raise ValidationException(
            f"expected either `position` or `record`, found {count}: `position` names a record in the broker, "
            "`record` is the record itself"
        )
    if not 0 < len(request.group) <= 500 or "@" in request.group:
        raise invalid("group", "1 to 500 characters without @", request.group)
    if not 0 < len(request.error.type) <= MAX_TEXT_CHARS:
        raise invalid("error.type", f"1 to {MAX_TEXT_CHARS} characters", request.error.type)
    if not 0 < request.attempts < 1_000_000:
        raise invalid("attempts", "1 or more", request.attempts)
    position = None
    if request.position is not None:
        try:
            position = Position.parse(request.position)
        except ValueError:
            raise invalid("position", position_forms(), request.position) from None
    record = request.record
    return ReportedFailure(
        group=request.group,
        position=position,
        record=None
        if record is None
        else FailedRecord(
            stream=record.stream,
            key=record.key,
            value=record.value,
            headers=tuple(record.headers),
            timestamp=record.timestamp,
        ),
        type=request.error.type,
        message=request.error.message or "",
        stacktrace=request.error.stacktrace,
        attempts=request.attempts,
    )


def replay(job: ReplayJob, redactor: Redactor) -> models.ReplayModel:
    """Map a replay job."""
    request = job.request
    return models.ReplayModel(
        id=job.id,
        state=job.state,
        query=to_text(request.query) or None,
        to=_text(request.to),
        selected=job.selected,
        published=job.published,
        skipped=job.skipped,
        failed=job.failed,
        returned=job.returned,
        started_at=format_rfc3339(job.started_at),
        ended_at=format_rfc3339(job.ended_at),
        ids=len(request.ids),
        range=None if request.range is None else _shown_range(request.range),
        group=_text(request.group),
        rate=request.rate,
        batch_growth=request.growth,
        batch=job.batch,
        force=request.force,
        again=request.again,
        edit=shown_edit(request.edit, redactor) or None,
        comment=_text(request.comment),
        by=to_text(job.by),
        address=job.address,
        changed_at=format_rfc3339(job.changed_at) if job.changed_at else None,
        changed_by=_text(job.changed_by),
        reasons=job.reasons,
        kept_back=_kept_back(job.reasons),
        failures=[models.ReplayFailureModel(id=to_text(failed.id), why=to_text(failed.why)) for failed in job.failures],
        note=_text(job.note),
        warnings=[
            *(to_text(warning) for warning in job.warnings),
            *(f"{count} of the letters: {to_text(warning)}" for warning, count in job.letter_warnings.items()),
        ],
        system=job.system,
    )


def _kept_back(reasons: Mapping[str, int]) -> int:
    return sum(reasons.get(why, 0) for why in KEPT_BACK)


def _text(value: str | None) -> str | None:
    return None if value is None else to_text(value)


def _shown_range(range: EventRange) -> dict[str, Any]:
    return {
        "stream": to_text(range.stream),
        "from": None if range.since is None else format_rfc3339(range.since * 1000),
        "to": None if range.until is None else format_rfc3339(range.until * 1000),
    }


def shown_edit(edit: BodyEdit, redactor: Redactor) -> dict[str, Any]:
    """Map an edit, with redacted values masked."""
    shown: dict[str, Any] = {}
    edit = redact_edit(edit, redactor)
    if edit.set:
        shown["set"] = {to_text(path): to_json(value) for path, value in edit.set.items()}
    if edit.remove:
        shown["remove"] = [to_text(path) for path in edit.remove]
    if edit.body is not UNSET:
        shown["body"] = to_json(edit.body)
    return shown


def plan(result: ReplayPlan, redactor: Redactor) -> models.PlanModel:
    """Map the result of a dry run."""
    return models.PlanModel(
        selected=result.selected,
        sendable=result.sendable,
        skipped=result.skipped,
        kept_back=_kept_back(result.skipped),
        targets=[
            models.TargetModel(stream=to_text(target.stream), count=target.count, exists=target.exists)
            for target in result.targets
        ],
        receivers=[
            models.ReceiverModel(
                group=to_text(receiver.group),
                stream=to_text(receiver.stream),
                lag=receiver.lag,
                passed=receiver.passed,
                not_passed=receiver.not_passed,
                unknown=receiver.unknown,
                kept_back=receiver.kept_back,
            )
            for receiver in result.receivers
        ],
        passes=result.passes,
        fails=[
            models.CheckModel(
                code=fail.code or "",
                message=to_text(redactor.message(fail.message or "", fail.path, fail.code or "")),
                path=_text(redactor.path(fail.path)),
                count=fail.count,
                example=to_text(fail.example),
            )
            for fail in result.fails
        ],
        looked_at=result.looked_at,
        warnings=[to_text(warning) for warning in result.warnings],
        changes=[change(each) for each in result.changes],
        range=None if result.range is None else {**_shown_range(result.range), "ends": list(result.range.ends)},
    )


def audit_line(line: AuditEntry, redactor: Redactor) -> models.AuditEntryModel:
    """Map one entry of the audit log."""
    shown = models.AuditEntryModel(
        act=line.act,
        at=format_rfc3339(line.at),
        by=to_text(line.by),
        address=line.address,
        letters=line.letters,
        ids=[to_text(id) for id in line.ids],
        why=_text(line.why),
    )
    if line.job is not None:
        request = line.job.request
        shown.replay, shown.query, shown.to = line.job.id, to_text(request.query) or None, _text(request.to)
        shown.edit, shown.why = shown_edit(request.edit, redactor) or None, _text(request.comment)
    ids = (
        shown.ids[:MAX_LINKED_LETTERS]
        if line.job is None
        else [to_text(id) for id in line.job.request.ids[:MAX_LINKED_LETTERS]]
    )
    link = link_letters(ids, shown.query)
    shown.link = None if link is None else str(link)
    return shown


def outcome(result: LetterOutcome) -> models.OutcomeModel:
    """Map the outcome of an action on one letter."""
    return models.OutcomeModel(id=to_text(result.id), done=result.done, state=result.state, why=_text(result.why))


def export_model(letter: ExportedLetter) -> models.ExportedLetterModel:
    """Map a dead letter for an export."""
    return models.ExportedLetterModel(
        id=to_text(letter.id),
        position=str(letter.position),
        stream=to_text(letter.stream),
        partition=letter.partition,
        key=letter.key,
        value=letter.value,
        headers=[(to_text(name), value) for name, value in letter.headers],
        timestamp=letter.timestamp,
        value_at=letter.value_at,
        hidden=list(letter.hidden),
        state=letter.state,
    )


def import_letter(letter: models.ExportedLetterModel) -> ExportedLetter:
    """Map an exported dead letter to its domain object. Raises ValidationException for an invalid position."""
    try:
        position = Position.parse(letter.position)
    except ValueError as error:
        raise ValidationException(str(error)) from None
    return ExportedLetter(
        id=letter.id,
        position=position,
        stream=position.stream,
        partition=letter.partition,
        key=letter.key,
        value=letter.value,
        headers=tuple(letter.headers),
        timestamp=letter.timestamp,
        value_at=letter.value_at,
        hidden=tuple(letter.hidden),
        state=letter.state,
    )
