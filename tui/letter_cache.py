"""Dead letters that were read in full, and their schemas."""

from __future__ import annotations

from sidecar.api import models
from tui.navigation import Navigator

MAX_CACHED_LETTERS = 64


class LetterCache:
    """Keeps full letters and schemas, so that a letter under the cursor is read once."""

    def __init__(self) -> None:
        self._letters: dict[str, models.DeadLetterModel] = {}
        self._schemas: dict[tuple[str, int | None], models.SubjectModel | None] = {}

    def full(self, letter: models.DeadLetterModel) -> models.DeadLetterModel | None:
        """Return the letter as it was read in full, or None if it was not read yet."""
        return self._letters.get(letter.id)

    def schema(self, letter: models.DeadLetterModel) -> models.SubjectModel | None:
        """Return the letter's schema, or None if it was not read yet or there is none."""
        return self._schemas.get(_schema_key(letter))

    def is_current(self, letter: models.DeadLetterModel) -> bool:
        """Return True if the letter, in its current state, and its schema were read."""
        full = self.full(letter)
        return full is not None and full.state == letter.state and _schema_key(full) in self._schemas

    async def read_letter(self, dashboard: Navigator, id: str) -> models.DeadLetterModel:
        """Read a letter in full. Raises ClientError."""
        letter = await dashboard.client.dead_letter(id)
        if len(self._letters) >= MAX_CACHED_LETTERS:
            self._letters.clear()
        self._letters[letter.id] = letter
        return letter

    async def read_schema(self, dashboard: Navigator, letter: models.DeadLetterModel) -> None:
        """Read the schema of a letter, unless it was read before. Raises ClientError."""
        key = _schema_key(letter)
        if key not in self._schemas:
            self._schemas[key] = await dashboard.find_schema(*key)

    def forget_letters(self) -> None:
        """Forget the letters, which an action changed."""
        self._letters.clear()


def _schema_key(letter: models.DeadLetterModel) -> tuple[str, int | None]:
    """Return the subject and version of a letter's schema; the stream's subject if the letter names none."""
    ref = letter.schema
    if ref is None:
        return f"{letter.stream}-value", None
    return ref.subject or f"{letter.stream}-value", ref.version
