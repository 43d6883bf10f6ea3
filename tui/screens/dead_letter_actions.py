"""Actions on dead letters: replay, edit, discard, restore. Each is confirmed first and reported afterwards."""

from __future__ import annotations

from sidecar.api import models
from sidecar.api.client.client import ClientError
from sidecar.api.models.replays import EditRequest, OutcomeModel, ReplayRequestModel
from tui.background import begin
from tui.dialogs.discard import DiscardDialog
from tui.dialogs.edit import EditDialog
from tui.dialogs.replay import ReplayDialog
from tui.dialogs.replay_progress import ReplayProgressDialog
from tui.screens.base_screen import BaseScreen
from tui.text.time_format import count


class DeadLetterActionsScreen(BaseScreen):
    """A screen on which dead letters can be selected."""

    def selected_letters(self) -> tuple[ReplayRequestModel, str] | None:
        """Return the marked letters, else the one under the cursor, and a name for them."""
        raise NotImplementedError

    def chosen(self) -> list[str]:
        """Return the ids of the marked letters, else of the one under the cursor."""
        raise NotImplementedError

    def refresh_after_action(self) -> None:
        """Refresh after an action: clears the marks and reads the letters again."""
        raise NotImplementedError

    def edit(self, letter: models.DeadLetterModel) -> None:
        """Edit the body of a letter that was read in full, then replay it."""

        def on_answer(edit: EditRequest | None) -> None:
            if edit is not None:
                self._replay(
                    ReplayRequestModel(ids=[letter.id], edit=edit), f"the repaired letter of {letter.type or letter.id}"
                )

        self.app.push_screen(EditDialog(self.client, letter), on_answer)

    def action_replay(self) -> None:
        if (wanted := self.selected_letters()) is None:
            self.app.notify("Nothing to replay", timeout=2)
            return
        self._replay(*wanted)

    def _replay(self, request: ReplayRequestModel, what: str) -> None:
        def on_answer(confirmed: ReplayRequestModel | None) -> None:
            if confirmed is not None:
                begin(self, self._begin, confirmed, group="act")

        self.app.push_screen(ReplayDialog(self.client, request, what), on_answer)

    async def _begin(self, request: ReplayRequestModel) -> None:
        try:
            job = await self.client.replay(request)
        except ClientError as error:
            self.app.notify(str(error), title="Not replayed", severity="error", markup=False, timeout=10)
            return
        self.refresh_after_action()
        self._watch(job.id, request.ids)

    def _watch(self, job: str, ids: list[str]) -> None:
        def on_close(to: str | None) -> None:
            self.refresh_after_action()
            if to:
                self.dashboard.open_flow(to, at=to)

        self.app.push_screen(ReplayProgressDialog(self.client, job, ids), on_close)

    def action_discard(self) -> None:
        if (wanted := self.selected_letters()) is None:
            self.app.notify("Nothing to discard", timeout=2)
            return
        request, what = wanted

        def on_answer(reason: str | None) -> None:
            if reason:
                begin(self, self._discard, request, reason, group="act")

        self.app.push_screen(DiscardDialog(what), on_answer)

    async def _discard(self, request: ReplayRequestModel, reason: str) -> None:
        try:
            done = await self.client.discard(request.ids, reason, request.query)
        except ClientError as error:
            self.app.notify(str(error), title="Not discarded", severity="error", markup=False, timeout=10)
            return
        self._report_outcomes(done, "discarded")

    def action_restore(self) -> None:
        if ids := self.chosen():
            begin(self, self._restore, ids, group="act")

    async def _restore(self, ids: list[str]) -> None:
        try:
            done = await self.client.restore(ids)
        except ClientError as error:
            self.app.notify(str(error), title="Not restored", severity="error", markup=False, timeout=10)
            return
        self._report_outcomes(done, "restored")

    def _report_outcomes(self, outcomes: list[OutcomeModel], word: str) -> None:
        good = sum(1 for outcome in outcomes if outcome.done)
        first = next((outcome.why for outcome in outcomes if not outcome.done and outcome.why), None)
        message = f"{count(good)} {word}" + (f", {len(outcomes) - good} not: {first}" if first else "")
        self.app.notify(message, severity="warning" if first else "information", markup=False, timeout=5)
        self.refresh_after_action()

    def action_history(self) -> None:
        from tui.dialogs.audit_log import AuditLogDialog

        self.app.push_screen(AuditLogDialog(self.client))

    def action_replays(self) -> None:
        from tui.dialogs.replays import ReplaysDialog

        def chosen(job: str | None) -> None:
            if job:
                self._watch(job, [])

        self.app.push_screen(ReplaysDialog(self.client), chosen)
